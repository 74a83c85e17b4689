package limit

import (
	"encoding/binary"
	"hash/maphash"
	"net/netip"
	"sync"
	"sync/atomic"
)

const (
	// tableShards is the number of locks of a table. A million clients that connect at
	// once come from as many goroutines as there are loops.
	tableShards = 64
	// sweepEvery is how often a shard that is full looks for entries that say nothing
	// any more.
	sweepEvery = int64(1e9)
	minShard   = 64 // entries before a shard is swept
)

// table remembers something of up to a number of keys, which are digests under a seed that
// nobody outside knows: they cannot be chosen to meet. An entry takes its own size, at most
// 24 bytes, and 8 for the key, in a map without pointers that is half full at least.
//
// Invariant: an entry that is spent says what one that is not there says.
type table[E any] struct {
	shards [tableShards]shard[E]
	most   int // entries of each shard
	spent  func(e E, now int64) bool
	seed   maphash.Seed
	full   atomic.Uint64 // times that there was no room
}

type shard[E any] struct {
	mu struct {
		sync.Mutex
		entries map[uint64]E
		rest    E     // of all keys that found no room
		sweepAt int   // entries at which the spent ones are looked for
		swept   int64 // when that was
	}
	_ [64]byte // the next one's lock is on another line of the cache
}

func newTable[E any](most int, spent func(e E, now int64) bool) *table[E] {
	t := &table[E]{most: max(most/tableShards, 1), spent: spent, seed: maphash.MakeSeed()}
	for i := range t.shards {
		t.shards[i].mu.entries = make(map[uint64]E)
		t.shards[i].mu.sweepAt = min(minShard, t.most)
	}
	return t
}

// place is an entry that was taken out of its table, whose shard is locked until put.
type place[E any] struct {
	table *table[E]
	shard *shard[E]
	key   uint64
	there bool // the table had it
	alone bool // it is, or may become, the key's own
}

// take locks and returns the entry of a key. Without room for a new one it is what all
// such keys share.
func (t *table[E]) take(key uint64, now int64) (e E, p place[E]) {
	s := &t.shards[key%tableShards]
	s.mu.Lock()
	p = place[E]{table: t, shard: s, key: key, alone: true}
	if e, p.there = s.mu.entries[key]; p.there {
		return e, p
	}
	if len(s.mu.entries) >= s.mu.sweepAt && (len(s.mu.entries) < t.most || now-s.mu.swept >= sweepEvery) {
		t.sweepLocked(s, now)
	}
	if len(s.mu.entries) >= t.most {
		t.full.Add(1)
		p.alone = false
		return s.mu.rest, p
	}
	return e, p
}

// find is take for a key that was counted: in its own entry, or among those that found no
// room when it was. It may have been the one and be found as the other; the sum of both
// is right at all times, and none of them is taken from that has nothing.
func (t *table[E]) find(key uint64) (e E, p place[E]) {
	s := &t.shards[key%tableShards]
	s.mu.Lock()
	p = place[E]{table: t, shard: s, key: key}
	if e, p.there = s.mu.entries[key]; p.there {
		p.alone = true
		return e, p
	}
	return s.mu.rest, p
}

// put puts the entry back and unlocks.
func (p place[E]) put(e E, now int64) {
	s := p.shard
	switch {
	case !p.alone:
		s.mu.rest = e
	case !p.table.spent(e, now):
		s.mu.entries[p.key] = e
	case p.there:
		delete(s.mu.entries, p.key)
	}
	s.mu.Unlock()
}

// sweepLocked forgets the entries that are spent. It is due when there are twice as many as
// it left the last time, so that what it costs is shared by as many.
func (t *table[E]) sweepLocked(s *shard[E], now int64) {
	for key, e := range s.mu.entries {
		if t.spent(e, now) {
			delete(s.mu.entries, key)
		}
	}
	s.mu.swept, s.mu.sweepAt = now, min(max(2*len(s.mu.entries), minShard), t.most)
}

// len is the number of entries.
func (t *table[E]) len() (n int) {
	if t == nil {
		return 0
	}
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		n += len(s.mu.entries)
		s.mu.Unlock()
	}
	return n
}

// crowded is how often there was no room.
func (t *table[E]) crowded() uint64 {
	if t == nil {
		return 0
	}
	return t.full.Load()
}

// home is the address, or the network of addresses, that belongs to one customer: of
// IPv6 64 bits, of which he may use whichever he likes.
func home(a netip.Addr) netip.Addr {
	if a = a.Unmap(); a.Is4() {
		return a
	}
	b := a.As16()
	clear(b[8:])
	return netip.AddrFrom16(b)
}

func (t *table[E]) keyOf(a netip.Addr) uint64 {
	b := home(a).As16()
	return maphash.Bytes(t.seed, b[:])
}

// keyOfPair is that of an address, which may be none, and a name.
func (t *table[E]) keyOfPair(a netip.Addr, name []byte) uint64 {
	var h maphash.Hash
	h.SetSeed(t.seed)
	if a.IsValid() {
		b := home(a).As16()
		h.Write(b[:])
	}
	h.Write(name)
	return h.Sum64()
}

// keyOfNames is that of a user's name and a client identifier.
func (t *table[E]) keyOfNames(user, clientID string) uint64 {
	var h maphash.Hash
	h.SetSeed(t.seed)
	var n [8]byte
	binary.LittleEndian.PutUint64(n[:], uint64(len(user))) // no name runs into the other
	h.Write(n[:])
	h.WriteString(user)
	h.WriteString(clientID)
	return h.Sum64()
}
