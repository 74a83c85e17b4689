package raftstore

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"dunlin/session"
)

// Records come and go, and those that stay are open or packed, whatever moves.
func TestIdentifiersAgainstMap(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	sessions, want := newSessions(), map[string]uint32{}
	for round := range 20_000 {
		id := fmt.Sprint(rng.IntN(300))
		slot, ok := sessions.ids.find([]byte(id))
		if at, there := want[id]; ok != there || ok && slot != at {
			t.Fatalf("%s at %d (%t), want %d (%t)", id, slot, ok, at, there)
		}
		if !ok {
			slot, rec := sessions.add(id, "", uint64(round))
			rec.Attach(session.Epoch(round+1), session.Terms{})
			want[id] = slot
		} else if rec := sessions.at(slot); rec.clientID != id {
			t.Fatalf("slot %d has %q, want %q", slot, rec.clientID, id)
		} else if rng.IntN(2) == 0 {
			sessions.remove(slot)
			delete(want, id)
		}
		if rng.IntN(3) == 0 {
			sessions.pack()
		}
		if err := sessions.check(); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, "used", sessions.ids.used, len(want))
}
