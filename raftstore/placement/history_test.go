package placement

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// world is a cluster in which steps are carried out, late or never, while nodes
// come, die and go.
type world struct {
	Cluster
	t     testing.TB
	rnd   *rand.Rand
	born  int
	trace []string
}

func newWorld(t testing.TB, seed uint64, nodes, groups, factor int) *world {
	w := &world{t: t, rnd: rand.New(rand.NewPCG(seed, 1))}
	w.Factor, w.MaxLearning = factor, 4
	for range nodes {
		w.join()
	}
	for g := range groups {
		w.Groups = append(w.Groups, Group{ID: uint16(g)})
	}
	for i, target := range Targets(w.Cluster) {
		for _, n := range target {
			w.Groups[i].Replicas = append(w.Groups[i].Replicas, Replica{Node: n, Voter: true})
		}
		w.Groups[i].Leader = target[0]
	}
	return w
}

func (w *world) join() {
	w.born++
	w.Nodes = append(w.Nodes, Node{ID: fmt.Sprintf("n%02d", w.born)})
}

func (w *world) note(format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf(format, args...))
}

func (w *world) fail(format string, args ...any) {
	w.t.Helper()
	if len(w.trace) > 60 {
		w.trace = w.trace[len(w.trace)-60:]
	}
	w.t.Fatalf("%s\n%s\n%s", fmt.Sprintf(format, args...), strings.Join(w.trace, "\n"), w)
}

func (w *world) String() string {
	var b strings.Builder
	for _, n := range w.Nodes {
		fmt.Fprintf(&b, "%s state %d leaving %v drained %v\n", n.ID, n.State, n.Leaving, n.Drained)
	}
	for i := range w.Groups {
		fmt.Fprintln(&b, w.show(i))
	}
	return b.String()
}

// show is a group in a line: the leader with a star, voters in upper case,
// learners in brackets.
func (w *world) show(i int) string {
	g := w.Groups[i]
	var rs []string
	for _, r := range g.Replicas {
		s := r.Node
		if !r.Voter {
			s = "(" + s + ")"
		}
		if r.Node == g.Leader {
			s += "*"
		}
		rs = append(rs, s)
	}
	slices.Sort(rs)
	return strings.Join(rs, " ")
}

func (w *world) node(id string) *Node {
	for i := range w.Nodes {
		if w.Nodes[i].ID == id {
			return &w.Nodes[i]
		}
	}
	return &Node{ID: id, State: Dead, Leaving: true}
}

// live counts a group's voters, and those of them that are alive.
func (w *world) live(g *Group) (voters, alive int) {
	for _, r := range g.Replicas {
		if r.Voter {
			voters++
			if w.node(r.Node).State == Alive {
				alive++
			}
		}
	}
	return voters, alive
}

// elect gives groups whose leader has died another one, if they have a majority.
func (w *world) elect() {
	for i := range w.Groups {
		g := &w.Groups[i]
		voters, alive := w.live(g)
		if alive <= voters/2 {
			g.Leader = ""
			continue
		}
		if g.Leader != "" && w.node(g.Leader).State == Alive {
			continue
		}
		var able []string
		for _, r := range g.Replicas {
			if r.Voter && w.node(r.Node).State == Alive {
				able = append(able, r.Node)
			}
		}
		g.Leader = able[w.rnd.IntN(len(able))]
	}
}

// do carries out a step and checks that it may be.
func (w *world) do(s Step) {
	w.t.Helper()
	w.note("%v", s)
	i := slices.IndexFunc(w.Groups, func(g Group) bool { return g.ID == s.Group })
	g := &w.Groups[i]
	r := slices.IndexFunc(g.Replicas, func(r Replica) bool { return r.Node == s.Node })
	if g.Leader == "" {
		w.fail("%v without a leader", s)
	}
	switch s.Kind {
	case AddLearner:
		if r >= 0 || w.node(s.Node).State != Alive || w.node(s.Node).Leaving {
			w.fail("%v", s)
		}
		g.Replicas = append(g.Replicas, Replica{Node: s.Node})
	case Promote:
		if r < 0 || g.Replicas[r].Voter || !g.Replicas[r].CaughtUp || w.node(s.Node).State != Alive {
			w.fail("%v", s)
		}
		g.Replicas[r].Voter = true
	case Remove:
		if r < 0 || s.Node == g.Leader {
			w.fail("%v", s)
		}
		g.Replicas = slices.Delete(g.Replicas, r, r+1)
	case Transfer:
		if r < 0 || !g.Replicas[r].Voter || s.Node == g.Leader || w.node(s.Node).State != Alive {
			w.fail("%v", s)
		}
		g.Leader = s.Node
	}
	if voters, alive := w.live(g); alive <= voters/2 {
		w.fail("%v left %d of %d voters alive", s, alive, voters)
	}
}

// round takes the next steps, each with a chance, and says how many there were.
func (w *world) round(chance float64) int {
	w.t.Helper()
	w.elect()
	for i := range w.Groups {
		for j := range w.Groups[i].Replicas {
			r := &w.Groups[i].Replicas[j]
			if w.node(r.Node).State == Alive && w.rnd.Float64() < chance {
				r.CaughtUp = true
			}
		}
	}
	before := w.Cluster
	w.shuffle()
	steps := Next(w.Cluster)
	if again := Next(before); !slices.Equal(steps, again) {
		w.fail("the order of the input decides: %v, %v", steps, again)
	}
	taken := make(map[uint16]bool)
	for _, s := range steps {
		if taken[s.Group] {
			w.fail("two steps of a group: %v", steps)
		}
		taken[s.Group] = true
		if w.rnd.Float64() < chance {
			w.do(s)
		}
	}
	return len(steps)
}

// shuffle puts everything in another order.
func (w *world) shuffle() {
	w.Nodes = slices.Clone(w.Nodes)
	w.Groups = slices.Clone(w.Groups)
	w.rnd.Shuffle(len(w.Nodes), func(i, j int) { w.Nodes[i], w.Nodes[j] = w.Nodes[j], w.Nodes[i] })
	w.rnd.Shuffle(len(w.Groups), func(i, j int) { w.Groups[i], w.Groups[j] = w.Groups[j], w.Groups[i] })
	for i := range w.Groups {
		rs := slices.Clone(w.Groups[i].Replicas)
		w.rnd.Shuffle(len(rs), func(i, j int) { rs[i], rs[j] = rs[j], rs[i] })
		w.Groups[i].Replicas = rs
	}
}

// disturb lets something happen. Groups may lose their majority for a while.
func (w *world) disturb() {
	n := &w.Nodes[w.rnd.IntN(len(w.Nodes))]
	switch w.rnd.IntN(14) {
	case 0:
		if len(w.Nodes) < 9 {
			w.join()
			w.note("join")
		}
	case 1, 2, 3:
		if n.State == Alive {
			n.State = Down
			w.note("%s down", n.ID)
		}
	case 4:
		if n.State == Down {
			n.State = Dead
			w.note("%s dead", n.ID)
		}
	case 5, 6, 7, 8:
		if n.State != Alive {
			n.State = Alive
			w.note("%s back", n.ID)
		}
	case 9:
		staying := 0
		for _, n := range w.Nodes {
			if !n.Leaving {
				staying++
			}
		}
		if staying > 1 {
			n.Leaving = true
			w.note("%s leaves", n.ID)
		}
	case 10:
		w.Factor = 1 + w.rnd.IntN(5)
		w.note("factor %d", w.Factor)
	case 11:
		w.forget()
	case 12, 13:
		n.Drained = !n.Drained
		w.note("%s drained %v", n.ID, n.Drained)
	}
}

// forget removes nodes that have left and hold nothing.
func (w *world) forget() {
	used := make(map[string]bool)
	for _, g := range w.Groups {
		for _, r := range g.Replicas {
			used[r.Node] = true
		}
	}
	w.Nodes = slices.DeleteFunc(w.Nodes, func(n Node) bool { return n.Leaving && !used[n.ID] })
}

// converge takes steps until there are none.
func (w *world) converge(chance float64) (rounds int) {
	w.t.Helper()
	for quiet := 0; quiet < 5; rounds++ {
		if rounds > 3000 {
			w.fail("no end of it")
		}
		if w.round(chance) == 0 {
			quiet++ // learners may still be catching up
		} else {
			quiet = 0
		}
	}
	return rounds
}

// settled checks what must hold in the end, if all nodes that stay are alive.
func (w *world) settled() {
	w.t.Helper()
	open, drained := 0, false
	load, leads := make(map[string]int), make(map[string]int)
	for _, n := range w.Nodes {
		if !n.Leaving {
			open++
			drained = drained || n.Drained
			load[n.ID], leads[n.ID] = 0, 0
		}
	}
	for i, g := range w.Groups {
		if voters := Voters(w.Factor, open); len(g.Replicas) != voters {
			w.fail("group %d has %d replicas, not %d: %s", g.ID, len(g.Replicas), voters, w.show(i))
		}
		for _, r := range g.Replicas {
			if !r.Voter || w.node(r.Node).Leaving {
				w.fail("group %d: %s", g.ID, w.show(i))
			}
			load[r.Node]++
		}
		leads[g.Leader]++
		if w.node(g.Leader).Drained && slices.ContainsFunc(g.Replicas, func(r Replica) bool { return !w.node(r.Node).Drained }) {
			w.fail("group %d is led by a drained node: %s", g.ID, w.show(i))
		}
	}
	for name, of := range map[string]map[string]int{"replicas": load, "leaders": leads} {
		if drained && name == "leaders" {
			continue // those that are left may not be able to share evenly
		}
		lo, hi := len(w.Groups)*10, 0
		for _, n := range of {
			lo, hi = min(lo, n), max(hi, n)
		}
		if hi-lo > 1 {
			w.fail("%s uneven: %v", name, of)
		}
	}
}

func TestAnyHistoryConverges(t *testing.T) {
	for seed := range uint64(150) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		w := newWorld(t, seed, 1+rnd.IntN(6), 1+rnd.IntN(20), 1+rnd.IntN(5))
		w.note("seed %d", seed)
		for range 60 {
			if rnd.IntN(3) == 0 {
				w.disturb()
			}
			w.round(0.6)
		}
		for i := range w.Nodes {
			if w.Nodes[i].State != Alive {
				w.Nodes[i].State = Alive
			}
		}
		w.note("calm")
		w.converge(0.7)
		w.settled()
		w.forget()
		if len(w.Groups) > 0 && len(Next(w.Cluster)) > 0 {
			w.fail("steps after the end")
		}
	}
}

// While nodes are down for good the rest must still converge, if not to the ideal.
func TestConvergesWithoutTheDead(t *testing.T) {
	for seed := range uint64(150) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		w := newWorld(t, seed, 1+rnd.IntN(7), 1+rnd.IntN(20), 1+rnd.IntN(5))
		w.note("seed %d", seed)
		for range 100 {
			w.disturb()
			w.round(0.7)
		}
		w.note("calm")
		w.converge(0.7)
	}
}
