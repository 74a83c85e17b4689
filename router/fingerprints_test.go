package router

import (
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"
)

func TestFingerprintsAreASet(t *testing.T) {
	var f fingerprints
	type pair struct {
		fp uint64
		n  NodeID
	}
	want := map[pair]bool{}
	d := newDice(t, 3)
	for i := range 60000 {
		p := pair{d.Uint64N(3000) * 0x9e3779b97f4a7c15, NodeID(1 + d.IntN(5)*1000)}
		if unscramble(scramble(p.fp)) != p.fp {
			t.Fatalf("%x comes back as %x", p.fp, unscramble(scramble(p.fp)))
		}
		if d.IntN(2) == 0 {
			if f.add(p.fp, p.n) == want[p] {
				t.Fatalf("add %v: had it %v", p, want[p])
			}
			want[p] = true
		} else {
			if f.remove(p.fp, p.n) != want[p] {
				t.Fatalf("remove %v: had it %v", p, want[p])
			}
			delete(want, p)
		}
		if got := f.appendNodes(nil, p.fp); slices.Contains(got, p.n) != want[p] {
			t.Fatalf("nodes of %x: %v", p.fp, got)
		}
		if i%20000 == 0 {
			if err := f.check(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for p := range want {
		if !f.remove(p.fp, p.n) {
			t.Fatalf("%v is gone", p)
		}
	}
	if f.stripes.Load() != nil {
		t.Error("an empty set keeps its stripes")
	}
}

// held is what f holds, in bytes.
func (f *fingerprints) held() (bytes int) {
	all := f.stripes.Load()
	if all == nil {
		return 0
	}
	bytes = int(unsafe.Sizeof(*all))
	for i := range all {
		if words := all[i].words.Load(); words != nil {
			bytes += 8 * (1 + words.len())
		}
	}
	return bytes
}

// A route costs at most 24 bytes, however many have come and gone, and one more
// never makes the set much larger than it was.
func TestFingerprintsAreSmall(t *testing.T) {
	most := 300_000
	if testing.Short() {
		most = 60_000
	}
	const few = 10_000 // fewer are bound by what a set takes at least
	var f fingerprints
	r := rand.New(rand.NewPCG(1, 2))
	fps := make([]uint64, most)
	before := 0
	look := func(n int) {
		t.Helper()
		held := f.held()
		if n >= few && held > 24*n {
			t.Errorf("%d routes hold %d bytes, %.1f each", n, held, float64(held)/float64(n))
		}
		if n > 2*few && held > before+before/10 {
			t.Errorf("at %d routes what is held grows from %d to %d bytes", n, before, held)
		}
		before = held
	}
	for i := range fps {
		fps[i] = r.Uint64()
		f.add(fps[i], NodeID(1+i%50))
		if n := i + 1; n%(few/10) == 0 {
			look(n)
		}
	}
	// Coming and going at one size.
	for i := range fps {
		f.remove(fps[i], NodeID(1+i%50))
		fps[i] = r.Uint64()
		f.add(fps[i], NodeID(1+i%50))
		if i%(few/10) == 0 {
			look(most)
		}
	}
	for i := range fps {
		f.remove(fps[i], NodeID(1+i%50))
		if n := most - i - 1; n%(few/10) == 0 {
			look(n)
		}
	}
}
