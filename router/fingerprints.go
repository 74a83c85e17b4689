package router

import (
	"hash/maphash"
	"math/bits"
	"sync/atomic"
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
// and who still reads the old one finds all that stood then.
type fingerprints struct {
	stripes atomic.Pointer[[stripes]stripe] // nil while nothing was ever added
	live    atomic.Int64
}

type stripe struct {
	words atomic.Pointer[[]atomic.Uint64] // a power of two; 0 is free
	used  int32                           // words that are not free; the writer's
	live  int32                           // of these, not erased; the writer's
}

const (
	nodeBits = 12 // MaxNodes
	stripes  = 1 << nodeBits
	erased   = 1 << nodeBits // node 0, which has no words
)

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
	if words == nil {
		return dst
	}
	want := m << nodeBits
	for i := start(want, *words); ; i = (i + 1) & (len(*words) - 1) {
		w := (*words)[i].Load()
		if w == 0 {
			return dst
		}
		if w&^(MaxNodes-1) == want && w&(MaxNodes-1) != 0 {
			dst = append(dst, NodeID(w&(MaxNodes-1)))
		}
	}
}

func start(w uint64, words []atomic.Uint64) int {
	return int(w>>nodeBits) & (len(words) - 1)
}

// has says whether a pair is there.
func (f *fingerprints) has(fp uint64, n NodeID) bool {
	all := f.stripes.Load()
	if all == nil {
		return false
	}
	m := scramble(fp)
	_, found := all[m>>(64-nodeBits)].locate(m<<nodeBits | uint64(n))
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
	place, found := st.locate(w)
	if found {
		return false
	}
	if words := st.words.Load(); words == nil || 4*int(st.used+1) > 3*len(*words) {
		st.rebuild(int(st.live) + 1)
		place, _ = st.locate(w)
	}
	words := *st.words.Load()
	if words[place].Load() == 0 {
		st.used++
	}
	words[place].Store(w)
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
	place, found := st.locate(m<<nodeBits | uint64(n))
	if found {
		f.erase(st, place)
	}
	return found
}

func (f *fingerprints) erase(st *stripe, place int) {
	words := *st.words.Load()
	words[place].Store(erased)
	st.live--
	if f.live.Add(-1) == 0 {
		f.stripes.Store(nil)
		return
	}
	if 8*int(st.live) < len(words) {
		st.rebuild(int(st.live))
	}
}

// locate returns where w is, or else where it may be written: a place that was
// erased rather than a free one, -1 without an array.
func (st *stripe) locate(w uint64) (place int, found bool) {
	words := st.words.Load()
	if words == nil {
		return -1, false
	}
	place = -1
	for i := start(w, *words); ; i = (i + 1) & (len(*words) - 1) {
		switch (*words)[i].Load() {
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
	}
}

// rebuild makes an array for so many words.
func (st *stripe) rebuild(live int) {
	if live == 0 {
		st.words.Store(nil)
		st.used = 0
		return
	}
	words := make([]atomic.Uint64, 1<<bits.Len(uint(live+live/2+1)))
	if old := st.words.Load(); old != nil {
		for i := range *old {
			w := (*old)[i].Load()
			if w == erased || w == 0 {
				continue
			}
			p := start(w, words)
			for words[p].Load() != 0 {
				p = (p + 1) & (len(words) - 1)
			}
			words[p].Store(w)
		}
	}
	st.used = st.live
	st.words.Store(&words)
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
		for j := range *words {
			w := (*words)[j].Load()
			if w&(MaxNodes-1) == 0 {
				continue
			}
			fp := unscramble(uint64(i)<<(64-nodeBits) | w>>nodeBits)
			if !yield(fp, NodeID(w&(MaxNodes-1))) {
				return
			}
		}
	}
}
