package cluster_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dunlin/cluster"
	"dunlin/cluster/clustertest"
	"dunlin/router"
)

// lab is nodes named a, b, c, ... on hosts 1, 2, 3, ... of a network in memory.
type lab struct {
	t     *testing.T
	net   *clustertest.Network
	hosts []*clustertest.Host
	nodes []*node
}

// inLab runs f in a bubble with a lab of n hosts and no node.
func inLab(t *testing.T, n int, f func(t *testing.T, l *lab)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := &lab{t: t, net: clustertest.New(), nodes: make([]*node, n)}
		for i := range n {
			l.hosts = append(l.hosts, l.net.Host(i+1))
		}
		f(t, l)
		for _, n := range l.nodes {
			if n != nil {
				n.shutdown()
			}
		}
		time.Sleep(10 * time.Second) // memberlist ends its last probe
	})
}

// options are those of node i: joining all.
func (l *lab) options(i int) cluster.Options {
	o := cluster.DefaultOptions()
	name := string(rune('a' + i))
	o.Name, o.Identity, o.Start, o.ClusterID = name, "id-"+name, 1, "lab"
	o.Cluster = "ours"
	for _, h := range l.hosts {
		o.Join = append(o.Join, h.GossipAddr())
	}
	o.Logger = logger(l.t, name)
	l.hosts[i].Use(&o)
	return o
}

// start starts node i, with changes to its options.
func (l *lab) start(i int, change ...func(*cluster.Options)) *node {
	l.t.Helper()
	return l.make(i, change...).begin()
}

// make makes node i.
func (l *lab) make(i int, change ...func(*cluster.Options)) *node {
	l.t.Helper()
	o := l.options(i)
	for _, f := range change {
		f(&o)
	}
	l.nodes[i] = makeNode(l.t, o)
	l.nodes[i].want = len(l.hosts)
	return l.nodes[i]
}

// startAll starts all nodes and waits until they are ready.
func (l *lab) startAll() {
	l.t.Helper()
	for i := range l.nodes {
		l.start(i)
	}
	for _, n := range l.nodes {
		n.ready()
	}
}

// kill kills node i's process.
func (l *lab) kill(i int) {
	l.hosts[i].Kill()
	l.nodes[i].shutdown()
	l.nodes[i] = nil
}

func TestStartInEveryOrder(t *testing.T) {
	for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		t.Run(strings.Trim(fmt.Sprint(order), "[]"), func(t *testing.T) {
			inLab(t, 3, func(t *testing.T, l *lab) {
				for _, i := range order {
					l.start(i)
					time.Sleep(7 * time.Second)
				}
				for _, n := range l.nodes {
					if got := len(n.Nodes()); got != 3 {
						t.Errorf("%s has %d members", n.opts.Name, got)
					}
					for _, m := range n.Nodes() {
						if m.State != "alive" {
							t.Errorf("%s: %s is %s", n.opts.Name, m.Name, m.State)
						}
					}
				}
			})
		})
	}
}

// Only the middle node is known to the others: they learn of one another.
func TestJoinOneMeetAll(t *testing.T) {
	inLab(t, 4, func(t *testing.T, l *lab) {
		for i := range l.nodes {
			l.start(i, func(o *cluster.Options) { o.Join = o.Join[1:2] })
		}
		for _, n := range l.nodes {
			n.ready()
			if got := len(n.Nodes()); got != 4 {
				t.Errorf("%s has %d members", n.opts.Name, got)
			}
		}
	})
}

func TestEveryFrameOnceThoughStreamsBreak(t *testing.T) {
	const frames = 20_000
	inLab(t, 2, func(t *testing.T, l *lab) {
		l.startAll()
		a, b := l.nodes[0], l.nodes[1]
		to, from := a.peer("b"), b.peer("a")
		cuts := 0
		for i := range uint64(frames) {
			if !a.Forward(to, cluster.Frame{Body: a.body(i), Reliable: true, Token: cluster.Token(i)}) {
				t.Fatal("forward refused")
			}
			switch i % 500 {
			case 250:
				l.net.Sever(l.hosts[0], l.hosts[1])
				cuts++
			case 499:
				time.Sleep(time.Duration(i%7) * 5 * time.Millisecond)
			}
		}
		a.broker.until("confirmations", func() bool { return len(a.broker.confirmed) == frames })
		inOrder(t, b, from, frames)
		for token, fate := range a.broker.confirmed {
			if fate != cluster.Accepted {
				t.Fatalf("frame %d is lost", token)
			}
		}
		if got := fmt.Sprint(a.broker.events, b.broker.events); got != "[joined b] [joined a]" {
			t.Fatal(got)
		}
		if cuts < 20 {
			t.Fatal("too few cuts to mean anything")
		}
	})
}

// A cut of less than the failure detector's time loses nothing either.
func TestShortPartitionLosesNothing(t *testing.T) {
	inLab(t, 2, func(t *testing.T, l *lab) {
		l.startAll()
		a := l.nodes[0]
		to := a.peer("b")
		l.net.Partition(l.hosts[:1], l.hosts[1:])
		for i := range uint64(100) {
			a.Forward(to, cluster.Frame{Body: a.body(i), Reliable: true, Token: cluster.Token(i)})
		}
		time.Sleep(500 * time.Millisecond)
		l.net.Heal()
		a.broker.until("confirmations", func() bool { return len(a.broker.confirmed) == 100 })
		inOrder(t, l.nodes[1], l.nodes[1].peer("a"), 100)
	})
}

func TestDoneLateAndOutOfOrder(t *testing.T) {
	inLab(t, 2, func(t *testing.T, l *lab) {
		l.startAll()
		a, b := l.nodes[0], l.nodes[1]
		b.broker.hold = true
		for i := range uint64(100) {
			a.Forward(a.peer("b"), cluster.Frame{Body: a.body(i), Reliable: true, Token: cluster.Token(i)})
		}
		b.broker.until("frames", func() bool { return len(b.broker.dones) == 100 })
		a.broker.until("silence", func() bool { return len(a.broker.confirmed) == 0 })
		// Half of them before the stream breaks, half after, the latest first.
		slices.Reverse(b.broker.dones)
		for i, done := range b.broker.dones {
			if i == 50 {
				l.net.Sever(l.hosts[0], l.hosts[1])
			}
			if i == 75 {
				synctest.Wait()
			}
			done()
		}
		a.broker.until("confirmations", func() bool { return len(a.broker.confirmed) == 100 })
		inOrder(t, b, b.peer("a"), 100)
		if a.Full(a.peer("b")) {
			t.Error("full with nothing unconfirmed")
		}
	})
}

func TestFull(t *testing.T) {
	inLab(t, 2, func(t *testing.T, l *lab) {
		a := l.start(0, func(o *cluster.Options) { o.MaxReliableFrames = 10 }).opts.Name
		b := l.start(1)
		na := l.nodes[0].ready()
		b.ready()
		b.broker.hold = true
		to := na.peer("b")
		for i := range uint64(10) {
			if na.Full(to) {
				t.Fatalf("%s is full with %d", a, i)
			}
			na.Forward(to, cluster.Frame{Body: na.body(i), Reliable: true, Token: cluster.Token(i)})
		}
		if !na.Full(to) {
			t.Fatal("not full")
		}
	})
}

func TestUnreliableFrames(t *testing.T) {
	inLab(t, 2, func(t *testing.T, l *lab) {
		l.startAll()
		a, b := l.nodes[0], l.nodes[1]
		to := a.peer("b")
		for i := range uint64(100) {
			if !a.Forward(to, cluster.Frame{Body: a.body(i)}) {
				t.Fatal("refused with the stream up")
			}
		}
		synctest.Wait()
		inOrder(t, b, b.peer("a"), 100)
		l.net.Partition(l.hosts[:1], l.hosts[1:])
		l.net.Sever(l.hosts[0], l.hosts[1])
		synctest.Wait()
		if a.Forward(to, cluster.Frame{Body: a.body(0)}) {
			t.Fatal("taken with the stream down")
		}
		if !a.Forward(to, cluster.Frame{Body: a.body(100), Reliable: true}) {
			t.Fatal("reliable frame refused with the stream down")
		}
		l.net.Heal()
		a.broker.until("confirmation", func() bool { return len(a.broker.confirmed) == 1 })
		inOrder(t, b, b.peer("a"), 101)
		if a.Forward(router.NodeID(9), cluster.Frame{Body: a.body(0), Reliable: true}) {
			t.Fatal("taken for a node that is no member")
		}
	})
}

// A peer may take smaller frames only: a larger one does not stop the others.
func TestFrameTooLargeForThePeer(t *testing.T) {
	inLab(t, 2, func(t *testing.T, l *lab) {
		a := l.start(0).opts.Name
		b := l.start(1, func(o *cluster.Options) { o.MaxFrameBytes = 1 << 10 })
		b.ready()
		n := l.nodes[0].ready()
		to := n.peer("b")
		l.net.Sever(l.hosts[0], l.hosts[1]) // so that some wait for the stream
		for i := range uint64(10) {
			n.Forward(to, cluster.Frame{Body: n.body(i), Reliable: true, Token: cluster.Token(2 * i)})
			n.Forward(to, cluster.Frame{Body: make([]byte, 2<<10), Reliable: true, Token: cluster.Token(2*i + 1)})
			if i == 5 {
				synctest.Wait()
			}
		}
		n.broker.until("confirmations", func() bool { return len(n.broker.confirmed) == 20 })
		inOrder(t, b, b.peer(a), 10)
		if n.Forward(to, cluster.Frame{Body: make([]byte, 2<<10)}) {
			t.Error("a larger frame was taken")
		}
	})
}

func TestKilledNodeIsGoneAtOnce(t *testing.T) {
	inLab(t, 3, func(t *testing.T, l *lab) {
		l.startAll()
		a, c := l.nodes[0], l.nodes[2]
		l.nodes[1].table.Subscribe(filter(t, "x"), 1, router.Options{})
		time.Sleep(time.Second)
		if len(a.nodesFor("x")) != 1 {
			t.Fatal("no route to b")
		}
		l.nodes[1].broker.hold = true
		to := a.peer("b")
		for i := range uint64(10) {
			a.Forward(to, cluster.Frame{Body: a.body(i), Reliable: true, Token: cluster.Token(i)})
		}
		synctest.Wait()
		killed := time.Now()
		l.hosts[1].Kill()
		left := func(n *node) func() bool { return func() bool { return len(n.broker.members) == 1 } }
		a.broker.until("leaving of b", left(a))
		c.broker.until("leaving of b", left(c))
		if took := time.Since(killed); took > 500*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		for i := range cluster.Token(10) {
			if fate, ok := a.broker.confirmed[i]; fate != cluster.Gone || !ok {
				t.Errorf("frame %d: confirmed %v, fate %v", i, ok, fate)
			}
		}
		if len(a.nodesFor("x")) != 0 {
			t.Error("the route to b stands")
		}
		if a.Forward(to, cluster.Frame{Body: a.body(0), Reliable: true}) {
			t.Error("a frame for b was taken")
		}
		time.Sleep(30 * time.Second)
		if got := fmt.Sprint(a.broker.events[2:], c.broker.events[2:]); got != "[left b] [left b]" {
			t.Error(got)
		}
	})
}

func TestSilentNodeIsGoneInSeconds(t *testing.T) {
	inLab(t, 3, func(t *testing.T, l *lab) {
		l.startAll()
		a := l.nodes[0]
		l.net.Partition(l.hosts[:2], l.hosts[2:])
		began := time.Now()
		a.broker.until("leaving of c", func() bool { return len(a.broker.members) == 1 })
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

// A connection that nobody reads, and that is full, does not hold up its peer's end.
func TestSilentNodeWithFullConnections(t *testing.T) {
	inLab(t, 3, func(t *testing.T, l *lab) {
		l.startAll()
		a := l.nodes[0]
		l.net.Partition(l.hosts[:2], l.hosts[2:])
		began := time.Now()
		for i := range cluster.Token(100) {
			body := cluster.AppendMessage(nil, make([]byte, 100<<10))
			a.Forward(a.peer("c"), cluster.Frame{Body: body, Reliable: true, Token: i})
		}
		for i := range 1000 {
			a.table.Subscribe(filter(t, fmt.Sprintf("%d/%01000d/+", i, i)), 1, router.Options{})
		}
		a.broker.until("leaving of c", func() bool { return len(a.broker.members) == 1 })
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

func TestRestartReplaces(t *testing.T) {
	for _, moved := range []bool{false, true} {
		t.Run(fmt.Sprintf("moved=%v", moved), func(t *testing.T) {
			inLab(t, 3, func(t *testing.T, l *lab) {
				l.startAll()
				a := l.nodes[0]
				old := a.peer("b")
				l.nodes[1].table.Subscribe(filter(t, "old"), 1, router.Options{})
				l.nodes[1].broker.hold = true
				a.Forward(old, cluster.Frame{Body: a.body(0), Reliable: true, Token: 7})
				time.Sleep(time.Second)
				l.kill(1)
				if moved {
					l.hosts[1] = l.net.Host(9)
				} else {
					l.hosts[1] = l.net.Host(2)
				}
				b := l.start(1, func(o *cluster.Options) { o.Start = 2 })
				b.ready()
				a.broker.until("b", func() bool { return len(a.broker.members) == 2 && len(a.broker.events) == 4 })
				if got := fmt.Sprint(a.broker.events[2:]); got != "[left b joined b]" {
					t.Error(got)
				}
				if a.peer("b") == old {
					t.Error("the number of the old b was used again at once")
				}
				if fate, ok := a.broker.confirmed[7]; !ok || fate != cluster.Gone {
					t.Error("what the old b had was not lost")
				}
				a.Forward(a.peer("b"), cluster.Frame{Body: a.body(0), Reliable: true, Token: 8})
				a.broker.until("confirmation", func() bool { _, ok := a.broker.confirmed[8]; return ok })
				inOrder(t, b, b.peer("a"), 1)
				if got := a.nodesFor("old"); len(got) != 0 {
					t.Errorf("a route of the old b stands: %v", got)
				}
				time.Sleep(time.Minute)
				if got := fmt.Sprint(a.broker.events[4:]); got != "[]" {
					t.Error(got)
				}
			})
		})
	}
}

// The new process comes before anybody misses the old one, which is still there:
// its host hangs.
func TestRestartElsewhereWhileTheOldHangs(t *testing.T) {
	inLab(t, 3, func(t *testing.T, l *lab) {
		l.startAll()
		a := l.nodes[0]
		l.net.Partition([]*clustertest.Host{l.hosts[0], l.hosts[2]}, l.hosts[1:2])
		hung := l.nodes[1]
		l.hosts[1] = l.net.Host(9)
		l.start(1, func(o *cluster.Options) { o.Start = 2 })
		a.broker.until("b", func() bool { return len(a.broker.events) >= 4 })
		if got := fmt.Sprint(a.broker.events[2:]); got != "[left b joined b]" {
			t.Error(got)
		}
		l.nodes[1].ready()
		// It comes back: nobody listens to it, and it knows.
		l.net.Heal()
		time.Sleep(time.Minute)
		if got := len(a.broker.events); got != 4 {
			t.Error(a.broker.events)
		}
		if hung.Usurped() == nil {
			t.Error("the old process takes itself for the only one")
		}
		hung.shutdown()
	})
}

func TestPartitionHeals(t *testing.T) {
	inLab(t, 4, func(t *testing.T, l *lab) {
		l.startAll()
		l.net.Partition(l.hosts[:2], l.hosts[2:])
		a, c := l.nodes[0], l.nodes[2]
		to := a.peer("c")
		for i := range uint64(5) {
			a.Forward(to, cluster.Frame{Body: a.body(i), Reliable: true, Token: cluster.Token(i)})
		}
		_, v := a.table.Subscribe(filter(t, "during"), 1, router.Options{})
		a.routed(v) // once the other side is declared gone
		for _, n := range l.nodes {
			n.broker.until("parting", func() bool { return len(n.broker.members) == 1 })
		}
		time.Sleep(time.Minute)
		l.net.Heal()
		for _, n := range l.nodes {
			n.broker.until("meeting", func() bool { return len(n.broker.members) == 3 })
		}
		a.routed(v)
		if len(c.nodesFor("during")) != 1 {
			t.Error("c does not know the route")
		}
		if n := len(a.broker.confirmed); n != 5 {
			t.Errorf("%d frames of the time before are settled", n)
		}
		before := len(c.broker.got[c.peer("a")])
		for i := range uint64(100) {
			a.Forward(a.peer("c"), cluster.Frame{Body: a.body(uint64(before) + i), Reliable: true, Token: cluster.Token(100 + i)})
		}
		a.broker.until("confirmations", func() bool { return len(a.broker.confirmed) == 105 })
		inOrder(t, c, c.peer("a"), before+100)
	})
}

// One side declares the other gone and not the other way round: what the other
// had sent is lost to it, and both begin anew.
func TestForgottenByOneSide(t *testing.T) {
	inLab(t, 2, func(t *testing.T, l *lab) {
		a := l.start(0)
		b := l.start(1, func(o *cluster.Options) { o.ProbeInterval = time.Hour })
		a.ready()
		b.ready()
		a.broker.hold = true
		to := b.peer("a")
		_, v := b.table.Subscribe(filter(t, "x"), 1, router.Options{})
		b.routed(v)
		for i := range uint64(10) {
			b.Forward(to, cluster.Frame{Body: b.body(i), Reliable: true, Token: cluster.Token(i)})
		}
		a.broker.until("frames", func() bool { return len(a.broker.dones) == 10 })
		l.net.Partition(l.hosts[:1], l.hosts[1:])
		for i := range uint64(10) {
			b.Forward(to, cluster.Frame{Body: b.body(i), Reliable: true, Token: cluster.Token(10 + i)})
		}
		a.broker.until("parting", func() bool { return len(a.broker.members) == 0 })
		a.broker.until("release", func() bool { a.broker.hold = false; return true })
		l.net.Heal()
		a.broker.until("meeting", func() bool { return len(a.broker.members) == 1 })
		time.Sleep(5 * time.Second) // b has noticed
		for i := range uint64(10) {
			b.Forward(to, cluster.Frame{Body: b.body(i), Reliable: true, Token: cluster.Token(20 + i)})
		}
		b.broker.until("confirmations", func() bool { return len(b.broker.confirmed) == 30 })
		a.broker.until("late dones", func() bool {
			for _, done := range a.broker.dones {
				done() // of the conversation that is over: nobody is told
			}
			a.broker.dones = nil
			return true
		})
		b.broker.until("verdict", func() bool {
			for token, fate := range b.broker.confirmed {
				if token < 10 && fate != cluster.Unknown || token >= 20 && fate != cluster.Accepted {
					t.Errorf("frame %d: fate %v", token, fate)
				}
			}
			return true
		})
		if got := fmt.Sprint(a.broker.events, b.broker.events); got != "[joined b left b joined b] [joined a forgotten by a]" {
			t.Error(got)
		}
		_, v = b.table.Subscribe(filter(t, "y"), 1, router.Options{})
		b.routed(v)
		if len(a.nodesFor("x")) != 1 || len(a.nodesFor("y")) != 1 {
			t.Error("a does not know the routes")
		}
	})
}

func TestOneWayCut(t *testing.T) {
	inLab(t, 3, func(t *testing.T, l *lab) {
		l.startAll()
		a, b := l.nodes[0], l.nodes[1]
		b.table.Subscribe(filter(t, "x"), 1, router.Options{})
		l.net.Cut(l.hosts[0], l.hosts[1])
		token := cluster.Token(0)
		for range 200 {
			for _, m := range a.Nodes()[1:] {
				if a.Forward(m.ID, cluster.Frame{Body: a.body(uint64(token)), Reliable: true, Token: token}) {
					token++
				}
			}
			time.Sleep(50 * time.Millisecond)
		}
		l.net.Heal()
		time.Sleep(30 * time.Second)
		for _, n := range l.nodes {
			if len(n.Nodes()) != 3 {
				t.Fatalf("%s has %d members", n.opts.Name, len(n.Nodes()))
			}
		}
		a.broker.until("confirmations", func() bool { return len(a.broker.confirmed) == int(token) })
		if len(a.nodesFor("x")) != 1 {
			t.Error("a does not know the route")
		}
		_, v := a.table.Subscribe(filter(t, "y"), 1, router.Options{})
		a.routed(v)
		if len(b.nodesFor("y")) != 1 {
			t.Error("b does not know the route")
		}
	})
}

func TestGracefulLeave(t *testing.T) {
	inLab(t, 3, func(t *testing.T, l *lab) {
		l.startAll()
		a, b := l.nodes[0], l.nodes[1]
		// What was queued before Shutdown arrives.
		to := b.peer("a")
		for i := range uint64(100) {
			b.Forward(to, cluster.Frame{Body: b.body(i), Reliable: i%2 == 0, Token: cluster.Token(i)})
		}
		from := a.peer("b")
		began := time.Now()
		b.shutdown()
		l.nodes[1] = nil
		a.broker.until("leaving", func() bool { return len(a.broker.members) == 1 })
		if took := time.Since(began); took > time.Second {
			t.Errorf("it took %v", took)
		}
		inOrder(t, a, from, 100)
	})
}

func TestRoutedWaitsForEveryMember(t *testing.T) {
	inLab(t, 3, func(t *testing.T, l *lab) {
		l.startAll()
		a, c := l.nodes[0], l.nodes[2]
		l.net.Delay(l.hosts[0], l.hosts[2], 100*time.Millisecond)
		began := time.Now()
		for i := range 100 {
			_, v := a.table.Subscribe(filter(t, fmt.Sprint("t/", i, "/#")), 1, router.Options{})
			if i%10 == 0 {
				a.routed(v)
				if len(c.nodesFor(fmt.Sprint("t/", i))) != 1 {
					t.Fatal("routed, but not at c")
				}
			}
		}
		if time.Since(began) < 100*time.Millisecond {
			t.Fatal("nobody waited for c")
		}
		// A member that dies holds nobody up.
		l.net.Partition(l.hosts[:2], l.hosts[2:])
		_, v := a.table.Subscribe(filter(t, "z"), 1, router.Options{})
		began = time.Now()
		a.routed(v)
		if time.Since(began) < time.Second {
			t.Error("nobody waited for c's death")
		}
	})
}

func TestFeedDeltaAfterABrokenStream(t *testing.T) {
	inLab(t, 2, func(t *testing.T, l *lab) {
		l.startAll()
		a, b := l.nodes[0], l.nodes[1]
		for i := range 3000 {
			_, v := a.table.Subscribe(filter(t, fmt.Sprintf("f/%d/+", i)), 1, router.Options{})
			if i%500 == 0 {
				l.net.Sever(l.hosts[0], l.hosts[1])
			}
			if i == 2999 {
				a.routed(v)
			}
		}
		for i := range 3000 {
			if i%3 == 0 {
				a.table.Unsubscribe(filter(t, fmt.Sprintf("f/%d/+", i)), 1)
			}
		}
		a.routed(a.table.Version())
		for i := range 3000 {
			if got, want := len(b.nodesFor(fmt.Sprintf("f/%d/x", i))) == 1, i%3 != 0; got != want {
				t.Fatalf("route %d: %v", i, got)
			}
		}
	})
}

func TestStrangersAreRefused(t *testing.T) {
	inLab(t, 2, func(t *testing.T, l *lab) {
		a := l.start(0)
		l.start(1, func(o *cluster.Options) { o.ClusterID = "other" })
		time.Sleep(time.Minute)
		if len(a.broker.events) != 0 || len(a.Nodes()) != 1 {
			t.Fatal("a stranger joined")
		}
	})
}
