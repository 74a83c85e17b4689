package router

import (
	"testing"
)

func TestGroupPicksFairly(t *testing.T) {
	tb := NewTable()
	f := mustFilter(t, "$share/g/a/+")
	for s := range Subscriber(5) {
		tb.Subscribe(f, s+1, Options{QoS: 1, ID: uint32(s + 1)})
	}
	tb.ApplyRemote(3, []Change{{Op: SetGroup, Filter: f.String(), Members: 4}})
	tb.ApplyRemote(2, []Change{{Op: SetGroup, Filter: f.String(), Members: 1}})
	tb.Unsubscribe(f, 2)
	g := tb.Group(f)
	const each = 100
	local, remote := map[Subscriber]int{}, map[NodeID]int{}
	for range 9 * each {
		m, id, node, ok := g.Pick(g.Turn(), 0)
		switch {
		case !ok:
			t.Fatal("nobody picked")
		case node != 0:
			remote[node]++
		default:
			if m.QoS != 1 || id != uint32(m.Subscriber) {
				t.Fatalf("picked %+v with identifier %d", m, id)
			}
			local[m.Subscriber]++
		}
	}
	for _, s := range []Subscriber{1, 3, 4, 5} {
		if local[s] != each {
			t.Errorf("subscriber %d picked %d times, want %d", s, local[s], each)
		}
	}
	if len(local) != 4 || remote[3] != 4*each || remote[2] != each || len(remote) != 2 {
		t.Errorf("picked %v and nodes %v", local, remote)
	}

	// One message goes round all members, each once.
	local, remote = map[Subscriber]int{}, map[NodeID]int{}
	turn := g.Turn()
	nth := 0
	for ; ; nth++ {
		m, _, node, ok := g.Pick(turn, nth)
		if !ok {
			break
		}
		if node != 0 {
			remote[node]++
		} else {
			local[m.Subscriber]++
		}
	}
	if nth != 9 || len(local) != 4 || remote[3] != 4 || remote[2] != 1 {
		t.Errorf("%d picks: %v and nodes %v", nth, local, remote)
	}
	seen := map[Subscriber]bool{}
	for nth := range 4 {
		m, _, ok := g.PickLocal(turn, nth)
		if !ok || seen[m.Subscriber] {
			t.Errorf("local pick %d: %+v, %v", nth, m, ok)
		}
		seen[m.Subscriber] = true
	}
	if _, _, ok := g.PickLocal(turn, 4); ok {
		t.Error("a fifth local member")
	}
}

func TestGroupLivesWithItsMembers(t *testing.T) {
	tb := NewTable()
	f := mustFilter(t, "$share/g/a")
	var ms Matches
	groups := func() int {
		tb.mustCheck(t)
		tb.Match(mustTopic(t, "a"), 0, &ms)
		return len(ms.Groups)
	}
	tb.ApplyRemote(3, []Change{{Op: SetGroup, Filter: f.String(), Members: 2}})
	g := tb.Group(f)
	if g == nil || groups() != 1 {
		t.Fatal("no group for a peer's members")
	}
	if _, _, ok := g.PickLocal(g.Turn(), 0); ok {
		t.Error("a local member was picked")
	}
	tb.Subscribe(f, 1, Options{})
	tb.RemoveRemote(3)
	if tb.Group(f) != g || groups() != 1 {
		t.Error("the group ended with a peer's members")
	}
	for range 10 {
		if m, _, node, ok := g.Pick(g.Turn(), 0); !ok || node != 0 || m.Subscriber != 1 {
			t.Errorf("picked %+v of node %d, %v", m, node, ok)
		}
	}
	tb.Unsubscribe(f, 1)
	if tb.Group(f) != nil || groups() != 0 {
		t.Error("the group outlived its members")
	}
	if _, _, _, ok := g.Pick(g.Turn(), 0); ok {
		t.Error("a member of an empty group")
	}
}
