package shardroutes

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"dunlin/router"
)

func inBubble(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, test)
}

// lead makes a node the leader of a shard with the filters of table.
func (w *world) lead(name string, sh router.ShardID, reign uint64, table *router.Table) {
	table.KeepChanges(1 << 10)
	w.leaders[sh].Store(&name)
	w.nodes[name].LeadShard(sh, reign, table)
	w.nodes[name].ShardApplied(sh, reign)
}

// expectSynced waits for what Synced says.
func (w *world) expectSynced(at string, sh router.ShardID, index uint64, want bool) {
	w.Helper()
	got := make(chan bool, 1)
	w.nodes[at].Synced(sh, index, func(ok bool) { got <- ok })
	if ok := <-got; ok != want {
		w.Fatalf("%s: shard %d is synced to %d: %v", at, sh, index, ok)
	}
}

// expectWants looks into every node's table.
func (w *world) expectWants(topic string, sh router.ShardID, want bool) {
	w.Helper()
	for name, n := range w.nodes {
		if got := n.wants(w, topic, sh); got != want {
			w.Errorf("%s: %s leads to shard %d: %v", name, topic, sh, got)
		}
	}
}

func TestFiltersReachEveryNode(t *testing.T) {
	inBubble(t, func(t *testing.T) { // P4, E4
		w := newWorld(t, 1, 2, "a", "b", "c")
		defer w.close()
		for _, name := range w.members {
			w.start(name)
		}
		table := router.NewTable()
		w.lead("a", 1, 1, table)
		for i, at := range []string{"a", "b", "c"} {
			table.Subscribe(mustFilter(t, fmt.Sprintf("exact/%d", i)), 1, router.Options{})
			table.Subscribe(mustFilter(t, fmt.Sprintf("wild/%d/+", i)), 1, router.Options{})
			w.nodes["a"].ShardApplied(1, uint64(10+i))
			w.expectSynced(at, 1, uint64(10+i), true)
			w.expectWants(fmt.Sprintf("exact/%d", i), 1, true)
			w.expectWants(fmt.Sprintf("wild/%d/x", i), 1, true)
		}
		table.Unsubscribe(mustFilter(t, "exact/0"), 1)
		w.nodes["a"].ShardApplied(1, 20)
		w.expectSynced("b", 1, 20, true)
		w.expectWants("exact/0", 1, false)

		w.lead("b", 0, 1, router.NewTable())
		w.expectSynced("c", 0, 1, true)
		for name, n := range w.nodes {
			if err := n.Whole(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// What a node holds stands when the leader dies, and while the next one's copy is
// on its way; the copy replaces it, filters that are gone included.
func TestRoutesSurviveTheirLeader(t *testing.T) {
	inBubble(t, func(t *testing.T) { // P4
		w := newWorld(t, 2, 1, "a", "b", "c")
		defer w.close()
		for _, name := range w.members {
			w.start(name)
		}
		old := router.NewTable()
		for i := range 40_000 { // a copy in several pieces
			old.Subscribe(mustFilter(t, fmt.Sprintf("stays/%d", i)), 1, router.Options{})
		}
		old.Subscribe(mustFilter(t, "goes/#"), 1, router.Options{})
		w.lead("a", 0, 1, old)
		w.expectSynced("c", 0, 1, true)
		w.kill("a")
		time.Sleep(time.Minute)
		w.expectWants("stays/39999", 0, true)
		w.count("b", "c")

		next := router.NewTable()
		for i := range 40_000 {
			next.Subscribe(mustFilter(t, fmt.Sprintf("stays/%d", i)), 1, router.Options{})
		}
		next.Subscribe(mustFilter(t, "comes/#"), 1, router.Options{})
		var synced atomic.Bool
		var watching sync.WaitGroup
		watching.Go(func() {
			for ; !synced.Load(); time.Sleep(300 * time.Microsecond) {
				w.expectWants("stays/0", 0, true)
				w.expectWants("stays/39999", 0, true)
			}
		})
		w.lead("b", 0, 2, next)
		w.expectSynced("c", 0, 2, true)
		synced.Store(true)
		watching.Wait()
		w.expectWants("comes/x", 0, true)
		w.expectWants("goes/x", 0, false)
	})
}

// A leader whose time is over, and who does not know, is heard no more, and
// promises nothing.
func TestAnOvertakenLeaderIsNotHeard(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t, 3, 1, "a", "b", "c")
		defer w.close()
		for _, name := range w.members {
			w.start(name)
		}
		old := router.NewTable()
		w.lead("a", 0, 1, old)
		w.expectSynced("c", 0, 1, true)
		w.lead("b", 0, 2, router.NewTable())
		w.expectSynced("c", 0, 2, true)
		old.Subscribe(mustFilter(t, "late"), 1, router.Options{})
		w.nodes["a"].ShardApplied(0, 3)
		asked := "a"
		w.leaders[0].Store(&asked)
		w.expectSynced("c", 0, 3, false) // nor is it believed
		w.expectWants("late", 0, false)
		if reign, _, ok := w.nodes["c"].Held(0); reign != 2 || !ok {
			t.Errorf("c holds reign %d, %v", reign, ok)
		}
	})
}

// A barrier waits for a node that counts and cannot be reached, and for no other;
// with nobody known to count it is passed by nobody.
func TestBarrierWaitsForWhoCounts(t *testing.T) {
	inBubble(t, func(t *testing.T) { // E4
		w := newWorld(t, 4, 1, "a", "b", "c")
		defer w.close()
		for _, name := range w.members {
			w.start(name)
		}
		table := router.NewTable()
		w.lead("a", 0, 1, table)
		w.expectSynced("b", 0, 1, true)
		w.wires.set("a", "c", true)
		table.Subscribe(mustFilter(t, "x"), 1, router.Options{})
		w.nodes["a"].ShardApplied(0, 2)
		synced := make(chan bool, 1)
		w.nodes["b"].Synced(0, 2, func(ok bool) { synced <- ok })
		time.Sleep(12 * time.Second)
		if len(synced) > 0 {
			t.Fatal("synced without a node that counts")
		}
		if n := w.nodes["a"].led[0].Load().barrier.Waiting(); n != 1 { // P10: b has asked a dozen times
			t.Errorf("%d wait at the leader for one", n)
		}
		w.count("a", "b")
		if !<-synced || w.nodes["c"].wants(t, "x", 0) {
			t.Fatal("not synced without a node that does not count")
		}
		w.count("a", "b", "c") // the barrier is as of now, not as it was passed
		w.nodes["b"].Synced(0, 2, func(ok bool) { synced <- ok })
		time.Sleep(3 * time.Second)
		if len(synced) > 0 {
			t.Fatal("synced without a node that counts again")
		}
		w.wires.heal()
		if !<-synced || !w.nodes["c"].wants(t, "x", 0) {
			t.Fatal("not synced once the node is reached")
		}
		counted := w.counted.Swap(nil)
		w.nodes["a"].Changed()
		w.nodes["a"].Synced(0, 2, func(ok bool) { synced <- ok })
		time.Sleep(3 * time.Second)
		if len(synced) > 0 {
			t.Fatal("synced by a node that does not know who counts")
		}
		w.count(*counted...)
		if !<-synced {
			t.Fatal("not synced once it is known who counts")
		}
	})
}

// A node that starts again says that it holds nothing, though its leader has
// nothing new to tell; until then nothing is promised in its name that it lacks.
func TestANewNodeBecomesWhole(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t, 5, 1, "a", "b")
		defer w.close()
		w.start("a")
		w.start("b")
		table := router.NewTable()
		table.Subscribe(mustFilter(t, "x"), 1, router.Options{})
		w.lead("a", 0, 1, table)
		w.expectSynced("b", 0, 1, true)
		w.kill("b")
		n := w.start("b")
		if n.Whole() == nil {
			t.Error("whole at birth")
		}
		for n.Whole() != nil {
			time.Sleep(10 * time.Millisecond)
		}
		w.expectSynced("b", 0, 1, true)
		w.expectWants("x", 0, true)
	})
}

// A node may have no way to learn who leads a shard, but to ask everybody.
func TestAWrongThoughtOfTheLeader(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t, 7, 1, "a", "b", "c")
		defer w.close()
		w.start("a")
		w.start("b")
		w.start("c")
		table := router.NewTable()
		w.lead("a", 0, 1, table)
		w.expectSynced("c", 0, 1, true)
		w.kill("c")
		wrong := "b"
		w.leaders[0].Store(&wrong)
		n := w.start("c")
		for n.Whole() != nil {
			time.Sleep(10 * time.Millisecond)
		}
		table.Subscribe(mustFilter(t, "x"), 1, router.Options{})
		w.nodes["a"].ShardApplied(0, 2)
		w.expectSynced("c", 0, 2, true)
		w.expectWants("x", 0, true)
	})
}

// A node that starts again may get its copy from a leader that was deposed, while
// the latest believes that it holds all, as it did before it was started again.
func TestCatchingUpIsNotFooled(t *testing.T) {
	inBubble(t, func(t *testing.T) { // P4
		w := newWorld(t, 7, 1, "a", "b", "c")
		defer w.close()
		for _, name := range w.members {
			w.start(name)
		}
		w.lead("c", 0, 1, router.NewTable())
		w.expectSynced("b", 0, 1, true)
		w.wires.set("c", "a", true)
		w.wires.set("c", "b", true)
		w.count("a", "b")
		table := router.NewTable()
		table.Subscribe(mustFilter(t, "x"), 1, router.Options{})
		w.lead("a", 0, 2, table)
		w.expectSynced("b", 0, 2, true)

		w.kill("b")
		w.wires.heal()
		deposed := "c"
		w.leaders[0].Store(&deposed)
		n := w.start("b")
		for n.Whole() != nil {
			time.Sleep(time.Millisecond)
		}
		if reign, _, _ := n.Held(0); reign != 1 || n.wants(t, "x", 0) {
			t.Fatalf("reign %d is held, which fools nobody", reign)
		}
		latest := "a"
		w.leaders[0].Store(&latest)
		err := n.CatchUp(t.Context(), func(sh router.ShardID, done func(uint64, error)) {
			w.nodes["a"].ShardApplied(sh, 3)
			done(3, nil)
		})
		if err != nil || !n.wants(t, "x", 0) {
			t.Errorf("caught up (%v) without what was promised", err)
		}
	})
}

// E4: a leader without a lease promises nothing, here or to others. Who catches up
// asks for no promise: when a cluster starts, nobody has a lease before.
func TestALeaderWithoutALeasePromisesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t, 9, 1, "a", "b")
		defer w.close()
		w.start("a")
		n := w.start("b")
		w.lead("a", 0, 1, router.NewTable())
		w.lapsed.Store(true)
		w.expectSynced("a", 0, 1, false)
		w.expectSynced("b", 0, 1, false)
		committed := func(_ router.ShardID, done func(uint64, error)) { done(1, nil) }
		if err := n.CatchUp(t.Context(), committed); err != nil {
			t.Errorf("catching up: %v", err)
		}
		w.lapsed.Store(false)
		w.expectSynced("a", 0, 1, true)
		w.expectSynced("b", 0, 1, true)
	})
}

// Who cannot catch up is told why, and when it is given up.
func TestCatchingUpEnds(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t, 8, 1, "a", "b")
		defer w.close()
		n := w.start("a")
		w.start("b")
		never := func(router.ShardID, func(uint64, error)) {}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := n.CatchUp(ctx, never); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("without a copy: %v", err)
		}
		w.lead("b", 0, 1, router.NewTable())
		w.expectSynced("a", 0, 1, true)
		broken := errors.New("no majority")
		refused := func(_ router.ShardID, done func(uint64, error)) { done(0, broken) }
		if err := n.CatchUp(t.Context(), refused); !errors.Is(err, broken) {
			t.Errorf("without a commit: %v", err)
		}
		w.count("b") // it does not count
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		committed := func(_ router.ShardID, done func(uint64, error)) { done(1, nil) }
		if err := n.CatchUp(ctx, committed); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("without counting: %v", err)
		}
	})
}
