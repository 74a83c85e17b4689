package session

import (
	"math/rand/v2"
	"testing"
)

// The table of identifiers against a map.
func TestAwaiting(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, span := range []int{4, 40, 1000, 65535} {
		var a awaiting
		model := map[uint16]stage{}
		for range 20_000 {
			id := uint16(1 + r.IntN(span))
			if r.IntN(4) == 0 {
				id = uint16(1 + (int(id)*64)%65535) // they collide
			}
			if r.IntN(2) == 0 {
				s := stage(1 + r.IntN(4))
				a.set(id, s)
				model[id] = s
			} else {
				a.remove(id)
				delete(model, id)
			}
			if a.n != len(model) {
				t.Fatalf("%d entries, want %d", a.n, len(model))
			}
			probe := uint16(1 + r.IntN(span))
			for _, id := range []uint16{id, probe} {
				if got := a.get(id); got != model[id] {
					t.Fatalf("%d is %d, want %d", id, got, model[id])
				}
			}
		}
		for id, s := range model {
			if got := a.get(id); got != s {
				t.Fatalf("%d is %d, want %d", id, got, s)
			}
		}
	}
}
