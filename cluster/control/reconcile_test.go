package control

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"dunlin/raftstore/meta"
	"dunlin/raftstore/placement"
	"dunlin/router"
)

// growing has node 0 begin alone and the others join.
func growing(factor int) func(i int, o *Options) {
	return func(i int, o *Options) {
		o.Factor, o.BootstrapExpect, o.DeadAfter = factor, 0, 30*time.Second
		if i == 0 {
			o.BootstrapExpect = 1
		}
	}
}

// traffic proposes to all shards until it is ended, each thing once.
type traffic struct {
	l     *lab
	end   context.CancelFunc
	wg    sync.WaitGroup
	acked [labShards][]string // in order
}

func (l *lab) traffic() *traffic {
	ctx, cancel := context.WithCancel(context.Background())
	t := &traffic{l: l, end: cancel}
	for sh := range labShards {
		t.wg.Go(func() {
			for i := 0; pause(ctx, 100*time.Millisecond) == nil; i++ {
				command := fmt.Sprintf("%d.%d", sh, i)
				if l.command(router.ShardID(sh), []byte(command)) == nil {
					t.acked[sh] = append(t.acked[sh], command)
				}
			}
		})
	}
	return t
}

// survived ends it, and checks that every replica that votes comes to hold all that
// was acknowledged, once and in order.
func (t *traffic) survived() {
	t.l.t.Helper()
	t.end()
	t.wg.Wait()
	for sh := range router.ShardID(labShards) {
		acked := t.acked[sh]
		if len(acked) < 10 {
			t.l.t.Errorf("shard %d acknowledged only %d commands", sh, len(acked))
		}
		replicas := 0
		for _, n := range t.l.running() {
			ledger := n.shards.ledger(sh)
			if ledger == nil {
				continue
			}
			replicas++
			var missing string
			for range 200 {
				if missing = lacks(ledger.list(), acked); missing == "" {
					break
				}
				time.Sleep(50 * time.Millisecond)
			}
			if missing != "" {
				t.l.t.Errorf("shard %d at %c: %s is not where it should be", sh, 'a'+n.i, missing)
			}
		}
		if replicas == 0 {
			t.l.t.Errorf("shard %d has no replica", sh)
		}
	}
}

// lacks is the first of the wanted that entries do not hold in that order, or hold
// twice.
func lacks(entries, wanted []string) string {
	count := map[string]int{}
	for _, e := range entries {
		count[e]++
	}
	i := 0
	for _, w := range wanted {
		for i < len(entries) && entries[i] != w {
			i++
		}
		if i == len(entries) || count[w] != 1 {
			return w
		}
	}
	return ""
}

// settled waits until the groups are where they should be: on the nodes with these
// letters, and on them alone.
func (l *lab) settled(letters string) {
	l.t.Helper()
	var why string
	for range 3600 { // 3 minutes
		if why = l.unsettled(letters); why == "" {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	l.t.Fatalf("not settled on %s: %s", letters, why)
}

func (l *lab) unsettled(letters string) string {
	n := l.running()[0]
	st := n.Status(context.Background())
	s := n.State()
	letter := map[string]string{} // by identity
	for _, n := range l.running() {
		letter[n.data.Identity()] = string(rune('a' + n.i))
	}
	var members []string
	for _, n := range st.Nodes {
		members = append(members, letter[n.Identity])
	}
	slices.Sort(members)
	if got := fmt.Sprint(members); got != fmt.Sprint(slices.Collect(splitted(letters))) {
		return "nodes " + got
	}
	want := placement.Voters(st.Factor, len(letters))
	leads, holds := map[string]int{}, map[string]int{}
	for _, g := range st.Groups {
		voters, others := 0, 0
		for _, r := range g.Replicas {
			switch {
			case !r.Running || letter[r.Node] == "":
				return fmt.Sprintf("group %d has a replica on %s that does not run", g.Group, letter[r.Node])
			case r.Voter:
				voters++
			default:
				others++
			}
		}
		if g.Leader == "" || voters != want {
			return fmt.Sprintf("group %d is led by %q, and %d vote", g.Group, letter[g.Leader], voters)
		}
		if g.Group == MetaGroup {
			if voters+others != len(letters) {
				return fmt.Sprintf("meta has %d replicas", voters+others)
			}
			continue
		}
		if placed := s.Groups[g.Group].Replicas; others > 0 || len(placed) != voters {
			return fmt.Sprintf("group %d learns at %d, and is placed %v", g.Group, others, placed)
		}
		leads[g.Leader]++
		for _, r := range g.Replicas {
			holds[r.Node]++
		}
	}
	for _, n := range l.running() {
		running := 0
		for sh := range router.ShardID(labShards) {
			if n.shards.Raft(sh) != nil {
				running++
			}
		}
		if running != holds[n.data.Identity()] {
			return fmt.Sprintf("%c runs %d replicas of %d", 'a'+n.i, running, holds[n.data.Identity()])
		}
	}
	for _, counts := range []map[string]int{leads, holds} {
		for _, n := range st.Nodes {
			counts[n.Identity] += 0
		}
		all := slices.Sorted(maps.Values(counts))
		if all[len(all)-1]-all[0] > 1 {
			return fmt.Sprintf("unequal: %v", counts)
		}
	}
	return ""
}

func splitted(letters string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for _, r := range letters {
			if !yield(string(r)) {
				return
			}
		}
	}
}

// A cluster grows from one node to three to five, and shrinks to three, while it
// serves; what is acknowledged stays.
func TestGrowAndShrink(t *testing.T) {
	for _, factor := range []int{3, 5} {
		t.Run(fmt.Sprint("factor ", factor), func(t *testing.T) {
			inLab(t, 5, func(l *lab) {
				l.shape = growing(factor)
				l.start(0)
				l.works()
				tr := l.traffic()
				l.settled("a")
				l.start(1)
				l.settled("ab")
				l.start(2)
				l.settled("abc")
				l.start(3)
				l.start(4)
				l.settled("abcde")
				for _, i := range []int{0, 3} {
					if err := l.nodes[1].Leave(l.t.Context(), string(rune('a'+i)), false); err != nil {
						t.Fatal(err)
					}
				}
				l.until("both having left", func() bool { return len(l.nodes[1].State().Nodes) == 3 })
				l.kill(0)
				l.kill(3)
				l.settled("bce")
				tr.survived()
			})
		})
	}
}

// D5: a node that comes back with an empty disk under its name takes the place of
// the one that it was.
func TestReplaced(t *testing.T) {
	inLab(t, 3, func(l *lab) {
		for i := range 3 {
			l.start(i)
		}
		l.works()
		tr := l.traffic()
		was := l.nodes[2].data.Identity()
		l.kill(2)
		time.Sleep(20 * time.Second)
		l.wipe(2)
		l.start(2)
		l.settled("abc")
		if _, ok := l.nodes[0].State().Find(was); ok || slices.Contains(l.nodes[0].Voters(), was) {
			t.Error("the node that was there before is not retired")
		}
		tr.survived()
	})
}

// What a node held that does not come back goes to others, if there are any; the
// node stays one, and votes, until it leaves.
func TestDead(t *testing.T) {
	inLab(t, 4, func(l *lab) {
		l.shape = func(i int, o *Options) { o.DeadAfter = 30 * time.Second }
		for i := range 4 {
			l.start(i)
		}
		l.works()
		l.settled("abcd")
		tr := l.traffic()
		number := l.nodes[1].self.Node
		l.kill(1)
		l.until("its replicas being moved", func() bool { return !l.nodes[0].State().Holds(number) })
		l.until("whole groups", func() bool {
			for _, g := range l.nodes[0].Status(l.t.Context()).Groups {
				if voters := slices.DeleteFunc(g.Replicas, func(r ReplicaStatus) bool { return !r.Voter || !r.Running }); len(voters) != 3 {
					return false
				}
			}
			return true
		})
		if _, ok := l.nodes[0].State().Nodes[number]; !ok {
			t.Error("it was retired")
		}
		l.start(1)
		l.settled("abcd")
		tr.survived()
	})
}

// A node that was away for long is up to date soon after it is back.
func TestBack(t *testing.T) {
	inLab(t, 3, func(l *lab) {
		for i := range 3 {
			l.start(i)
		}
		l.works()
		tr := l.traffic()
		i := (l.metaLeader() + 1) % 3
		l.kill(i)
		time.Sleep(40 * time.Second)
		began := time.Now()
		n := l.start(i)
		l.until("a current replica of each group", func() bool {
			here := n.report()
			for _, g := range l.nodes[(i+1)%3].Status(l.t.Context()).Groups {
				if r := here.Groups[g.Group]; g.Leader == "" || r.Commit+10 < g.Commit {
					return false
				}
			}
			return true
		})
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
		tr.survived()
	})
}

// Whoever leads meta is killed again and again while nodes come and go, between any
// two steps.
// E4: what a node leads that stays revoked is led by others, and does not go back to it
// for balance while it is.
func TestRevokedNodeHandsOver(t *testing.T) {
	inLab(t, 3, func(l *lab) {
		for i := range 3 {
			l.start(i)
		}
		l.works()
		at := l.nodes[0]
		state := at.State()
		for number, n := range state.Nodes {
			if _, err := at.Propose(l.t.Context(), &meta.Admit{Node: number, Generation: n.Generation}); err != nil {
				t.Fatal(err)
			}
		}
		// Anybody but meta's leader, which revokes itself never.
		who := l.nodes[slices.IndexFunc(l.nodes, func(n *labNode) bool { return n.MetaLeader() != n.data.Identity() })]
		leads := func() (n int) {
			for sh := range uint16(labShards) {
				if r := who.raftOf(sh); r != nil && r.State() == raft.Leader {
					n++
				}
			}
			return n
		}
		time.Sleep(30 * time.Second)
		if leads() == 0 {
			t.Fatal("it leads nothing in the first place")
		}
		number, _ := state.Find(who.data.Identity())
		if _, err := at.Propose(l.t.Context(), &meta.Revoke{Node: number, Generation: state.Nodes[number].Generation}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(barredFor / 2)
		if leads() == 0 {
			t.Error("it has handed over at once")
		}
		l.until("handing over", func() bool { return leads() == 0 })
		for range 60 {
			time.Sleep(time.Second)
			if n := leads(); n > 0 {
				t.Fatalf("it leads %d shards again", n)
			}
		}
	})
}

func TestReconcilerKilled(t *testing.T) {
	for seed := range uint64(2) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inLab(t, 5, func(l *lab) {
				rnd := rand.New(rand.NewPCG(seed, 2))
				l.shape = growing(3)
				for i := range 3 {
					l.start(i)
					l.nodes[i].in()
				}
				l.settled("abc")
				l.slow(3 * time.Millisecond)
				tr := l.traffic()
				kill := func(times int) {
					for range times {
						time.Sleep(time.Duration(rnd.IntN(600)) * time.Millisecond)
						if i := l.metaLeader(); i >= 0 {
							l.kill(i)
							time.Sleep(time.Duration(rnd.IntN(4000)) * time.Millisecond)
							l.start(i)
							l.slow(3 * time.Millisecond)
						}
						time.Sleep(time.Duration(rnd.IntN(4000)) * time.Millisecond)
					}
				}
				l.start(3)
				l.start(4)
				kill(5)
				l.settled("abcde")
				for _, name := range []string{"a", "c"} {
					if err := l.nodes[1].Leave(l.t.Context(), name, false); err != nil {
						t.Fatal(err)
					}
				}
				kill(5)
				l.until("both having left", func() bool { return len(l.nodes[1].State().Nodes) == 3 })
				l.kill(0)
				l.kill(2)
				l.settled("bde")
				tr.survived()
			})
		})
	}
}

// metaLeader is the node that leads meta, -1 if none does.
func (l *lab) metaLeader() int {
	for _, n := range l.running() {
		if n.Leading() {
			return n.i
		}
	}
	return -1
}

// slow gives all ways a delay.
func (l *lab) slow(d time.Duration) {
	for _, a := range l.hosts {
		for _, b := range l.hosts {
			l.net.Delay(a, b, d)
		}
	}
}
