package raftstore

import (
	"bytes"
	"slices"

	"dunlin/raftstore/diskwatch"

	"github.com/google/btree"
)

// frozen is a view of the state at the moment of freeze, which is streamed while
// the state goes on to change. Nothing is copied for it but free lists, the
// identities of publishers, letters, and who and what is in share groups: a record
// that is about to change and was not streamed yet is kept as it was, so that the
// view costs what changes meanwhile.
//
// Invariant: what a view has not streamed is either in saved or as it was.
type frozen struct {
	st  *state
	out bytes.Buffer // chunks not yet taken
	w   snapshotWriter
	at  section // being streamed

	watch *diskwatch.Watch // of what is read from files; nil if all is in memory

	messages struct {
		slots int
		free  []uint32
		next  uint32
		saved map[uint32]message
		named []viewed // are to be written
	}
	sessions struct {
		size  uint32
		free  []uint32
		next  uint32
		saved map[uint32][]byte // items; nil where the slot was free
	}
	retained struct {
		tree *btree.BTreeG[retainedMessage]
		next string // topic to go on from
		done bool
	}
	publishers struct {
		origins  []uint64 // that are left, sorted when the first is due
		sorted   bool
		departed []departure
		saved    map[uint64]publisher
	}
	groups [][]byte // items
}

// freeze takes a view, in time that depends on the free lists, the number of
// publishers, letters and share groups alone. release ends it.
func (st *state) freeze() *frozen {
	f := &frozen{st: st, at: sectionMessages}
	f.w.to = &f.out
	f.messages.slots, f.messages.free = len(st.messages.slots), slices.Clone(st.messages.free)
	f.messages.saved = make(map[uint32]message)
	f.sessions.size, f.sessions.free = st.sessions.size(), slices.Clone(st.sessions.free)
	f.sessions.saved = make(map[uint32][]byte)
	f.retained.tree = st.retained.tree.Clone()
	f.publishers.departed = st.publishers.departed
	f.publishers.saved = make(map[uint64]publisher)
	f.publishers.origins = make([]uint64, 0, len(st.publishers.seen))
	for origin := range st.publishers.seen {
		f.publishers.origins = append(f.publishers.origins, origin)
	}
	// What is small comes first, as it is now.
	f.w.begin(sectionHead)
	f.w.b = st.appendHead(f.w.b)
	f.w.item()
	f.w.begin(sectionWills)
	st.wills.snapshot(&f.w)
	f.w.begin(sectionProposers)
	st.proposers.snapshot(&f.w)
	f.w.begin(sectionMail)
	st.mail.snapshot(&f.w)
	f.groups = st.groups.snapshot()
	f.w.begin(sectionMessages)
	f.w.b = appendSlots(f.w.b, f.messages.slots, f.messages.free)
	f.w.item()
	st.views = append(st.views, f)
	st.watch()
	if s := st.messages.scratch; s != nil {
		s.views++
		f.watch = s.all.watch()
	}
	return f
}

// viewed is a message that the view has come to, and where it is to be read from if
// it is not in memory.
type viewed struct {
	slot uint32
	message
	from *segment
}

// release ends the view; it may end before all was streamed.
func (f *frozen) release() {
	f.st.views = slices.DeleteFunc(f.st.views, func(v *frozen) bool { return v == f })
	f.st.watch()
	if s := f.st.messages.scratch; s != nil {
		s.unview()
	}
}

// watch has the tables say what is about to change, while a view asks.
func (st *state) watch() {
	if st.messages.changes, st.publishers.changes = nil, nil; len(st.views) > 0 {
		st.messages.changes, st.publishers.changes = st.messageChanges, st.publisherChanges
	}
}

// recordChanges is called before the record in slot changes.
func (st *state) recordChanges(slot uint32) {
	for _, f := range st.views {
		if f.at > sectionSessions || slot >= f.sessions.size || f.at == sectionSessions && slot < f.sessions.next {
			continue
		}
		if _, kept := f.sessions.saved[slot]; !kept {
			f.sessions.saved[slot] = st.sessions.appendTo(nil, slot)
		}
	}
}

func (st *state) messageChanges(ref uint32) {
	for _, f := range st.views {
		if f.at > sectionMessages || int(ref) >= f.messages.slots || ref < f.messages.next {
			continue
		}
		if _, kept := f.messages.saved[ref]; !kept {
			f.messages.saved[ref] = st.messages.slots[ref]
		}
	}
}

func (st *state) publisherChanges(origin uint64) {
	for _, f := range st.views {
		if p := st.publishers.seen[origin]; p != nil {
			if _, kept := f.publishers.saved[origin]; !kept {
				f.publishers.saved[origin] = publisher{low: p.low, above: slices.Clone(p.above)}
			}
		}
	}
}

// next gives the next part of the snapshot, about a chunk, and whether there is
// more, of a state that does not change meanwhile.
func (f *frozen) next() (part []byte, more bool, err error) {
	f.gather()
	return f.write()
}

// gather comes to the next part. It runs where the state is changed, and so reads no
// message that is spilled.
func (f *frozen) gather() {
	for f.at != sectionEnd && f.out.Len() < chunkBytes {
		if f.at == sectionMessages && f.name() {
			return
		}
		if !f.item() {
			f.at++
			if f.w.begin(f.at); f.at == sectionSessions {
				f.w.b = appendSlots(f.w.b, int(f.sessions.size), f.sessions.free)
				f.w.item()
			}
		}
	}
	if f.at == sectionEnd {
		f.w.end()
	}
}

// write gives the part that gather came to. Other than that it may wait for a disk.
func (f *frozen) write() (part []byte, more bool, err error) {
	for i := range f.messages.named {
		m := &f.messages.named[i]
		packed := m.packed
		if packed == nil {
			l := spilled{at: m.at, size: m.size, from: m.from}
			if err := l.read(f.watch); err != nil {
				return nil, false, err
			}
			packed = l.packed
		}
		appendStored(&f.w, m.slot, &m.message, packed)
	}
	clear(f.messages.named)
	f.messages.named = f.messages.named[:0]
	part = slices.Clone(f.out.Bytes())
	f.out.Reset()
	return part, f.at != sectionEnd, nil
}

// item writes the next item of the section in hand; false says that there is
// none.
func (f *frozen) item() bool {
	switch f.at {
	case sectionMessages:
		return false // they are named
	case sectionSessions:
		return f.session()
	case sectionRetained:
		return f.retainedMessage()
	case sectionPublishers:
		return f.publisher()
	default:
		return f.group()
	}
}

func (f *frozen) group() bool {
	if len(f.groups) == 0 {
		return false
	}
	f.w.b = append(f.w.b, f.groups[0]...)
	f.w.item()
	f.groups = f.groups[1:]
	return true
}

// name names the next messages, about a chunk; false says that there are none.
func (f *frozen) name() bool {
	t := &f.messages
	for bytes := 0; int(t.next) < t.slots && bytes < chunkBytes; t.next++ {
		m, kept := t.saved[t.next]
		if !kept {
			m = f.st.messages.slots[t.next]
		}
		delete(t.saved, t.next)
		if m.refs == 0 {
			continue
		}
		v := viewed{slot: t.next, message: m}
		if m.packed == nil {
			v.from = f.st.messages.scratch.segments[m.at.segment]
		}
		t.named = append(t.named, v)
		bytes += m.bytes()
	}
	if len(t.named) == 0 {
		t.saved = nil
	}
	return len(t.named) > 0
}

func (f *frozen) session() bool {
	t := &f.sessions
	if t.next == t.size {
		t.saved = nil
		return false
	}
	if b, kept := t.saved[t.next]; kept {
		f.w.b = append(f.w.b, b...)
	} else {
		f.w.b = f.st.sessions.appendTo(f.w.b, t.next)
	}
	f.w.item()
	delete(t.saved, t.next)
	t.next++
	return true
}

// retainedMessage writes a run of messages, about a chunk.
func (f *frozen) retainedMessage() bool {
	t := &f.retained
	if t.done {
		return false
	}
	t.done = true
	chunks := f.w.chunks
	t.tree.AscendGreaterOrEqual(retainedMessage{topic: t.next}, func(r retainedMessage) bool {
		if f.w.chunks != chunks {
			t.next, t.done = r.topic, false
			return false
		}
		appendRetained(&f.w, &r)
		return true
	})
	return true
}

func (f *frozen) publisher() bool {
	t := &f.publishers
	if !t.sorted {
		slices.Sort(t.origins)
		t.sorted = true
	}
	if len(t.origins) == 0 {
		for _, d := range t.departed {
			appendDeparture(&f.w, d)
		}
		return false
	}
	origin := t.origins[0]
	t.origins = t.origins[1:]
	if p, kept := t.saved[origin]; kept {
		appendPublisher(&f.w, origin, &p)
	} else {
		appendPublisher(&f.w, origin, f.st.publishers.seen[origin])
	}
	return true
}
