package router

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// What a peer holds after any changes has the sum of what the node has; a route
// that is missing, or is there too much, makes another.
func TestSums(t *testing.T) {
	own, peer := NewTable(), NewTable()
	const as = NodeID(7)
	peer.BeginRemote(as)
	peer.EndRemote(as)
	at := uint64(0)
	filters := []string{"a", "b/c", "a/+", "#", "+/+/x", "$share/g/a", "$share/g/b/#", "$share/h/a"}
	for i := range 2000 {
		f, err := ParseFilter([]byte(filters[rand.IntN(len(filters))] + fmt.Sprint("/", rand.IntN(20))))
		if err != nil {
			f, _ = ParseFilter([]byte(fmt.Sprint("n/", i%50)))
		}
		who := Subscriber(1 + rand.IntN(3))
		if rand.IntN(2) == 0 {
			own.Subscribe(f, who, Options{})
		} else {
			own.Unsubscribe(f, who)
		}
		changes, version, ok := own.Changes(at, 1000, nil)
		if !ok {
			t.Fatal("the log does not reach back")
		}
		peer.ApplyRemote(as, changes)
		at = version
		if i%100 == 0 && own.Sums()[0] != peer.Sums()[as] {
			t.Fatalf("%+v at the node, %+v at its peer", own.Sums()[0], peer.Sums()[as])
		}
	}
	whole := peer.Sums()[as]
	for _, c := range []Change{
		{Op: AddExact, Fingerprint: 1}, {Op: AddWildcard, Filter: "planted/#"}, {Op: SetGroup, Filter: "$share/planted/a", Members: 1},
		{Op: SetGroup, Filter: "$share/planted/a", Members: 2},
	} {
		before := peer.Sums()[as]
		peer.ApplyRemote(as, []Change{c})
		if peer.Sums()[as] == before || peer.Sums()[as] == whole {
			t.Errorf("%+v goes unnoticed", c)
		}
	}
	if _, ok := peer.Sums()[8]; ok {
		t.Error("nobody has a sum")
	}
}
