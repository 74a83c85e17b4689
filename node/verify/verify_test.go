package verify

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dunlin/router"
)

// world is a cluster of three nodes and two shards as its nodes would tell, each
// led by node a. calls counts what was asked, so that something may change.
type world struct {
	replicas    map[string][]Replica
	routes      map[string]Routes
	sessions    map[int][]Session
	connections map[string]map[int][]Connection
	dead        string
	calls       int
	change      func(w *world)
}

func healthy() *world {
	w := &world{replicas: map[string][]Replica{}, routes: map[string]Routes{}, connections: map[string]map[int][]Connection{}}
	own := map[string]Table{}
	for i, n := range []string{"a", "b", "c"} {
		own[n] = Table{Version: uint64(10 + i), Whole: true, Steady: true, Sum: router.Sum{Exact: i, Hash: uint64(i), Groups: 1, Members: 7}}
	}
	led := Table{Reign: 3, Version: 5, Whole: true, Steady: true, Sum: router.Sum{Wildcards: 4, Hash: 99, Groups: 1, Members: 1}}
	for _, n := range []string{"a", "b", "c"} {
		w.replicas[n] = []Replica{{Shard: 0, Term: 2, Index: 9, Digest: 77, Leads: n == "a"}, {Shard: 1, Term: 2, Index: 4, Digest: 55, Leads: n == "a"}}
		r := Routes{Own: own[n], Peers: map[string]Table{}, Shards: map[int]Table{}, Led: map[int]Table{}}
		for sh := range 2 {
			held := led
			held.Sum.Members = 0
			r.Shards[sh] = held
			if n == "a" {
				r.Led[sh] = led
			}
		}
		for p, t := range own {
			if p != n {
				r.Peers[p] = t
			}
		}
		w.routes[n] = r
		w.connections[n] = map[int][]Connection{}
	}
	w.sessions = map[int][]Session{0: {{"0x", "b", 5, 1}}, 1: {{"1x", "c", 5, 2}, {"1y", "c", 6, 3}}}
	w.connections["b"][0] = []Connection{{"0x", 5, 1}}
	w.connections["c"][1] = []Connection{{"1x", 5, 2}, {"1y", 6, 3}}
	return w
}

func (w *world) tick(node string) error {
	w.calls++
	if w.change != nil {
		w.change(w)
	}
	if node == w.dead {
		return errors.New("no stream")
	}
	return nil
}

func (w *world) Replicas(_ context.Context, node string, at map[int]uint64) (all []Replica, err error) {
	for _, x := range w.replicas[node] {
		if at != nil && at[x.Shard] <= x.Index {
			x.Known, x.Then = true, x.Digest-(x.Index-at[x.Shard]) // with each entry it rises by one
		}
		all = append(all, x)
	}
	return all, w.tick(node)
}

func (w *world) Routes(_ context.Context, node string) (Routes, error) {
	r := w.routes[node]
	r.Peers, r.Shards = maps.Clone(r.Peers), maps.Clone(r.Shards)
	return r, w.tick(node)
}

func (w *world) Sessions(_ context.Context, shard int, yield func(Session)) error {
	for _, s := range w.sessions[shard] {
		yield(s)
	}
	return w.tick("a")
}

func (w *world) Connections(_ context.Context, node string, shard int, yield func(Connection)) error {
	for _, c := range w.connections[node][shard] {
		yield(c)
	}
	return w.tick(node)
}

func (w *world) verify(t *testing.T) (res Result) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var err error
		res, err = Run(t.Context(), Options{
			Ask:          w,
			Nodes:        func() []Node { return []Node{{"a", "A"}, {"b", "B"}, {"c", "C"}} },
			Shards:       2,
			SessionShard: func(client string) int { return int(client[0] - '0') },
			Patience:     15 * time.Second,
			Report:       func(string) {},
		})
		if err != nil {
			t.Error(err)
		}
	})
	return res
}

func lines(all []Finding) string {
	var b strings.Builder
	for _, f := range all {
		fmt.Fprintln(&b, f)
	}
	return b.String()
}

func TestHealthyIsSilent(t *testing.T) {
	if res := healthy().verify(t); len(res.Findings)+len(res.Unsure) > 0 {
		t.Error(lines(res.Findings), lines(res.Unsure))
	}
}

// Replicas are compared while entries come all the time: a follower comes to where the leader
// was, though never to where it is.
func TestBusyIsCompared(t *testing.T) {
	w := healthy()
	const asks = 6 // of three nodes for the leaders' entries, and of each for what it has of those
	w.change = func(w *world) {
		if w.calls%asks == 0 {
			for _, n := range []string{"a", "b", "c"} {
				w.replicas[n][0].Index++
				w.replicas[n][0].Digest++
			}
		}
	}
	for _, n := range []string{"b", "c"} {
		w.replicas[n][0].Index--
		w.replicas[n][0].Digest--
	}
	if res := w.verify(t); len(res.Findings)+len(res.Unsure) > 0 {
		t.Error(lines(res.Findings), lines(res.Unsure))
	}
}

// Every planted disagreement is found, and nothing else; what is different for a
// while only is not.
func TestPlanted(t *testing.T) {
	alter := func(w *world, node, of string, f func(*Table)) {
		table := w.routes[node].Peers[of]
		f(&table)
		w.routes[node].Peers[of] = table
	}
	alterShard := func(w *world, node string, f func(*Table)) {
		table := w.routes[node].Shards[1]
		f(&table)
		w.routes[node].Shards[1] = table
	}
	for _, c := range []struct {
		name  string
		plant func(w *world)
		says  string
	}{
		{"digest", func(w *world) { w.replicas["c"][1].Digest++ },
			"shard 1: node C: its replica and the leader's have parted: after entry 4 its digest is not the leader's\n"},
		{"stuck replica", func(w *world) { w.replicas["b"][0].Index, w.replicas["b"][0].Digest = 3, 1 },
			"shard 0: node B: its replica stands at entry 3 and gets no further, the leader's is at 9\n"},
		{"no leader", func(w *world) { w.replicas["a"][1].Leads = false }, "shard 1: nobody leads it\n"},
		{"lost session", func(w *world) { w.sessions[1] = w.sessions[1][:1] },
			"shard 1: node C: client \"1y\": a connection holds it and the shard knows of no such claim\n"},
		{"lost connection", func(w *world) { w.connections["b"][0] = nil },
			"shard 0: node B: client \"0x\": its session is attached to a connection that is not there\n"},
		{"lost node", func(w *world) { w.sessions[0] = append(w.sessions[0], Session{"0\nz", "d", 1, 9}) },
			"shard 0: node d: client \"0\\nz\": its session is attached to a node that is not there\n"},
		{"old epoch", func(w *world) { w.connections["b"][0][0].Epoch = 0 },
			"shard 0: node B: client \"0x\": a connection holds it in epoch 0, the shard says epoch 1\n"},
		{"two claims", func(w *world) { w.connections["c"][0] = []Connection{{"0x", 8, 1}} },
			"shard 0: node C: client \"0x\": two connections hold it, the other on node B\n"},
		{"misplaced", func(w *world) {
			w.sessions[0] = append(w.sessions[0], Session{"1z", "b", 7, 9})
			w.connections["b"][0] = append(w.connections["b"][0], Connection{"1z", 7, 9})
		}, "shard 0: client \"1z\": its session is here, and belongs to shard 1\n"},
		{"route of a node", func(w *world) { alter(w, "c", "b", func(t *Table) { t.Sum.Exact, t.Sum.Hash = 0, 0 }) },
			"node C: it holds 0 exact filters, 0 with wildcards and 1 share groups of node B, which has 1 exact filters, 0 with wildcards and 1 share groups\n"},
		{"members of a share group", func(w *world) { alter(w, "c", "b", func(t *Table) { t.Sum.Members++ }) },
			"node C: it holds as many routes of node B as there are, and not the same\n"},
		{"feed that stands still", func(w *world) { alter(w, "a", "c", func(t *Table) { t.Version = 3 }) },
			"node A: it holds version 3 of the routes of node C and gets no further, they are at 12\n"},
		{"no copy", func(w *world) { delete(w.routes["a"].Peers, "c") }, "node A: it has no whole copy of the routes of node C\n"},
		{"filter of a shard", func(w *world) { alterShard(w, "b", func(t *Table) { t.Sum.Hash++ }) },
			"shard 1: node B: it holds as many routes of the shard's leader as there are, and not the same\n"},
		{"old reign", func(w *world) { alterShard(w, "b", func(t *Table) { t.Reign = 1 }) },
			"shard 1: node B: it holds version 5 of the routes of the shard's leader and gets no further, they are at 5\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := healthy()
			c.plant(w)
			res := w.verify(t)
			if got := lines(res.Findings); got != c.says || len(res.Unsure) > 0 {
				t.Errorf("found\n%s%s instead of\n%s", got, lines(res.Unsure), c.says)
			}
			// The same, mended after a while.
			w = healthy()
			c.plant(w)
			w.change = func(w *world) {
				if w.calls > 12 {
					calls := w.calls
					*w = *healthy()
					w.calls = calls
				}
			}
			if res := w.verify(t); len(res.Findings)+len(res.Unsure) > 0 {
				t.Errorf("what was mended is found: %s%s", lines(res.Findings), lines(res.Unsure))
			}
		})
	}
}

// A node that does not answer is said to be silent.
func TestSilentNode(t *testing.T) {
	w := healthy()
	w.dead = "c"
	if got := lines(w.verify(t).Findings); got != "node C: it does not answer: no stream\n" {
		t.Error(got)
	}
}

// What changes all the while is no disagreement; that it was not compared is said.
func TestChanging(t *testing.T) {
	w := healthy()
	w.change = func(w *world) {
		a := w.routes["b"].Shards[1]
		a.Version = 5 + uint64(w.calls)
		w.routes["b"].Shards[1] = a
		w.connections["b"][0] = []Connection{{"0x", 5, uint64(w.calls)}}
	}
	res := w.verify(t)
	if len(res.Findings) > 0 || len(res.Unsure) != 1 || res.Unsure[0].Shard != 1 || res.Unsure[0].Node != "B" {
		t.Error(lines(res.Findings), lines(res.Unsure))
	}
}
