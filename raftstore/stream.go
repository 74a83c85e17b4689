package raftstore

import (
	"fmt"
	"io"

	"dunlin/router"
	"dunlin/session"
)

// stream reads a view of a shard's state as a snapshot, chunk by chunk, while the
// shard goes on: see frozen. Close gives the view up.
type stream struct {
	view *frozen
	at   func(f func()) bool // calls f where the state changes, and says whether it did
	fail func(error) error   // is told that the view cannot be read; nil for nobody
	part []byte
	over bool
}

// openStream freezes the shard as it is; beside is called at that moment.
func (s *Store) openStream(sh router.ShardID, beside func(*shard)) (*stream, error) {
	shard := s.shards[sh]
	r := &stream{fail: shard.unread, at: func(f func()) bool {
		done := make(chan struct{})
		if !shard.call(func() { f(); close(done) }) {
			return false
		}
		<-done
		return true
	}}
	if !r.at(func() {
		r.view = shard.st.freeze()
		beside(shard)
	}) {
		return nil, ErrClosed
	}
	return r, nil
}

// Read implements io.Reader.
func (r *stream) Read(p []byte) (int, error) {
	for len(r.part) == 0 {
		if r.over {
			return 0, io.EOF
		}
		if !r.at(r.view.gather) {
			return 0, ErrClosed
		}
		var more bool
		var err error
		if r.part, more, err = r.view.write(); err != nil {
			if r.fail != nil {
				err = r.fail(err)
			}
			return 0, err
		}
		r.over = !more
	}
	n := copy(p, r.part)
	r.part = r.part[n:]
	return n, nil
}

// Close ends the view.
func (r *stream) Close() { r.at(r.view.release) }

// Dump lists what this node's replica of sh holds at one moment, while the shard
// goes on: sessions in pages, in an order that is the same on all replicas. yield
// is called with each page, which is the caller's, until it says no. What comes
// back tells which moment: replicas with an equal Index and Digest hold the same,
// and list the same.
func (s *Store) Dump(sh router.ShardID, yield func(page []SessionInfo) bool) (at Moment, err error) {
	from, err := s.openStream(sh, func(shard *shard) { at = shard.moment() })
	if err != nil {
		return at, fmt.Errorf("raftstore: dump shard %d: %w", sh, err)
	}
	defer from.Close()
	d := dumping{yield: yield}
	r := snapshotReader{from: from}
	if err := r.each(d.item); err != nil && !d.enough {
		return at, fmt.Errorf("raftstore: dump shard %d: %w", sh, err)
	}
	if !d.enough && len(d.page) > 0 {
		yield(d.page)
	}
	return at, nil
}

// Moment is a state of a replica.
type Moment struct {
	Entry  uint64 // index in the log of the latest entry applied here; 0 if none was since a snapshot
	Index  uint64 // Result.Index of the latest command
	Digest uint64 // of all that was done (D6)
}

// moment is where the shard stands. It runs on the shard's goroutine.
func (sh *shard) moment() Moment {
	m := Moment{Index: sh.st.index, Digest: sh.st.digest}
	if r, ok := sh.driver.(*replica); ok {
		m.Entry = r.index
	}
	return m
}

// dumping is a listing while its snapshot is read.
type dumping struct {
	yield  func([]SessionInfo) bool
	page   []SessionInfo
	sizes  map[uint64]int // of messages, by slot
	begun  [sectionEnd]bool
	enough bool
}

func (d *dumping) item(s section, r *reader) {
	described := d.begun[s] // the first item of a table says how large it is
	d.begun[s] = true
	switch {
	case s != sectionMessages && s != sectionSessions:
		r.b = nil
	case !described:
		r.slots()
	case s == sectionMessages:
		slot, m := r.stored()
		if d.sizes == nil {
			d.sizes = make(map[uint64]int)
		}
		d.sizes[slot] = m.bytes()
	default:
		d.session(r)
	}
}

func (d *dumping) session(r *reader) {
	_, rec := r.record(d)
	if r.err != nil {
		return
	}
	d.page = append(d.page, rec.info())
	if len(d.page) == maxSessionPage {
		if d.enough = !d.yield(d.page); d.enough {
			r.fail() // read no further
		}
		d.page = nil
	}
}

// Size and the others implement session.Bodies for queues that are being read.
func (d *dumping) Size(ref uint32) int { return d.sizes[uint64(ref)] }

func (*dumping) Deadline(uint32) session.Time { return session.Never }
func (*dumping) Retain(uint32)                {}
func (*dumping) Release(uint32)               {}
