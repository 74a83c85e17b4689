package raftstore

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

func TestIdentifiersAgainstMap(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	names := map[uint32]string{}
	ids := newIdentifiers(func(slot uint32) string { return names[slot] })
	want := map[string]uint32{}
	for range 20_000 {
		id := fmt.Sprint(rng.IntN(300))
		slot, ok := ids.find([]byte(id))
		if at, there := want[id]; ok != there || ok && slot != at {
			t.Fatalf("%s at %d (%t), want %d (%t)", id, slot, ok, at, there)
		}
		if ok {
			ids.remove(slot)
			delete(want, id)
			delete(names, slot)
			continue
		}
		for slot = rng.Uint32N(1000); names[slot] != ""; {
			slot = rng.Uint32N(1000)
		}
		names[slot], want[id] = id, slot
		ids.add(slot)
	}
	expect(t, "used", ids.used, len(want))
}
