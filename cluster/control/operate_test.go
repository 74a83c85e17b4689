package control

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"dunlin/raftstore/meta"
	"dunlin/raftstore/placement"
)

func TestOperate(t *testing.T) {
	inLab(t, 3, func(l *lab) {
		for i := range 3 {
			l.start(i)
		}
		l.works()
		l.settled("abc")
		ctx, n := l.t.Context(), l.nodes[1]
		for _, tt := range []struct {
			what string
			err  error
			is   error
			says string
		}{
			{"an unknown node leaving", n.Leave(ctx, "d", false), ErrNoNode, "there are ["},
			{"an unknown shard", n.Transfer(ctx, labShards, "a"), ErrNoGroup, "0 to 3"},
			{"leadership for an unknown node", n.Transfer(ctx, 0, "d"), ErrNoNode, "there are"},
		} {
			if !errors.Is(tt.err, tt.is) || !strings.Contains(fmt.Sprint(tt.err), tt.says) {
				t.Errorf("%s: %v", tt.what, tt.err)
			}
		}
		for _, group := range []uint16{0, MetaGroup} {
			for _, to := range []string{"a", "b", "c"} {
				l.until("the leader that was asked for", func() bool {
					if err := n.Transfer(ctx, group, to); err != nil && !errors.Is(err, ErrNotNow) {
						t.Errorf("group %d to %s: %v", group, to, err)
					}
					return l.leads(group) == to
				})
			}
		}
		// A shard that is being restored keeps its leader, whoever wants another one.
		leader := l.leads(0)
		for _, m := range l.nodes {
			m.shards.restoring.Store(1)
		}
		for _, to := range []string{"a", "b", "c"} {
			if err := n.Transfer(ctx, 0, to); to != leader && (err == nil || !strings.Contains(err.Error(), "being restored")) {
				t.Errorf("from %s to %s: %v", leader, to, err)
			}
		}
		time.Sleep(30 * time.Second)
		if now := l.leads(0); now != leader {
			t.Errorf("%q leads what %s was restoring", now, leader)
		}
		for _, m := range l.nodes {
			m.shards.restoring.Store(0)
		}

		l.settled("abc")
		if err := n.Rebalance(ctx); err != nil {
			t.Error(err)
		}

		// A node leaves, and stays after all.
		for _, stays := range []bool{false, true} {
			if err := n.Leave(ctx, "c", stays); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
		time.Sleep(30 * time.Second)
		l.settled("abc")

		// The last one cannot leave.
		for _, name := range []string{"a", "c"} {
			if err := n.Leave(ctx, name, false); err != nil {
				t.Fatal(err)
			}
		}
		if err := n.Leave(ctx, "b", false); !errors.Is(err, meta.ErrLast) {
			t.Errorf("the last node leaving: %v", err)
		}
		l.until("one node", func() bool { return len(n.State().Nodes) == 1 })
		l.kill(0)
		l.kill(2)
		l.settled("b")
	})
}

// leads is the letter of a group's leader.
func (l *lab) leads(group uint16) string {
	for _, n := range l.running() {
		if g := n.report().Groups[group]; g.Leads {
			return string(rune('a' + n.i))
		}
	}
	return ""
}

// Leaders that are together on one node stay there while a node is missing, and part
// when it is back: at once, if that is asked for.
func TestRebalance(t *testing.T) {
	inLab(t, 3, func(l *lab) {
		for i := range 3 {
			l.start(i)
		}
		l.works()
		l.settled("abc")
		together := func() bool {
			for sh := range uint16(labShards) {
				if l.leads(sh) != "a" {
					return false
				}
			}
			return true
		}
		l.kill(2)
		l.until("all being led by one", func() bool {
			for sh := range uint16(labShards) {
				if err := l.nodes[0].Transfer(l.t.Context(), sh, "a"); err != nil {
					return false
				}
			}
			return together()
		})
		time.Sleep(20 * time.Second)
		if !together() {
			t.Error("leaders moved while a node was missing")
		}
		l.start(2)
		l.until("an answer of the third", func() bool {
			return !slices.ContainsFunc(l.nodes[1].Status(l.t.Context()).Nodes, func(n NodeStatus) bool { return !n.Alive })
		})
		if !together() {
			t.Error("leaders moved at once")
		}
		began := time.Now()
		if err := l.nodes[1].Rebalance(l.t.Context()); err != nil {
			t.Fatal(err)
		}
		l.until("leaders moving", func() bool { return !together() })
		if took := time.Since(began); took >= calmFor/2 {
			t.Errorf("it took %v", took)
		}
		l.works()
		l.settled("abc")
	})
}

// A plan is made of what is found, wherever the one before was left off.
func TestPlanGoesOn(t *testing.T) {
	inLab(t, 3, func(l *lab) {
		l.shape = growing(3)
		l.start(0)
		l.works()
		n := l.nodes[0]
		s := n.State()
		// Placed, and given up by who placed it, on a node that is not there.
		o := outlook{state: s, reports: n.reports(l.t.Context(), []string{n.data.Identity()})}
		o.nodes = []placement.Node{{ID: n.data.Identity()}}
		v := o.view(0)
		v.removed = []string{"somebody"}
		v.placed.Replicas = slices.Clone(v.placed.Replicas)
		step, ok := o.shardStep(v, placement.Step{})
		if !ok || step.place == nil || len(step.place.Replicas) != 1 {
			t.Errorf("%+v", step)
		}
	})
}

// A command of which its leader does not know what became, because it was cut off, is
// given again.
func TestLeaveAgain(t *testing.T) {
	inLab(t, 3, func(l *lab) {
		for i := range 3 {
			l.start(i)
		}
		l.works()
		l.settled("abc")
		leads := l.metaLeader()
		rest := slices.Concat(l.hosts[:leads], l.hosts[leads+1:])
		l.net.Partition(l.hosts[leads:leads+1], rest)
		left := make(chan error)
		n, node := l.nodes[leads], string(rune('a'+(leads+1)%3))
		go func() { left <- n.Leave(l.t.Context(), node, false) }()
		l.until("the leader stepping down", func() bool { return !n.Leading() })
		time.Sleep(time.Second)
		l.net.Heal()
		if err := <-left; err != nil {
			t.Errorf("cut off: %v", err)
		}

		number := l.nodes[(leads+1)%3].self.Node
		l.until("its having left", func() bool { _, ok := n.State().Nodes[number]; return !ok })
	})
}

// Whoever is asked for a removal sees it from then on, and does not take the node for
// one that has left because it does not know yet that it leaves.
func TestLeaveIsSeen(t *testing.T) {
	inLab(t, 3, func(l *lab) {
		for i := range 3 {
			l.start(i)
		}
		l.works()
		l.settled("abc")
		l.slow(3 * time.Millisecond)
		number := l.nodes[2].self.Node
		for _, n := range l.nodes {
			for _, stays := range []bool{false, true} {
				if err := n.Leave(l.t.Context(), "c", stays); err != nil {
					t.Fatal(err)
				}
				if leaving := n.State().Nodes[number].Leaving; leaving == stays {
					t.Errorf("asked %c: stays %t, and leaving is %t", 'a'+n.i, stays, leaving)
				}
			}
		}
	})
}
