package chaos

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"dunlin/e2e/chaos/check"
	"dunlin/e2e/chaos/history"
	"dunlin/e2e/chaos/lan"
	"dunlin/e2e/harness"
)

// attack is one kind of fault: begin injects it, chosen by the nemesis's own
// random numbers, and returns what ends it and what to note of it.
type attack struct {
	name  string
	begin func(r *rig) (end func(), node, text string)
	hold  [2]time.Duration // how long it lasts, at least and at most
}

// harass lets the nemesis work for so long: one attack after the other, each
// ended before the next.
func (r *rig) harass(attacks []attack, rest [2]time.Duration, d time.Duration) {
	r.t.Helper()
	until := r.rec.Now() + d
	for r.rec.Now() < until {
		r.pause(between(r.rnd, rest))
		if len(attacks) == 0 {
			continue
		}
		a := attacks[r.rnd.IntN(len(attacks))]
		r.spared, r.grace = nil, 0
		began := r.rec.Now()
		end, node, text := a.begin(r)
		r.rec.Fault(a.name, node, text)
		r.pause(between(r.rnd, a.hold))
		if len(r.spared) > 0 {
			r.serving = append(r.serving, check.Window{From: began, To: r.rec.Now(), Nodes: r.spared, Bound: r.grace + majorityBound})
		}
		end()
		r.rec.Fault("end of "+a.name, node, "")
	}
}

// majorityBound is how long a node that reaches a majority may go without an
// acknowledgement: a silent host is given up, and leases end, within 6 s on a
// quiet machine.
const majorityBound = 12 * time.Second

// spare says that all nodes but one, which an attack hits, have to serve.
func (r *rig) spare(hit *harness.Node) {
	for _, n := range r.cluster.Nodes {
		if n != hit {
			r.spared = append(r.spared, n.Name)
		}
	}
}

// pause is the schedule's passing of time: faults last, and rests between them
// too.
func (r *rig) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-r.t.Context().Done():
	}
}

func between(rnd *rand.Rand, d [2]time.Duration) time.Duration {
	return d[0] + time.Duration(rnd.Int64N(int64(d[1]-d[0])+1))
}

// pick is one of the nodes numbered in of, all if there are none.
func (r *rig) pick(of []int) (number int, n *harness.Node) {
	if len(of) == 0 {
		for i := range r.cluster.Nodes {
			of = append(of, i+1)
		}
	}
	number = of[r.rnd.IntN(len(of))]
	return number, r.cluster.Nodes[number-1]
}

// kill kills a node, and notes when that began: its clients see the end of their
// connections before the fault is noted.
func (r *rig) kill(n *harness.Node) {
	r.rec.Fault(history.Killing, n.Name, "")
	n.Kill()
}

// kill is SIGKILL, then a restart with what is on disk.
func kill(hold [2]time.Duration, of ...int) attack {
	return attack{"kill", func(r *rig) (func(), string, string) {
		_, n := r.pick(of)
		r.spare(n)
		r.kill(n)
		return n.Restart, n.Name, ""
	}, hold}
}

// killAll kills every node at once.
func killAll(hold [2]time.Duration) attack {
	return attack{"kill", func(r *rig) (func(), string, string) {
		for _, n := range r.cluster.Nodes {
			r.kill(n)
			r.rec.Fault("kill", n.Name, "all")
		}
		return r.recover, "", "all"
	}, hold}
}

// stop is a graceful stop, then a restart.
func stop(hold [2]time.Duration, of ...int) attack {
	return attack{"stop", func(r *rig) (func(), string, string) {
		_, n := r.pick(of)
		r.spare(n)
		n.Stop()
		return n.Restart, n.Name, ""
	}, hold}
}

// freeze is SIGSTOP and SIGCONT.
func freeze(hold [2]time.Duration, of ...int) attack {
	return attack{"pause", func(r *rig) (func(), string, string) {
		_, n := r.pick(of)
		r.spare(n)
		n.Pause()
		return n.Resume, n.Name, ""
	}, hold}
}

// cut cuts directions between nodes, of those that pairs returns; clients reach
// every node all the while. The nodes that still reach one another as a majority
// have to serve.
func cut(name string, hold [2]time.Duration, pairs func(r *rig) [][2]int) attack {
	return attack{name, func(r *rig) (func(), string, string) {
		var text []string
		ps := pairs(r)
		for _, n := range serving(len(r.cluster.Nodes), ps) {
			r.spared = append(r.spared, r.cluster.Nodes[n-1].Name)
		}
		for _, p := range ps {
			rule := r.lan.Rule(p[0], p[1])
			rule.Cut = true
			r.lan.Set(p[0], p[1], rule)
			text = append(text, fmt.Sprintf("%d>%d", p[0], p[1]))
		}
		return func() {
			for _, p := range ps {
				rule := r.lan.Rule(p[0], p[1])
				rule.Cut = false
				r.lan.Set(p[0], p[1], rule)
			}
		}, "", strings.Join(text, " ")
	}, hold}
}

// serving are the nodes, numbered from 1, that have to serve while directions are
// cut: those whom clients, which are at 0, reach, and who reach, both ways, a
// majority and everybody whom that reaches.
func serving(nodes int, cut [][2]int) (all []int) {
	reach := func(a, b int) bool {
		return a == b || !slices.Contains(cut, [2]int{a, b}) && !slices.Contains(cut, [2]int{b, a})
	}
	for n := 1; n <= nodes; n++ {
		part := []int{n}
		for i := 0; i < len(part); i++ {
			for b := 1; b <= nodes; b++ {
				if reach(part[i], b) && !slices.Contains(part, b) {
					part = append(part, b)
				}
			}
		}
		direct := !slices.ContainsFunc(part, func(b int) bool { return !reach(n, b) })
		if direct && reach(0, n) && 2*len(part) > nodes {
			all = append(all, n)
		}
	}
	return all
}

// shuffled is the nodes' numbers in a random order.
func (r *rig) shuffled() []int { // from 1
	ns := r.rnd.Perm(len(r.cluster.Nodes))
	for i := range ns {
		ns[i]++
	}
	return ns
}

// both is every direction between two sets of nodes.
func both(a, b []int) (pairs [][2]int) {
	for _, x := range a {
		for _, y := range b {
			if x != y {
				pairs = append(pairs, [2]int{x, y}, [2]int{y, x})
			}
		}
	}
	return pairs
}

// The shapes of a partition.
func halves(r *rig) [][2]int {
	ns := r.shuffled()
	return both(ns[:len(ns)/2], ns[len(ns)/2:])
}

func alone(r *rig) [][2]int {
	ns := r.shuffled()
	return both(ns[:1], ns[1:])
}

func oneWay(r *rig) [][2]int {
	ns := r.shuffled()
	return [][2]int{{ns[0], ns[1]}}
}

func mute(r *rig) [][2]int { // a node that hears and is not heard
	ns := r.shuffled()
	return slices.DeleteFunc(both(ns[:1], ns[1:]), func(p [2]int) bool { return p[0] != ns[0] })
}

// ring lets each node reach its two neighbours only; of three nodes it cuts one
// pair.
func ring(r *rig) (pairs [][2]int) {
	ns := r.shuffled()
	if len(ns) == 3 {
		return both(ns[:1], ns[1:2])
	}
	for i, a := range ns {
		for j, b := range ns {
			if d := (j - i + len(ns)) % len(ns); d > 1 && d < len(ns)-1 {
				pairs = append(pairs, [2]int{a, b})
			}
		}
	}
	return pairs
}

// exile cuts the clients from one node.
func exile(hold [2]time.Duration) attack {
	return cut("exile", hold, func(r *rig) [][2]int {
		n, _ := r.pick(nil)
		return [][2]int{{0, n}, {n, 0}}
	})
}

// weather changes every link between nodes.
func weather(name string, hold [2]time.Duration, rule lan.Rule) attack {
	return attack{name, func(r *rig) (func(), string, string) {
		r.everywhere(rule)
		return func() { r.everywhere(lan.Rule{}) }, "", fmt.Sprintf("%+v", rule)
	}, hold}
}

func (r *rig) everywhere(rule lan.Rule) {
	for from := 1; from < r.lan.Ports(); from++ {
		for to := 1; to < r.lan.Ports(); to++ {
			r.lan.Set(from, to, rule)
		}
	}
}
