package log

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/hashicorp/raft"
)

var (
	_ raft.LogStore          = (*Group)(nil)
	_ raft.MonotonicLogStore = (*Group)(nil)
	_ raft.StableStore       = (*Group)(nil)
)

// Group is the part of the log that belongs to one Raft group. Its methods may
// be called from any goroutine.
type Group struct {
	log *Log
	id  uint16

	// staged is what the group will hold when the batch that the syncer builds
	// is stored. Owned by the syncer.
	staged bounds

	// mu is taken after nothing and before Log.segments.mu.
	mu struct {
		sync.RWMutex
		index  index
		stable map[string][]byte
		bytes  int64 // size of all entries
		recent recent
	}
}

// bounds are the first entry and the index after the last; equal if there is none.
type bounds struct{ first, next uint64 }

// IsMonotonic tells Raft that entries are consecutive: after it installed a
// snapshot it deletes all entries before it stores new ones. Should it stop in
// between, the gap that follows does the same, see StoreLogs.
func (g *Group) IsMonotonic() bool { return true }

// FirstIndex is the first entry's index, 0 if there is none.
func (g *Group) FirstIndex() (uint64, error) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if g.mu.index.empty() {
		return 0, g.log.Err()
	}
	return g.mu.index.first, g.log.Err()
}

// LastIndex is the last entry's index, 0 if there is none.
func (g *Group) LastIndex() (uint64, error) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if g.mu.index.empty() {
		return 0, g.log.Err()
	}
	return g.mu.index.next() - 1, g.log.Err()
}

// GetLog fills l with entry i, or returns raft.ErrLogNotFound. The bytes of l
// must not be written: a recent entry's are those given to StoreLogs. An entry
// that cannot be read poisons the log.
func (g *Group) GetLog(i uint64, l *raft.Log) error {
	if err := g.log.Err(); err != nil {
		return err
	}
	g.mu.RLock()
	if !g.mu.index.has(i) {
		g.mu.RUnlock()
		return raft.ErrLogNotFound
	}
	if cached, ok := g.mu.recent.get(i); ok {
		g.checkCachedLocked(&cached)
		g.mu.RUnlock()
		g.log.metrics.hits.Inc()
		*l = cached
		return nil
	}
	at := *g.mu.index.at(i)
	// Held before the index may forget it: the segment is not recycled until it
	// is released.
	seg := g.log.segments.hold(at.segment)
	g.mu.RUnlock()
	defer seg.release()

	g.log.metrics.misses.Inc()
	if err := g.read(seg, at, i, l); err != nil {
		return g.log.fail(err)
	}
	return nil
}

// read fills l from the disk.
func (g *Group) read(seg *segment, at location, i uint64, l *raft.Log) error {
	record := make([]byte, at.length)
	if _, err := seg.file.ReadAt(record, int64(at.offset)); err != nil {
		return fmt.Errorf("read entry %d of group %d from %s at %d: %w", i, g.id, seg.name, at.offset, err)
	}
	h, _, ok := cutRecord(record, seg.mask)
	if !ok || h.size() != int64(at.length) || h.group != g.id || h.index != i {
		return seg.damage(int64(at.offset), fmt.Sprintf("entry %d of group %d has a wrong checksum", i, g.id))
	}
	if err := decodeEntry(h, record, l); err != nil {
		return seg.damage(int64(at.offset), err.Error())
	}
	return nil
}

// StoreLog stores one entry.
func (g *Group) StoreLog(l *raft.Log) error { return g.StoreLogs([]*raft.Log{l}) }

// StoreLogs stores consecutive entries, all or none of which are there after a
// crash. They follow the last entry, or ErrOrder is returned and nothing
// changed. If they leave a gap, all entries before it are dropped with the same
// write: Raft does so only if a snapshot holds them. The bytes of the entries
// stay in use and must never be written again.
func (g *Group) StoreLogs(logs []*raft.Log) error {
	if len(logs) == 0 {
		return g.log.Err()
	}
	size := 0
	for i, l := range logs {
		if l.Index == 0 || l.Index != logs[0].Index+uint64(i) {
			return fmt.Errorf("store entries of group %d: %d at place %d after %d: %w", g.id, l.Index, i, logs[0].Index, ErrOrder)
		}
		size += entrySize(l)
	}
	if logs[0].Index > maxIndex-uint64(len(logs)) || size > maxRequestBytes {
		return fmt.Errorf("store %d bytes of entries from %d on of group %d: %w", size, logs[0].Index, g.id, ErrTooLarge)
	}
	r := newRequest(g, opStore)
	r.logs = logs
	r.records = slices.Grow(r.records, size)
	for _, l := range logs {
		r.records = appendEntry(r.records, g.id, l)
	}
	if err := g.log.do(r); err != nil {
		return fmt.Errorf("store entries %d to %d of group %d: %w", logs[0].Index, logs[len(logs)-1].Index, g.id, err)
	}
	return nil
}

// DeleteRange deletes the entries from min to max, both included, which begin
// at the first or end with the last one.
func (g *Group) DeleteRange(min, max uint64) error {
	r := newRequest(g, opDelete)
	r.min, r.max = min, max
	if err := g.log.do(r); err != nil {
		return fmt.Errorf("delete entries %d to %d of group %d: %w", min, max, g.id, err)
	}
	return nil
}

// Set stores a stable value; term and vote are such. It is durable when Set
// returns.
func (g *Group) Set(key, value []byte) error {
	if len(key) > maxValueBytes || len(value) > maxValueBytes {
		return fmt.Errorf("set %q of group %d: %w", key[:min(len(key), 64)], g.id, ErrTooLarge)
	}
	r := newRequest(g, opSet)
	r.records = appendSet(r.records, g.id, string(key), value)
	sealRecord(r.records, 0)
	if err := g.log.do(r); err != nil {
		return fmt.Errorf("set %q of group %d: %w", key, g.id, err)
	}
	return nil
}

// Get returns a copy of a stable value, nil if there is none.
func (g *Group) Get(key []byte) ([]byte, error) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return slices.Clone(g.mu.stable[string(key)]), g.log.Err()
}

// SetUint64 is Set for numbers.
func (g *Group) SetUint64(key []byte, value uint64) error {
	return g.Set(key, binary.BigEndian.AppendUint64(nil, value))
}

// GetUint64 is Get for numbers, 0 if there is none.
func (g *Group) GetUint64(key []byte) (uint64, error) {
	value, err := g.Get(key)
	switch {
	case err != nil || value == nil:
		return 0, err
	case len(value) != 8:
		return 0, fmt.Errorf("get %q of group %d: %d bytes are not a number", key, g.id, len(value))
	}
	return binary.BigEndian.Uint64(value), nil
}

// Remove deletes everything of the group, at once and durably. The Group can be
// used again, empty.
func (g *Group) Remove() error {
	if err := g.log.do(newRequest(g, opRemove)); err != nil {
		return fmt.Errorf("remove group %d: %w", g.id, err)
	}
	return nil
}

// BytesAfter is the size in the log of the entries after index: how much the
// log has grown since the snapshot at index, by which the next one is triggered.
func (g *Group) BytesAfter(index uint64) int64 {
	g.mu.RLock()
	defer g.mu.RUnlock()
	x := &g.mu.index
	if index < x.first {
		return g.mu.bytes
	}
	var sum int64
	for i := index + 1; i < x.next(); i++ {
		sum += int64(x.at(i).length)
	}
	return sum
}

// bounds are those of the entries stored.
func (g *Group) bounds() bounds {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return bounds{g.mu.index.first, g.mu.index.next()}
}

// appendState appends what the group holds, but for the entries themselves, as
// records without checksums: its part of a checkpoint. Nothing if it is as if
// it never was.
func (g *Group) appendState(b []byte) []byte {
	g.mu.RLock()
	defer g.mu.RUnlock()
	x := &g.mu.index
	if x.next() == 0 && len(g.mu.stable) == 0 {
		return b
	}
	b = appendHeader(b, header{kind: kindState, group: g.id, index: x.first, term: x.next()})
	for _, key := range slices.Sorted(maps.Keys(g.mu.stable)) {
		b = appendSet(b, g.id, key, g.mu.stable[key])
	}
	return b
}
