package feed

import "testing"

// Raise computes only if the one that came to hold more may have been the last.
func TestBarrierRaise(t *testing.T) {
	b := NewBarrier()
	held := []uint64{3, 5}
	computed := 0
	lowest := func() uint64 { computed++; return min(held[0], held[1]) }
	b.Set(lowest)
	freed := 0
	b.Wait(4, func() { freed++ })
	raise := func(i int, to uint64) {
		before := held[i]
		held[i] = to
		b.Raise(before, lowest)
	}
	for _, step := range []struct {
		name            string
		of              int
		to              uint64
		computed, freed int
	}{
		{"who was ahead", 1, 9, 1, 0},
		{"who was behind, and is", 0, 4, 2, 0},
		{"who was last", 0, 20, 3, 1},
	} {
		raise(step.of, step.to)
		if computed != step.computed || freed != step.freed {
			t.Errorf("%s: computed %d times, freed %d", step.name, computed, freed)
		}
	}
	if got := b.reached.Load(); got != 9 {
		t.Errorf("reached %d", got)
	}
}
