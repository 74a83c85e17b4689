package router

import (
	"hash/maphash"
	"math/bits"
	"slices"
	"sync/atomic"
	"unsafe"
)

// fingerprints is a set of pairs (fingerprint of an exact filter, node), eight
// bytes each and no pointer: a million filters on fifty nodes are on each of
// them. Readers take no lock; writers exclude one another. The zero value is
// empty.
//
// A fingerprint is first scrambled by a secret and reversible function, so that
// clients, who can choose fingerprints, cannot choose where they lie. Twelve of
// the 64 bits then say which stripe has the pair, the other 52 stand in its word
// beside twelve bits of node: nothing is lost, and a word is written at once.
//
// A stripe is an open hash table with linear search. A word is written into a
// free place, erased there, and never moved: what moves words makes a new array,
// and who still reads the old one finds all that stood then. Arrays grow and shrink
// by parts of themselves, so that beyond some ten thousand pairs one costs 12 to 16 bytes,
// 21 after many were removed, and none makes the set much larger than it was.
type fingerprints struct {
	stripes atomic.Pointer[[stripes]stripe] // nil while nothing was ever added
	live    atomic.Int64
}

type stripe struct {
	words atomic.Pointer[array]
	used  int32 // words that are not free; the writer's
	live  int32 // of these, not erased; the writer's
}

// array is a number of words, which lie behind it: a slice header elsewhere would be
// one more cache miss, and as large as three pairs. A word of 0 is free. The nil array
// has none.
type array struct{ size uint64 }

const (
	nodeBits = 12 // MaxNodes
	stripes  = 1 << nodeBits
	erased   = 1 << nodeBits // node 0, which has no words
	line     = 7             // words that are searched one by one, beside their number in a cache line
)

// newArray returns an array for so many words and a quarter more before it is
// crowded, or for the few of a line.
func newArray(live int) *array {
	size := live | 1
	if live > line {
		size = live * 15 / 8
	}
	words := slices.Grow([]uint64(nil), 1+size)
	words = words[:cap(words)] // all of what is allocated
	clear(words)
	a := (*array)(unsafe.Pointer(unsafe.SliceData(words)))
	a.size = uint64(len(words) - 1)
	return a
}

func (a *array) len() int {
	if a == nil {
		return 0
	}
	return int(a.size)
}

// at is word i, which is below len.
func (a *array) at(i int) *atomic.Uint64 {
	return (*atomic.Uint64)(unsafe.Add(unsafe.Pointer(a), 8+8*i))
}

// start is where the search for w's fingerprint begins, whatever its node.
func (a *array) start(w uint64) int {
	i, _ := bits.Mul64(w&^(MaxNodes-1), uint64(a.len()))
	return int(i)
}

// crowded says that a search among so many words takes too long, or does not end
// at a free one, if so many are used.
func crowded(used, words int) bool { return used > words || words > line && 3*used > 2*words }

// sparse says that so many words take too much room for so few that live, by so much
// that they do not come to be crowded with the next few.
func sparse(live, words int) bool { return 5*live <= 2*(words-1) }

// scramble and unscramble are each other's reverse.
func scramble(fp uint64) uint64 {
	fp = (fp ^ secret[0]) * oddSecret
	fp ^= fp >> 32
	fp *= oddSecret
	return fp ^ fp>>32
}

func unscramble(m uint64) uint64 {
	m ^= m >> 32
	m *= oddInverse
	m ^= m >> 32
	return m*oddInverse ^ secret[0]
}

var (
	secret     = [2]uint64{maphash.String(seed, "add"), maphash.String(seed, "multiply")}
	oddSecret  = secret[1] | 1
	oddInverse = inverse(oddSecret)
)

// inverse returns the number whose product with odd is 1, by Newton's method:
// each step doubles the right bits, from three.
func inverse(odd uint64) uint64 {
	x := odd
	for range 5 {
		x *= 2 - odd*x
	}
	return x
}

// appendNodes appends the nodes of fp to dst.
func (f *fingerprints) appendNodes(dst []NodeID, fp uint64) []NodeID {
	all := f.stripes.Load()
	if all == nil {
		return dst
	}
	m := scramble(fp)
	words := all[m>>(64-nodeBits)].words.Load()
	want := m << nodeBits
	from := words.start(want)
	dst, more := words.appendNodes(dst, want, from, words.len())
	if more {
		dst, _ = words.appendNodes(dst, want, 0, from)
	}
	return dst
}

// appendNodes appends the nodes that stand beside want between two places until a
// word is free, and says whether none was.
func (a *array) appendNodes(dst []NodeID, want uint64, from, to int) (_ []NodeID, more bool) {
	for i := from; i < to; i++ {
		w := a.at(i).Load()
		if n := w ^ want; n-1 < MaxNodes-1 {
			dst = append(dst, NodeID(n))
		} else if w == 0 {
			return dst, false
		}
	}
	return dst, true
}

// has says whether a pair is there.
func (f *fingerprints) has(fp uint64, n NodeID) bool {
	all := f.stripes.Load()
	if all == nil {
		return false
	}
	m := scramble(fp)
	_, found := all[m>>(64-nodeBits)].words.Load().locate(m<<nodeBits | uint64(n))
	return found
}

// add adds a pair and says whether it is new. n is not 0.
func (f *fingerprints) add(fp uint64, n NodeID) bool {
	all := f.stripes.Load()
	if all == nil {
		all = new([stripes]stripe)
		f.stripes.Store(all)
	}
	m := scramble(fp)
	st := &all[m>>(64-nodeBits)]
	w := m<<nodeBits | uint64(n)
	words := st.words.Load()
	place, found := words.locate(w)
	if found {
		return false
	}
	if fresh := place < 0 || words.at(place).Load() == 0; fresh {
		if crowded(int(st.used)+1, words.len()) {
			st.rebuild(int(st.live) + 1)
			words = st.words.Load()
			place, _ = words.locate(w)
		}
		st.used++
	}
	words.at(place).Store(w)
	st.live++
	f.live.Add(1)
	return true
}

// remove removes a pair and says whether it was there.
func (f *fingerprints) remove(fp uint64, n NodeID) bool {
	all := f.stripes.Load()
	if all == nil {
		return false
	}
	m := scramble(fp)
	st := &all[m>>(64-nodeBits)]
	words := st.words.Load()
	place, found := words.locate(m<<nodeBits | uint64(n))
	if !found {
		return false
	}
	words.at(place).Store(erased)
	st.live--
	if f.live.Add(-1) == 0 {
		f.stripes.Store(nil)
	} else if sparse(int(st.live), words.len()) {
		st.rebuild(int(st.live))
	}
	return true
}

// locate returns where w is, or else where it may be written: a place that was
// erased rather than a free one, -1 if there is neither.
func (a *array) locate(w uint64) (place int, found bool) {
	place = -1
	i, size := a.start(w), a.len()
	for range size {
		switch a.at(i).Load() {
		case w:
			return i, true
		case erased:
			if place < 0 {
				place = i
			}
		case 0:
			if place < 0 {
				place = i
			}
			return place, false
		}
		if i++; i == size {
			i = 0
		}
	}
	return place, false
}

// all calls yield with each word that has a node.
func (a *array) all(yield func(w uint64) bool) {
	for i := range a.len() {
		if w := a.at(i).Load(); w&(MaxNodes-1) != 0 && !yield(w) {
			return
		}
	}
}

// rebuild makes an array for so many words.
func (st *stripe) rebuild(live int) {
	old := st.words.Load()
	st.used = st.live
	if live == 0 {
		st.words.Store(nil)
		return
	}
	words := newArray(live)
	for w := range old.all {
		place, _ := words.locate(w)
		words.at(place).Store(w)
	}
	st.words.Store(words) // from here readers find it
}

// all calls yield with each pair until it says no. It may run beside a writer: a
// pair that stands all the while is among them, perhaps twice.
func (f *fingerprints) all(yield func(fp uint64, n NodeID) bool) {
	all := f.stripes.Load()
	if all == nil {
		return
	}
	for i := range all {
		words := all[i].words.Load()
		if words == nil {
			continue
		}
		for w := range words.all {
			fp := unscramble(uint64(i)<<(64-nodeBits) | w>>nodeBits)
			if !yield(fp, NodeID(w&(MaxNodes-1))) {
				return
			}
		}
	}
}
