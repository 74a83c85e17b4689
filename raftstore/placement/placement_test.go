package placement

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestVoters(t *testing.T) {
	for _, c := range []struct{ factor, nodes, want int }{
		{3, 0, 1}, {3, 1, 1}, {3, 2, 1}, {3, 3, 3}, {3, 9, 3}, {4, 9, 3}, {5, 4, 3}, {5, 5, 5}, {1, 5, 1}, {2, 5, 1},
	} {
		if got := Voters(c.factor, c.nodes); got != c.want {
			t.Errorf("Voters(%d, %d) = %d, want %d", c.factor, c.nodes, got, c.want)
		}
	}
}

// TestLives follows clusters through their lives: after each change, steps until
// all is well, counting those that move replicas.
func TestLives(t *testing.T) {
	type change struct {
		name  string
		do    func(w *world)
		moves int // replicas added
	}
	join := func(n int) func(*world) {
		return func(w *world) {
			for range n {
				w.join()
			}
		}
	}
	factor := func(n int) func(*world) { return func(w *world) { w.Factor = n } }
	state := func(id string, s State) func(*world) { return func(w *world) { w.node(id).State = s } }
	leave := func(id string) func(*world) { return func(w *world) { w.node(id).Leaving = true } }
	for _, c := range []struct {
		name                  string
		nodes, groups, factor int
		changes               []change
	}{
		{"one to three to five", 1, 16, 3, []change{
			{"two join", join(2), 32},
			{"two more", join(2), 18}, // 48 replicas, 9.6 a node: 9 and 9 go over
			{"factor five", factor(5), 32},
		}},
		{"one at a time", 1, 16, 5, []change{
			{"second", join(1), 16 / 2}, // still one voter each: half of them move
			{"third", join(1), 32},
			{"fourth", join(1), 12},
			{"fifth", join(1), 32},
		}},
		{"five to three", 5, 17, 5, []change{
			{"one leaves", leave("n02"), 0},
			{"another", leave("n04"), 13},
		}},
		{"factor down and up", 5, 16, 5, []change{
			{"three", factor(3), 0},
			{"one", factor(1), 0},
			{"five", factor(5), 64},
		}},
		{"a restart moves nothing", 4, 16, 3, []change{
			{"down", state("n03", Down), 0},
			{"back", state("n03", Alive), 0},
		}},
		{"nothing to replace the dead with", 3, 16, 3, []change{
			{"dead", state("n03", Dead), 0},
			{"a new one", join(1), 16},
			{"the old one removed", leave("n03"), 0},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 1, c.nodes, c.groups, c.factor)
			w.converge(1)
			for _, ch := range c.changes {
				ch.do(w)
				from := len(w.trace)
				w.converge(1)
				moves := 0
				for _, line := range w.trace[from:] {
					if strings.Contains(line, AddLearner.String()) {
						moves++
					}
				}
				if moves > ch.moves {
					t.Errorf("%s: %d replicas were made, %d are enough\n%s", ch.name, moves, ch.moves, w)
				}
				alive := true
				for _, n := range w.Nodes {
					alive = alive && (n.State == Alive || n.Leaving)
				}
				if alive {
					w.settled()
				}
			}
		})
	}
}

// TestReplace shows every step of one group.
func TestReplace(t *testing.T) {
	for _, c := range []struct {
		name   string
		nodes  []Node
		group  string // voters, the first one leads
		factor int
		want   string
	}{
		{
			"grow to three: both learners before either votes",
			[]Node{{ID: "a"}, {ID: "b"}, {ID: "c"}},
			"a", 3,
			"add learner b, add learner c, promote b, promote c",
		},
		{
			"replace the dead before removing it",
			[]Node{{ID: "a"}, {ID: "b"}, {ID: "c", State: Dead}, {ID: "d"}},
			"a b c", 3,
			"add learner d, promote d, remove c",
		},
		{
			"a leader that leaves hands over first",
			[]Node{{ID: "a", Leaving: true}, {ID: "b"}, {ID: "c"}, {ID: "d"}},
			"a b c", 3,
			"add learner d, promote d, transfer to b, remove a",
		},
		{
			"shrink: the dead goes first",
			[]Node{{ID: "a"}, {ID: "b"}, {ID: "c", State: Dead}, {ID: "d"}, {ID: "e"}},
			"a b c d e", 3,
			"remove c, remove e",
		},
		{
			"without a majority nothing is done",
			[]Node{{ID: "a", State: Dead}, {ID: "b", State: Dead}, {ID: "c"}, {ID: "d"}},
			"a b c", 3,
			"",
		},
		{
			"the dead keeps its place until there is a substitute",
			[]Node{{ID: "a"}, {ID: "b"}, {ID: "c", State: Dead}},
			"a b c", 3,
			"",
		},
		{
			"who leaves stays until there is a substitute",
			[]Node{{ID: "a"}, {ID: "b"}, {ID: "c", Leaving: true}, {ID: "d", State: Dead}},
			"a b c", 3,
			"",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := &world{t: t}
			w.Nodes, w.Factor = c.nodes, c.factor
			g := Group{ID: 7}
			for _, n := range strings.Fields(c.group) {
				g.Replicas = append(g.Replicas, Replica{Node: n, Voter: true})
			}
			g.Leader = g.Replicas[0].Node
			if voters, alive := w.live(&g); alive <= voters/2 {
				g.Leader = ""
			}
			w.Groups = []Group{g}
			var got []string
			for range 20 {
				steps := Next(w.Cluster)
				for _, s := range steps {
					w.do(s)
					got = append(got, fmt.Sprintf("%v %s", s.Kind, s.Node))
				}
				for i := range w.Groups[0].Replicas {
					w.Groups[0].Replicas[i].CaughtUp = true
				}
			}
			if s := strings.Join(got, ", "); s != c.want {
				t.Errorf("steps: %s\nwant:  %s", s, c.want)
			}
		})
	}
}

// A transfer along a chain: a leads two, c none, and no group that a leads is on
// c. So a passes one to b and b one to c.
func TestLeadersPassAlongAChain(t *testing.T) {
	group := func(id uint16, leader string, rest ...string) Group {
		g := Group{ID: id, Leader: leader}
		for _, n := range append(rest, leader) {
			g.Replicas = append(g.Replicas, Replica{Node: n, Voter: true})
		}
		return g
	}
	c := Cluster{
		Nodes:  []Node{{ID: "a"}, {ID: "b"}, {ID: "c"}, {ID: "d"}, {ID: "e"}},
		Factor: 3,
		Groups: []Group{
			group(1, "a", "b", "d"),
			group(2, "a", "b", "d"),
			group(3, "b", "c", "e"),
			group(4, "d", "c", "e"),
			group(5, "e", "a", "c"),
		},
	}
	got := Next(c)
	want := []Step{{1, Transfer, "b"}, {3, Transfer, "c"}}
	if !slices.Equal(got, want) {
		t.Errorf("steps %v, want %v", got, want)
	}
}

func ExampleNext() {
	steps := Next(Cluster{
		Nodes:  []Node{{ID: "a"}, {ID: "b", Leaving: true}, {ID: "c"}, {ID: "d"}},
		Factor: 3,
		Groups: []Group{{
			ID:     1,
			Leader: "a",
			Replicas: []Replica{
				{Node: "a", Voter: true}, {Node: "b", Voter: true}, {Node: "c", Voter: true},
			},
		}},
	})
	fmt.Println(steps)
	// Output: [1: add learner d]
}

func BenchmarkNext(b *testing.B) {
	w := newWorld(b, 1, 50, 65, 3)
	for b.Loop() {
		Next(w.Cluster)
	}
}

// A drained node hands over all that it leads at once, to all of the others, gives up no
// replica for it, and leads its part again when that is taken back. Drained as all are, each
// group is led nevertheless.
func TestDrained(t *testing.T) {
	w := newWorld(t, 1, 3, 16, 3)
	w.converge(1)
	from := len(w.trace)
	w.node("n02").Drained = true
	for _, s := range Next(w.Cluster) {
		if s.Kind != Transfer {
			t.Errorf("%v", s)
		}
	}
	led := map[string]int{}
	if w.round(1); len(Next(w.Cluster)) > 0 {
		t.Errorf("more to do after one round: %v\n%s", Next(w.Cluster), w)
	}
	for _, g := range w.Groups {
		led[g.Leader]++
	}
	if led["n02"] != 0 || led["n01"] != 8 || led["n03"] != 8 {
		t.Errorf("leaders: %v", led)
	}
	w.settled()
	for _, id := range []string{"n01", "n03"} {
		w.node(id).Drained = true
	}
	w.converge(1)
	w.settled()
	for _, id := range []string{"n01", "n02", "n03"} {
		w.node(id).Drained = false
	}
	w.converge(1)
	w.settled()
	for _, line := range w.trace[from:] {
		if strings.Contains(line, AddLearner.String()) || strings.Contains(line, Remove.String()) {
			t.Errorf("a replica was moved: %s", line)
		}
	}
}

// Whoever drains a node waits for its leaders: they do not wait for a replica that learns.
func TestDrainedGoesFirst(t *testing.T) {
	g := Group{Leader: "a", Replicas: []Replica{{Node: "a", Voter: true}, {Node: "b", Voter: true}, {Node: "c", Voter: true}, {Node: "d"}}}
	nodes := []Node{{ID: "a", Drained: true}, {ID: "b"}, {ID: "c", State: Dead}, {ID: "d"}}
	got := Next(Cluster{Nodes: nodes, Groups: []Group{g}, Factor: 3})
	if want := (Step{0, Transfer, "b"}); len(got) != 1 || got[0] != want {
		t.Errorf("%v, want %v", got, want)
	}
}
