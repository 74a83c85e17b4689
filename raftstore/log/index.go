package log

import (
	"slices"
	"unsafe"
)

// A location is where a record lies. The zero location is nowhere: segments are
// numbered from 1.
type location struct {
	segment, offset, length uint32
}

// index finds the entries of one group: those from first on, one after the
// other, 12 bytes each without a pointer.
type index struct {
	first   uint64
	entries []location
	dropped int // entries cut off the front that still take memory

	// During recovery only: the first so many entries are known to be there from
	// a checkpoint, and take no memory until a copy of them is found: most were
	// deleted later.
	hollow uint64
	found  map[uint64]location
}

// next is the index after the last entry.
func (x *index) next() uint64 { return x.first + x.hollow + uint64(len(x.entries)) }

func (x *index) empty() bool { return x.first == x.next() }

func (x *index) has(i uint64) bool { return i >= x.first && i < x.next() }

// at is where entry i lies, which must be there and not hollow; the caller may
// change it.
func (x *index) at(i uint64) *location { return &x.entries[i-x.first-x.hollow] }

// push adds entry i, which follows the last one or is the first of an empty index.
func (x *index) push(i uint64, at location) {
	if x.empty() {
		x.first = i
	}
	x.entries = append(x.entries, at)
}

// cutHead drops the entries below i and returns them, to be read before the
// next change. Beyond the last entry, i is where the next ones begin.
func (x *index) cutHead(i uint64) []location {
	n := i - x.first
	hollow := min(n, x.hollow)
	x.hollow -= hollow
	n = min(n-hollow, uint64(len(x.entries)))
	gone := x.entries[:n:n]
	x.entries = x.entries[n:]
	x.first = i
	x.dropped += int(n)
	// Append makes room by moving what is live, but a group may be idle now.
	if x.dropped > len(x.entries)+minDropped {
		x.entries, x.dropped = slices.Clone(x.entries), 0
	}
	return gone
}

// minDropped is how many dropped entries are not worth a copy.
const minDropped = 1024

// cutTail drops the entries from i on and returns them, to be read before the
// next change.
func (x *index) cutTail(i uint64) []location {
	n := i - x.first
	x.hollow = min(n, x.hollow)
	n -= x.hollow
	gone := x.entries[n:]
	x.entries = x.entries[:n]
	return gone
}

// memory is how many bytes the index takes.
func (x *index) memory() int { return (x.dropped + cap(x.entries)) * int(unsafe.Sizeof(location{})) }

// fill puts the copies found where they belong, and returns the first entry of
// which there is none, 0 if all are there.
func (x *index) fill() (missing uint64) {
	if x.hollow == 0 {
		x.found = nil
		return 0
	}
	entries := make([]location, 0, min(x.hollow, uint64(len(x.found)))+uint64(len(x.entries)))
	for i := x.first; i < x.first+x.hollow; i++ {
		at, ok := x.found[i]
		if !ok {
			return i
		}
		entries = append(entries, at)
	}
	x.entries, x.hollow, x.found = append(entries, x.entries...), 0, nil
	return 0
}
