package lease

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"dunlin/raftstore/meta"
)

// nodes are the given number, admitted, all voters, in generation 1.
func nodes(n int) (list []member) {
	for i := range uint32(n) {
		list = append(list, member{holder: holder{i + 1, 1}, admitted: true, voter: true})
	}
	return list
}

func broken(pairs ...[2]uint32) map[[2]uint32]bool {
	m := make(map[[2]uint32]bool)
	for _, p := range pairs {
		m[p] = true
	}
	return m
}

// E4: who is revoked when nodes cannot reach each other.
func TestDecide(t *testing.T) {
	joiner := nodes(4)
	joiner[0].admitted = false
	for _, c := range []struct {
		name string
		view view
		want uint32 // 0 for nobody
	}{
		{"all well", view{self: 1, voters: 3, nodes: nodes(3)}, 0},
		{"one link", view{self: 3, voters: 3, nodes: nodes(3), broken: broken(pair(2, 1))}, 2},
		{"not the leader", view{self: 2, voters: 3, nodes: nodes(3), broken: broken(pair(1, 2))}, 1},
		{"one node cut off", view{self: 3, voters: 3, nodes: nodes(3), broken: broken(pair(1, 2), pair(1, 3))}, 1},
		{"ring", view{self: 2, voters: 5, nodes: nodes(5), broken: broken(pair(1, 3), pair(1, 4), pair(2, 4), pair(2, 5), pair(3, 5))}, 5},
		{"who is not admitted yields", view{self: 2, voters: 4, nodes: joiner, broken: broken(pair(1, 4))}, 1},
		{"no majority would be left", view{self: 1, voters: 5, nodes: nodes(3), broken: broken(pair(2, 3))}, 0},
		{"one that is no voter may go", view{self: 1, voters: 5, nodes: append(nodes(3), member{holder: holder{9, 1}}), broken: broken(pair(2, 9))}, 9},
		{"found dead by one", view{self: 1, voters: 3, nodes: nodes(3), gone: map[uint32]int{2: 1}}, 0},
		{"found dead by both others", view{self: 1, voters: 3, nodes: nodes(3), gone: map[uint32]int{2: 2}}, 2},
		{"found dead by the only other", view{self: 1, voters: 1, nodes: nodes(2), gone: map[uint32]int{2: 1}}, 2},
		{"the dead go whatever is left", view{self: 1, voters: 5, nodes: nodes(3), gone: map[uint32]int{3: 2}}, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			if h, _, ok := decide(c.view); h.Node != c.want || ok != (c.want != 0) {
				t.Fatalf("%v, %v", h, ok)
			}
		})
	}
}

// Whoever is left reaches everybody, or no more may go.
func TestDecideEnds(t *testing.T) {
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 0))
		n := 2 + r.IntN(8)
		v := view{self: 1 + r.Uint32N(uint32(n)), voters: n, nodes: nodes(n), broken: broken()}
		for range r.IntN(2 * n) {
			if a, b := 1+r.Uint32N(uint32(n)), 1+r.Uint32N(uint32(n)); a != b {
				v.broken[pair(a, b)] = true
			}
		}
		for {
			h, _, ok := decide(v)
			if !ok {
				break
			}
			var left []member
			for _, m := range v.nodes {
				if m.holder != h {
					left = append(left, m)
				}
			}
			if h.Node == v.self || len(left) == len(v.nodes) {
				t.Fatalf("seed %d: %v of %v", seed, h, v)
			}
			v.nodes = left
		}
		if len(v.nodes) < majority(n) {
			t.Fatalf("seed %d: %d of %d are left", seed, len(v.nodes), n)
		}
		if len(v.nodes) == majority(n) {
			continue
		}
		for _, a := range v.nodes {
			for _, b := range v.nodes {
				if v.broken[pair(a.Node, b.Node)] {
					t.Fatalf("seed %d: %d and %d are left", seed, a.Node, b.Node)
				}
			}
		}
	}
}

// E4: what a voter grants, and confirms.
func TestGrants(t *testing.T) {
	state := func(n meta.Node) *meta.State {
		n.Identity = "n"
		return &meta.State{Numbered: 7, Nodes: map[uint32]meta.Node{7: n}}
	}
	admitted := meta.Node{Start: 2, Generation: 3, Admitted: true}
	revoked := meta.Node{Start: 2, Generation: 3, Admitted: true, Revoked: true}
	voters := []string{"a", "b", "c"}
	well := voter{self: "b", voters: voters, whole: true, state: state(admitted)}
	for _, c := range []struct {
		name          string
		change        func(*voter)
		from          string
		generation    uint64
		voters        []string
		grants, ended bool
	}{
		{"well", func(*voter) {}, "n", 3, voters, true, false},
		{"another's name", func(*voter) {}, "m", 3, voters, false, false},
		{"earlier generation", func(*voter) {}, "n", 2, voters, false, true},
		{"later generation", func(*voter) {}, "n", 4, voters, false, false},
		{"other voters", func(*voter) {}, "n", 3, []string{"a", "b"}, false, false},
		{"no voter itself", func(v *voter) { v.self = "d" }, "n", 3, voters, false, false},
		{"just started", func(v *voter) { v.whole = false }, "n", 3, voters, false, false},
		{"nothing applied", func(v *voter) { v.state = nil }, "n", 3, voters, false, false},
		{"not admitted", func(v *voter) { v.state = state(meta.Node{Start: 2, Generation: 3}) }, "n", 3, voters, false, false},
		{"revoked", func(v *voter) { v.state = state(revoked) }, "n", 3, voters, false, true},
		{"retired", func(v *voter) { v.state = &meta.State{Numbered: 7} }, "n", 3, voters, false, true},
		{"not known yet", func(v *voter) { v.state = &meta.State{Numbered: 6} }, "n", 3, voters, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := well
			c.change(&v)
			h := holder{7, c.generation}
			if a := v.grants(c.from, &renew{holder: h, Voters: c.voters}); a.Granted != c.grants || a.Ended != c.ended {
				t.Errorf("%+v", a)
			}
			if got := v.ends(&ended{holder: h, Voters: c.voters}); got != c.ended {
				t.Errorf("ends: %v", got)
			}
		})
	}
}

// E4: when the latest lease was granted that a voter's word is about.
func TestGranted(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	for _, c := range []struct {
		name                    string
		last, began, configured time.Time
		want                    time.Time
	}{
		{"granted", at(9), at(3), at(5), at(9)},
		{"never granted", time.Time{}, at(3), at(3), at(3)},
		{"started since", time.Time{}, at(8), at(5), at(8)},
		{"other voters since", at(4), at(3), at(5), at(5)},
	} {
		if got := granted(c.last, c.began, c.configured); !got.Equal(c.want) {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// E4: a lease is over a term after the latest grant that a majority tells of.
func TestEnding(t *testing.T) {
	e := ending{quorum: newQuorum([]string{"a", "b", "c"})}
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	if e.confirm("b", at(7), 3*time.Second); !e.over.IsZero() {
		t.Fatal("one of three is no majority")
	}
	if e.confirm("a", at(4), 3*time.Second); !e.over.Equal(at(10)) || e.passed(at(9)) || !e.passed(at(10)) {
		t.Errorf("over at %v", e.over)
	}
}

// E4: when a generation is over by the state alone.
func TestFate(t *testing.T) {
	for _, c := range []struct {
		node meta.Node
		want fate
	}{
		{meta.Node{Generation: 2}, lasts},
		{meta.Node{Generation: 3}, lasts},
		{meta.Node{Generation: 3, Admitted: true}, lasts},
		{meta.Node{Generation: 3, Admitted: true, Revoked: true}, running},
		{meta.Node{Generation: 3, Admitted: true, Revoked: true, Released: true}, over},
		{meta.Node{Generation: 3, Revoked: true}, over},
		{meta.Node{Generation: 4}, over},
	} {
		s := &meta.State{Numbered: 1, Nodes: map[uint32]meta.Node{1: c.node}}
		if got := fateOf(s, holder{1, 3}); got != c.want {
			t.Errorf("%+v: %d, want %d", c.node, got, c.want)
		}
	}
}

func FuzzMessages(f *testing.F) {
	f.Add(encode(&renew{holder: holder{1, 2}, Voters: []string{"a"}, report: report{Down: []holder{{3, 4}}}}))
	f.Add(encode(&counted{Generation: 1, Version: 2}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var m renew
		if decode(b, &m) != nil {
			return
		}
		var again renew
		if err := decode(encode(&m), &again); err != nil || fmt.Sprint(again) != fmt.Sprint(m) {
			t.Fatalf("%+v became %+v: %v", m, again, err)
		}
	})
}
