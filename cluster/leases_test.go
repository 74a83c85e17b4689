package cluster_test

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dunlin/cluster"
	"dunlin/cluster/lease"
	"dunlin/router"
)

// leases are who counts, as a test says.
type leases struct {
	mu     sync.Mutex
	counts map[string]bool
}

func (l *leases) Counts(identity string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.counts[identity]
}

func (l *leases) Counted() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Keys(l.counts))
}

// over has a node count no more, as if its lease were over.
func (l *leases) over(n *node, identity string) {
	l.mu.Lock()
	delete(l.counts, identity)
	l.mu.Unlock()
	n.Over(identity, 1)
	n.Recount()
}

// leased starts nodes that let each other hear of them and all count for each other.
// It returns who counts for the first.
func (l *lab) leased() *leases {
	var first *leases
	for i := range l.nodes {
		n := l.make(i)
		n.Raft().Handle(1, func(string, uint16, []byte, func([]byte, error)) {})
		ls := &leases{counts: make(map[string]bool)}
		for j := range l.nodes {
			if i != j {
				ls.counts[l.options(j).Identity] = true
			}
		}
		n.Leases(ls)
		if i == 0 {
			first = ls
		}
		n.begin()
	}
	for _, n := range l.nodes {
		n.ready()
	}
	return first
}

// E4: a node that was killed and counts is waited for, with its routes and what is
// on its way to it, until its lease is over.
func TestKilledNodeIsWaitedForWhileItCounts(t *testing.T) {
	inLab(t, 3, func(t *testing.T, l *lab) {
		ls := l.leased()
		a := l.nodes[0]
		l.nodes[1].table.Subscribe(filter(t, "x"), 1, router.Options{})
		time.Sleep(time.Second)
		l.nodes[1].broker.hold = true
		to := a.peer("b")
		a.Forward(to, cluster.Frame{Body: a.body(0), Reliable: true, Token: 1})
		synctest.Wait()
		l.kill(1)
		time.Sleep(time.Second)
		if got, _ := a.Reach("id-b"); got != lease.Gone {
			t.Errorf("found: %d", got)
		}
		_, v := a.table.Subscribe(filter(t, "y"), 1, router.Options{})
		routed := make(chan struct{})
		a.Routed(v, func() { close(routed) })
		time.Sleep(time.Minute)
		select {
		case <-routed:
			t.Error("a SUBACK did not wait")
		default:
		}
		if !a.Forward(to, cluster.Frame{Body: a.body(1), Reliable: true, Token: 2}) {
			t.Error("a frame was refused")
		}
		if len(a.nodesFor("x")) != 1 || len(a.broker.confirmed) != 0 || len(a.broker.members) != 2 {
			t.Errorf("routes to %v, confirmed %v, members %v", a.nodesFor("x"), a.broker.confirmed, a.broker.members)
		}
		ls.over(a, "id-b")
		<-routed
		a.broker.until("leaving of b", func() bool { return len(a.broker.members) == 1 })
		for token := range cluster.Token(2) {
			if fate, ok := a.broker.confirmed[token+1]; !ok || fate != cluster.Gone {
				t.Errorf("frame %d: confirmed %v, fate %v", token+1, ok, fate)
			}
		}
		if len(a.nodesFor("x")) != 0 {
			t.Error("the route to b stands")
		}
	})
}

// E4: a node that is revoked, and whom gossip still reaches through others, goes when
// it cannot be reached from here; and is back when it can.
func TestRevokedNodeGoesIfItCannotBeReached(t *testing.T) {
	inLab(t, 3, func(t *testing.T, l *lab) {
		ls := l.leased()
		a := l.nodes[0]
		ls.over(a, "id-b")
		time.Sleep(time.Minute)
		if got := fmt.Sprint(a.broker.events); len(a.broker.members) != 2 {
			t.Fatalf("b went, and could be reached: %s", got)
		}
		l.net.Partition(l.hosts[:1], l.hosts[1:2])
		l.net.Sever(l.hosts[0], l.hosts[1])
		a.broker.until("leaving of b", func() bool { return len(a.broker.members) == 1 })
		l.net.Heal()
		a.broker.until("meeting of b", func() bool { return len(a.broker.members) == 2 })
		if got, _ := a.Reach("id-b"); got == lease.Gone {
			t.Error("b is taken for dead")
		}
	})
}

// E4: a silent node that counts is no member for gossip any more, and stays.
func TestSilentNodeIsWaitedForWhileItCounts(t *testing.T) {
	inLab(t, 3, func(t *testing.T, l *lab) {
		ls := l.leased()
		a := l.nodes[0]
		l.net.Partition(l.hosts[:2], l.hosts[2:])
		time.Sleep(a.Raft().Silence())
		if got, since := a.Reach("id-c"); got != lease.Down || since < time.Second || since > a.Raft().Silence()-time.Second {
			t.Errorf("found: %d since %v", got, since)
		}
		time.Sleep(time.Minute)
		if len(a.broker.members) != 2 {
			t.Fatal("c went")
		}
		l.net.Heal()
		time.Sleep(time.Minute)
		if got, _ := a.Reach("id-c"); got != lease.Up || fmt.Sprint(a.broker.events) != "[joined b joined c]" && fmt.Sprint(a.broker.events) != "[joined c joined b]" {
			t.Errorf("found: %d, after %v", got, a.broker.events)
		}
		_, v := a.table.Subscribe(filter(t, "y"), 1, router.Options{})
		a.routed(v)
		l.net.Partition(l.hosts[:2], l.hosts[2:])
		time.Sleep(30 * time.Second)
		ls.over(a, "id-c")
		a.broker.until("leaving of c", func() bool { return len(a.broker.members) == 1 })
	})
}

// E4: what a node holds of another's routes is of one start of it.
func TestHolds(t *testing.T) {
	inLab(t, 2, func(t *testing.T, l *lab) {
		l.leased()
		a, b := l.nodes[0], l.nodes[1]
		b.table.Subscribe(filter(t, "x/+"), 1, router.Options{})
		start, version := b.Version()
		a.broker.until("nothing", func() bool { return true })
		for late := time.Now().Add(time.Minute); !a.Holds("id-b", start, version) && time.Now().Before(late); {
			time.Sleep(time.Millisecond)
		}
		if !a.Holds("id-b", start, version) || a.Holds("id-b", start, version+1) || a.Holds("id-b", start+1, 0) || a.Holds("id-z", start, 0) {
			t.Error("what is held is not told right")
		}
	})
}
