package router

import (
	"math/bits"
	"sync/atomic"
)

// index is a hash table of entries by key. Readers take no lock; writers
// exclude one another. The zero index is empty.
//
// It is an extendible hash table: a directory of 2^n segments by the first n
// bits of the hash, each segment split or merged by itself. However large the
// index is, a writer never moves more than a few hundred entries at once
// (beside the directory's pointers).
//
// Readers go from the directory to the segment to the bucket to the entry, each
// an atomic pointer. A segment is filled in place, but what moves an entry
// makes a new segment: who still reads the old one finds everything that stood
// when it was replaced.
type index struct {
	dir   atomic.Pointer[directory]
	count int // the writer's
}

type directory struct {
	bits    uint8 // len(segs) is 1 << bits
	deepest int   // segments with depth == bits; the writer's
	segs    []atomic.Pointer[segment]
}

// soleDirectory is a directory of one segment, most nodes of the trie having few
// entries: one object, and next to no way for readers.
type soleDirectory struct {
	directory
	sole [1]atomic.Pointer[segment]
}

type segment struct {
	buckets []bucket // a power of two
	depth   uint8    // bits of the hash that all entries here share
	count   int      // the writer's
	spilled int      // buckets marked as spilled; the writer's
	fresh   int      // of these, when the segment was new; the writer's
}

// soleSegment is a segment of one bucket, for the same reason.
type soleSegment struct {
	segment
	sole [1]bucket
}

// bucket is a cache line: seven entries, a byte of each one's hash, and in the
// eighth byte whether an entry that belongs here lies in a later bucket.
type bucket struct {
	tags  atomic.Uint64
	slots [bucketSlots]atomic.Pointer[entry]
}

const (
	bucketSlots = 7
	maxBuckets  = 64 // of a segment that can be split
	maxDepth    = 40 // of the directory; more would need 2^40 entries, or none that differ

	tagOnes   = 0x0001_0101_0101_0101
	tagHighs  = 0x0080_8080_8080_8080
	spillMark = 1 << 56
)

// tag is the byte of h that a slot is marked with: never 0, which is a free one.
func tag(h uint64) uint64 { return max(h>>40&0xff, 1) }

// isEmpty says that there is nothing to find.
func (ix *index) isEmpty() bool { return ix.dir.Load() == nil }

// find returns the entry with key, whose hash is h, or nil.
func (ix *index) find(h uint64, key string) *entry {
	d := ix.dir.Load()
	if d == nil {
		return nil
	}
	seg := d.segs[h>>(64-d.bits)].Load()
	mask := len(seg.buckets) - 1
	want := tag(h) * tagOnes
	for i := range seg.buckets {
		b := &seg.buckets[(int(h)+i)&mask]
		tags := b.tags.Load()
		// Bytes of x that are zero are slots with this tag; a slot above one
		// may be named falsely, and the key decides.
		x := tags ^ want
		for hits := (x - tagOnes) & ^x & tagHighs; hits != 0; hits &= hits - 1 {
			if e := b.slots[bits.TrailingZeros64(hits)/8].Load(); e != nil && e.hasKey(key) {
				return e
			}
		}
		if tags&spillMark == 0 {
			return nil
		}
	}
	return nil
}

// all calls yield with each entry until it says no. It may run beside a writer:
// an entry that stands all the while is among them, perhaps twice.
func (ix *index) all(yield func(*entry) bool) {
	d := ix.dir.Load()
	if d == nil {
		return
	}
	var last *segment
	for i := range d.segs {
		seg := d.segs[i].Load()
		if seg == last {
			continue
		}
		last = seg
		for e := range seg.all {
			if !yield(e) {
				return
			}
		}
	}
}

func (seg *segment) all(yield func(*entry) bool) {
	for i := range seg.buckets {
		for j := range seg.buckets[i].slots {
			if e := seg.buckets[i].slots[j].Load(); e != nil && !yield(e) {
				return
			}
		}
	}
}

// put stores e under key, whose hash is h, in place of what was there; nil
// removes it.
func (ix *index) put(h uint64, key string, e *entry) {
	d := ix.dir.Load()
	if d == nil {
		if e == nil {
			return
		}
		d = newDirectory(0)
		d.deepest = 1
		d.segs[0].Store(newSegment(0, 1))
		ix.dir.Store(d)
	}
	seg := d.segs[h>>(64-d.bits)].Load()
	b, i := seg.locate(h, key)
	switch {
	case b != nil && e != nil:
		b.slots[i].Store(e)
	case b != nil:
		b.tags.Store(b.tags.Load() &^ (0xff << (8 * i)))
		b.slots[i].Store(nil)
		seg.count--
		ix.count--
		ix.shrink(h)
	case e != nil:
		ix.room(h).add(h, e)
		ix.count++
	}
}

// locate returns the bucket and slot of key, or nil.
func (seg *segment) locate(h uint64, key string) (*bucket, int) {
	for i := range seg.buckets {
		b := &seg.buckets[(int(h)+i)&(len(seg.buckets)-1)]
		for j := range b.slots {
			if e := b.slots[j].Load(); e != nil && e.hasKey(key) {
				return b, j
			}
		}
		if b.tags.Load()&spillMark == 0 {
			break
		}
	}
	return nil, 0
}

func newSegment(depth uint8, buckets int) *segment {
	if buckets == 1 {
		s := &soleSegment{}
		s.buckets, s.depth = s.sole[:], depth
		return &s.segment
	}
	return &segment{buckets: make([]bucket, buckets), depth: depth}
}

func newDirectory(bits uint8) *directory {
	if bits == 0 {
		d := &soleDirectory{}
		d.segs = d.sole[:]
		return &d.directory
	}
	return &directory{bits: bits, segs: make([]atomic.Pointer[segment], 1<<bits)}
}

// full says that one more entry would make the segment slow.
func (seg *segment) full() bool { return 5*(seg.count+1) > 4*bucketSlots*len(seg.buckets) }

// worn says that too many marks have outlived what made them: they make every
// search for what is not there a long one.
func (seg *segment) worn() bool { return 4*(seg.spilled-seg.fresh) > len(seg.buckets) }

// add puts e into the first free slot. There is one: see full.
func (seg *segment) add(h uint64, e *entry) {
	for i := range seg.buckets {
		b := &seg.buckets[(int(h)+i)&(len(seg.buckets)-1)]
		tags := b.tags.Load()
		for j := range b.slots {
			if tags>>(8*j)&0xff == 0 {
				b.slots[j].Store(e)
				b.tags.Store(tags | tag(h)<<(8*j)) // from here readers find it
				seg.count++
				return
			}
		}
		if tags&spillMark == 0 {
			b.tags.Store(tags | spillMark)
			seg.spilled++
		}
	}
	panic("router: no free slot in a segment that is not full")
}

// room returns the segment for h with room for one more entry.
func (ix *index) room(h uint64) *segment {
	for {
		d := ix.dir.Load()
		seg := d.segs[h>>(64-d.bits)].Load()
		switch {
		case !seg.full() && !seg.worn():
			return seg
		case !seg.full():
			ix.replace(h, seg.copy(len(seg.buckets)))
		case len(seg.buckets) < maxBuckets || seg.depth >= maxDepth:
			ix.replace(h, seg.copy(2*len(seg.buckets)))
		default:
			ix.split(h, seg)
		}
	}
}

// copy returns a segment of the same depth with the entries in other buckets.
func (seg *segment) copy(buckets int) *segment {
	c := newSegment(seg.depth, buckets)
	for e := range seg.all {
		c.add(hash(e.key()), e)
	}
	c.fresh = c.spilled
	return c
}

// replace puts seg wherever the directory leads to for hashes that share its
// depth of bits with h.
func (ix *index) replace(h uint64, seg *segment) {
	d := ix.dir.Load()
	span := 1 << (d.bits - seg.depth)
	first := int(h>>(64-d.bits)) &^ (span - 1)
	for i := first; i < first+span; i++ {
		d.segs[i].Store(seg)
	}
}

func (ix *index) split(h uint64, seg *segment) {
	d := ix.dir.Load()
	if d.bits == seg.depth {
		wide := newDirectory(d.bits + 1)
		for i := range wide.segs {
			wide.segs[i].Store(d.segs[i/2].Load())
		}
		ix.dir.Store(wide)
		d = wide
	}
	low, high := newSegment(seg.depth+1, maxBuckets), newSegment(seg.depth+1, maxBuckets)
	turn := uint64(1) << (63 - seg.depth) // the bit that decides
	for e := range seg.all {
		if eh := hash(e.key()); eh&turn == 0 {
			low.add(eh, e)
		} else {
			high.add(eh, e)
		}
	}
	low.fresh, high.fresh = low.spilled, high.spilled
	if low.depth == d.bits {
		d.deepest += 2
	}
	ix.replace(h&^turn, low)
	ix.replace(h|turn, high)
}

// shrink gives back what the segment of h no longer needs: it halves its
// buckets, joins its neighbour, or halves the directory.
func (ix *index) shrink(h uint64) {
	d := ix.dir.Load()
	seg := d.segs[h>>(64-d.bits)].Load()
	if ix.count == 0 {
		ix.dir.Store(nil)
		return
	}
	if 8*seg.count > bucketSlots*len(seg.buckets) {
		return
	}
	if seg.depth > 0 {
		turn := uint64(1) << (64 - seg.depth)
		buddy := d.segs[(h^turn)>>(64-d.bits)].Load()
		if buddy.depth == seg.depth && 4*(seg.count+buddy.count) <= bucketSlots*maxBuckets {
			ix.join(h, seg, buddy)
		}
		return
	}
	if len(seg.buckets) > 1 {
		ix.replace(h, seg.copy(len(seg.buckets)/2))
	}
}

func (ix *index) join(h uint64, a, b *segment) {
	d := ix.dir.Load()
	both := newSegment(a.depth-1, maxBuckets)
	for _, seg := range []*segment{a, b} {
		for e := range seg.all {
			both.add(hash(e.key()), e)
		}
	}
	both.fresh = both.spilled
	ix.replace(h, both)
	if a.depth != d.bits {
		return
	}
	if d.deepest -= 2; d.deepest > 0 {
		return
	}
	narrow := newDirectory(d.bits - 1)
	var last *segment
	for i := range narrow.segs {
		seg := d.segs[2*i].Load()
		narrow.segs[i].Store(seg)
		if seg != last && seg.depth == narrow.bits {
			narrow.deepest++
		}
		last = seg
	}
	ix.dir.Store(narrow)
}
