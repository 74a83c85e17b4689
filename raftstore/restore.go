package raftstore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"dunlin/router"
)

// restoreState reads a snapshot of shard sh. What it returns has passed check,
// and the memory it took is in proportion to what it read.
func restoreState(sh router.ShardID, from io.Reader) (*state, error) {
	rs := restoring{st: newState(sh)}
	return rs.read(from)
}

// restore is restoreState for a shard of this store: queued messages are spilled
// beyond its share.
func (s *Store) restore(sh router.ShardID, from io.Reader) (*state, error) {
	rs := restoring{st: newState(sh), share: s.scratches.share}
	rs.st.messages.scratch = s.scratches.open()
	st, err := rs.read(from)
	if err != nil {
		rs.st.messages.scratch.close()
	}
	return st, err
}

func (rs *restoring) read(from io.Reader) (*state, error) {
	r := snapshotReader{from: from}
	if err := r.each(rs.item); err != nil {
		return nil, err
	}
	if rs.err != nil {
		return nil, rs.err
	}
	if !rs.seen[sectionSessions] {
		return nil, fmt.Errorf("%w: tables are missing", ErrSnapshot)
	}
	if err := rs.finish(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSnapshot, err)
	}
	return rs.st, nil
}

// restoring is a state while its snapshot is read.
type restoring struct {
	st      *state
	seen    [sectionEnd]bool
	slots   uint64 // of messages
	records uint64 // slots of sessions
	record  record // in hand
	bad     bool   // a queue names a message that is not there
	share   int    // bytes of messages that stay in memory
	err     error  // of the scratch files
}

// fail keeps the first error of the scratch files.
func (rs *restoring) fail(err error) {
	if rs.err == nil {
		rs.err = err
	}
}

// first says whether an item is the first of its section, which describes the
// table.
func (rs *restoring) first(s section) bool {
	first := !rs.seen[s]
	rs.seen[s] = true
	return first
}

func (rs *restoring) item(s section, r *reader) {
	switch s {
	case sectionHead:
		rs.head(r)
	case sectionMessages:
		rs.message(r)
	case sectionSessions:
		rs.session(r)
	case sectionRetained:
		rs.retained(r)
	case sectionPublishers:
		rs.publisher(r)
	case sectionWills:
		rs.will(r)
	case sectionProposers:
		rs.proposer(r)
	case sectionMail:
		rs.letter(r)
	case sectionGroups:
		rs.group(r)
	}
}

func (rs *restoring) head(r *reader) {
	st := rs.st
	if r.version(snapshotVersion); r.err != nil {
		return
	}
	if r.uvarint() != uint64(st.shard) {
		r.fail()
	}
	st.now = r.time()
	st.index, st.epochs, st.wall, st.digest = r.uvarint(), r.uvarint(), r.uvarint(), r.uvarint()
	st.limits, st.endings = r.limits(), r.endings()
	if !rs.first(sectionHead) || st.now < firstTime || st.now > lastTime {
		r.fail()
	}
}

// endMessages adds the free slots behind the last message.
func (rs *restoring) endMessages() {
	t := &rs.st.messages
	if !rs.seen[sectionMessages] || !grow(&t.slots, rs.slots, t.free) {
		rs.bad = true
	}
}

// finish does what the whole is needed for, and verifies it.
func (rs *restoring) finish() error {
	st := rs.st
	t := st.sessions
	if rs.records < uint64(t.size()) || rs.records-uint64(t.size()) > uint64(len(t.free)) || rs.bad {
		return errMalformed
	}
	for uint64(t.size()) < rs.records {
		t.extend()
	}
	if !unused(t.free, rs.records, func(slot uint32) bool { return !t.used(slot) }) ||
		!unused(st.messages.free, rs.slots, func(slot uint32) bool { return st.messages.slots[slot].refs == 0 }) {
		return errMalformed
	}
	st.retained.publish(st.index)
	return st.check()
}

// unused says whether free names slots below n that are free, each once.
func unused(free []uint32, n uint64, isFree func(slot uint32) bool) bool {
	seen := make(map[uint32]bool, len(free))
	for _, slot := range free {
		if uint64(slot) >= n || seen[slot] || !isFree(slot) {
			return false
		}
		seen[slot] = true
	}
	return true
}

// grow lengthens s to n items, if free slots account for the new ones; items
// come in rising order.
func grow[T any](s *[]T, n uint64, free []uint32) bool {
	have := uint64(len(*s))
	if n < have || n-have > uint64(len(free)) {
		return false
	}
	*s = append(*s, make([]T, n-have)...)
	return true
}

// appendSlots describes a table of n slots; slots reads it.
func appendSlots(b []byte, n int, free []uint32) []byte {
	b = binary.AppendUvarint(b, uint64(n))
	b = binary.AppendUvarint(b, uint64(len(free)))
	for _, slot := range free {
		b = binary.AppendUvarint(b, uint64(slot))
	}
	return b
}

func (r *reader) slots() (n uint64, free []uint32) {
	n = r.uvarint()
	free = make([]uint32, r.count(1))
	for i := range free {
		free[i] = uint32(min(r.uvarint(), 1<<32-1))
	}
	return n, free
}

// snapshotReader cuts a snapshot into items.
type snapshotReader struct {
	from   io.Reader
	chunks uint64
	body   bytes.Buffer
}

// each calls item until a chunk's body is used up, for every chunk up to the
// end.
func (r *snapshotReader) each(item func(section, *reader)) error {
	last := section(0)
	for {
		s, body, err := r.next()
		if err != nil {
			return err
		}
		if s < last || s > sectionEnd || (s == sectionHead) != (last == 0) {
			return fmt.Errorf("%w: section %d after %d", ErrSnapshot, s, last)
		}
		last = s
		if s == sectionEnd {
			if body.uvarint() != r.chunks-1 || body.err != nil {
				return fmt.Errorf("%w: chunks are missing", ErrSnapshot)
			}
			return nil
		}
		for len(body.b) > 0 {
			item(s, &body)
		}
		if body.err != nil {
			return fmt.Errorf("%w: section %d: %w", ErrSnapshot, s, body.err)
		}
	}
}

// next reads a chunk and verifies its checksum.
func (r *snapshotReader) next() (section, reader, error) {
	var head [chunkHead]byte
	if _, err := io.ReadFull(r.from, head[:]); err != nil {
		return 0, reader{}, fmt.Errorf("%w: %w", ErrSnapshot, err)
	}
	s, n := section(head[0]), int64(binary.BigEndian.Uint32(head[1:]))
	r.body.Reset()
	if _, err := io.CopyN(&r.body, r.from, n); err != nil {
		return 0, reader{}, fmt.Errorf("%w: %w", ErrSnapshot, err)
	}
	r.chunks++
	body := r.body.Bytes()
	if checksum(s, body) != binary.BigEndian.Uint64(head[5:]) {
		return 0, reader{}, fmt.Errorf("%w: checksum of chunk %d", ErrSnapshot, r.chunks)
	}
	return s, reader{b: body}, nil
}
