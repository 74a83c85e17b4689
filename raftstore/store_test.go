package raftstore

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dunlin/proto/mqtt"
	"dunlin/router"
	"dunlin/session"
)

// owner records what the store calls, and answers evictions if told to.
type owner struct {
	pushes  map[router.Subscriber][]string
	indices map[router.Subscriber][]uint64
	wills   []string
	ended   []endedConn
	evicted []router.Subscriber
	answer  func(done func()) // nil: never
}

func (o *owner) Evict(conn router.Subscriber, _ string, _ session.Epoch, done func()) {
	o.evicted = append(o.evicted, conn)
	if o.answer != nil {
		o.answer(done)
	}
}

func (o *owner) Push(conn router.Subscriber, _ session.Epoch, ds []Delivery) {
	for _, d := range ds {
		o.pushes[conn] = append(o.pushes[conn], string(d.Message.Payload))
		o.indices[conn] = append(o.indices[conn], d.Index)
	}
}

func (o *owner) Publish(m *session.Message, clientID, _ string, done func()) bool {
	o.wills = append(o.wills, clientID+" "+m.Topic.String()+" "+string(m.Payload))
	done()
	return true
}

func (o *owner) Forget(uint64) {}

func (o *owner) Ended(conn router.Subscriber, e session.Epoch, r mqtt.Reason) {
	o.ended = append(o.ended, endedConn{0, conn, e, r})
}

// bench is a store of one shard inside a synctest bubble.
type bench struct {
	*testing.T
	*Store
	owner *owner
	table *router.Table
}

func inBubble(t *testing.T, test func(b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{T: t, table: router.NewTable(), owner: &owner{
			pushes: map[router.Subscriber][]string{}, indices: map[router.Subscriber][]uint64{},
		}}
		o := DefaultOptions()
		o.Shards, o.Routes = 1, b.table
		s, err := Open(o, b.owner, b.owner)
		if err != nil {
			t.Fatal(err)
		}
		b.Store = s
		defer s.Close()
		test(b)
	})
}

// do submits cmd and waits for its result.
func (b *bench) do(cmd Command) Result {
	b.Helper()
	var got *Result
	b.Submit(0, cmd, func(r Result) { got = &r })
	synctest.Wait()
	if got == nil {
		b.Fatalf("%T: no result", cmd)
	}
	return *got
}

func (b *bench) ok(cmd Command) Result {
	b.Helper()
	r := b.do(cmd)
	if r.Err != nil {
		b.Fatalf("%T: %v", cmd, r.Err)
	}
	return r
}

// sleep lets virtual time pass, and what is due be done.
func (b *bench) sleep(d time.Duration) {
	b.shards[0].call(func() {}) // what the test has read, it read before
	synctest.Wait()
	time.Sleep(d)
	synctest.Wait()
}

func filter(s string) router.Filter {
	f, err := router.ParseFilter([]byte(s))
	if err != nil {
		panic(err)
	}
	return f
}

func topic(s string) router.Topic {
	t, err := router.ParseTopic([]byte(s))
	if err != nil {
		panic(err)
	}
	return t
}

func publish(to, payload string, qos mqtt.QoS) session.Message {
	return session.Message{Topic: topic(to), Payload: []byte(payload), QoS: qos}
}

func subscription(f string, qos uint8) Subscription {
	return Subscription{Filter: filter(f), Options: router.Options{QoS: qos}}
}

func expect[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: %v, want %v", what, got, want)
	}
}

func expectAll[T comparable](t testing.TB, what string, got []T, want ...T) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("%s: %v, want %v", what, got, want)
	}
}

func TestSessionAcrossConnections(t *testing.T) {
	inBubble(t, func(b *bench) {
		c := Claim{ClientID: "c", User: "u", Conn: 1, Expiry: 60, Inflight: 2}
		first := b.ok(c)
		expect(t, "present", first.Claim.Present, false)
		e := first.Claim.Epoch
		sub := b.ok(Subscribe{ClientID: "c", Epoch: e, Filters: []Subscription{subscription("a/#", 2), subscription("$share/g/x", 1)}})
		expectAll(t, "existed", sub.Existed, false, false)
		var ms router.Matches
		b.table.Match(topic("a/b"), 0, &ms)
		expectAll(t, "shards", ms.Shards, 0)

		for _, p := range []string{"1", "2", "3"} {
			b.ok(Enqueue{Message: publish("a/b", p, 1)})
		}
		b.ok(Transient{Message: publish("a/b", "t", 0)})
		expectAll(t, "pushed", b.owner.pushes[1], "1", "2", "t")
		expectAll(t, "indices", b.owner.indices[1], 1, 2, 0)
		b.ok(Acks{Items: []Ack{{ClientID: "c", Epoch: e, Index: 1}}})
		expectAll(t, "pushed", b.owner.pushes[1], "1", "2", "t", "3")

		b.ok(Detach{ClientID: "c", Epoch: e, Fire: true})
		b.ok(Enqueue{Message: publish("a/b", "4", 2)})
		expect(t, "fenced", b.do(Acks{Items: []Ack{{ClientID: "c", Epoch: e, Index: 2}}}).Err, ErrFenced)

		c.Conn = 2
		again := b.ok(c)
		expect(t, "present", again.Claim.Present, true)
		expect(t, "window", len(again.Claim.Window), 2)
		expect(t, "resent", string(again.Claim.Window[0].Message.Payload)+string(again.Claim.Window[1].Message.Payload), "23")
		expect(t, "subscriptions", len(again.Claim.Subscriptions), 2)
		e = again.Claim.Epoch
		b.ok(Acks{Items: []Ack{{ClientID: "c", Epoch: e, Index: 3}}})
		expectAll(t, "pushed", b.owner.pushes[2], "4")
		b.ok(Acks{Items: []Ack{{ClientID: "c", Epoch: e, Index: 4, Received: true}}})
		b.ok(Detach{ClientID: "c", Epoch: e})
		third := b.ok(c)
		expect(t, "window", len(third.Claim.Window), 2)
		expect(t, "received", third.Claim.Window[1].Received, true)

		b.ok(Detach{ClientID: "c", Epoch: third.Claim.Epoch})
		b.sleep(61 * time.Second)
		b.table.Match(topic("a/b"), 0, &ms)
		expectAll(t, "shards after expiry", ms.Shards)
		expect(t, "present after expiry", b.ok(c).Claim.Present, false)
	})
}

func TestTakeover(t *testing.T) {
	inBubble(t, func(b *bench) {
		var handOver []func()
		b.owner.answer = func(done func()) { handOver = append(handOver, done) }
		c := Claim{ClientID: "c", Conn: 1, Expiry: 60}
		first := b.ok(c).Claim.Epoch

		var epochs []session.Epoch
		claimed := func(r Result) { epochs = append(epochs, r.Claim.Epoch) }
		for conn := range 2 {
			c.Conn = router.Subscriber(2 + conn)
			b.Submit(0, c, claimed)
		}
		synctest.Wait()
		expectAll(t, "evicted", b.owner.evicted, 1)
		expect(t, "claims", len(epochs), 0)
		// The old owner's last words still count; other clients go on.
		b.ok(Subscribe{ClientID: "c", Epoch: first, Filters: []Subscription{subscription("a", 1)}})
		b.ok(Claim{ClientID: "d", Conn: 9})
		b.ok(Detach{ClientID: "c", Epoch: first})
		handOver[0]()
		synctest.Wait()
		expectAll(t, "evicted", b.owner.evicted, 1, 2)
		expect(t, "claims", len(epochs), 1)
		b.sleep(51 * time.Millisecond) // the second does not answer
		expect(t, "claims", len(epochs), 2)
		expect(t, "epochs rise", epochs[1] > epochs[0], true)
		expectAll(t, "ended", b.owner.ended, endedConn{0, 2, epochs[0], mqtt.SessionTakenOver})
		handOver[1]() // too late, and without effect

		expect(t, "another user", b.do(Claim{ClientID: "c", User: "mallory", CleanStart: true}).Err, ErrNotYours)
		expectAll(t, "evicted", b.owner.evicted, 1, 2)
		expect(t, "stale write", b.do(Detach{ClientID: "c", Epoch: epochs[0]}).Err, ErrFenced)
	})
}

func TestWills(t *testing.T) {
	will := func(delay uint32) *Will { return &Will{Message: publish("w", "gone", 1), Delay: delay} }
	for _, c := range []struct {
		name         string
		delay        uint32
		expiry       uint32
		then         func(b *bench, e session.Epoch)
		atOnce, soon int // wills published at once, and 11 s later
	}{
		{"graceful", 0, 60, func(b *bench, e session.Epoch) { b.ok(Detach{ClientID: "c", Epoch: e}) }, 0, 0},
		{"lost", 0, 60, func(b *bench, e session.Epoch) { b.ok(Detach{ClientID: "c", Epoch: e, Fire: true}) }, 1, 1},
		{"lost, claim only", 5, 0, func(b *bench, e session.Epoch) { b.ok(Detach{ClientID: "c", Epoch: e, Fire: true}) }, 1, 1},
		{"delayed", 10, 60, func(b *bench, e session.Epoch) { b.ok(Detach{ClientID: "c", Epoch: e, Fire: true}) }, 0, 1},
		{"delay cut by expiry", 60, 10, func(b *bench, e session.Epoch) { b.ok(Detach{ClientID: "c", Epoch: e, Fire: true}) }, 0, 1},
		{"expiry 0 at the end", 60, 10, func(b *bench, e session.Epoch) {
			b.ok(Detach{ClientID: "c", Epoch: e, Fire: true, HasExpiry: true})
		}, 1, 1},
		{"resumed in time", 10, 60, func(b *bench, e session.Epoch) {
			b.ok(Detach{ClientID: "c", Epoch: e, Fire: true})
			b.ok(Claim{ClientID: "c", Expiry: 60})
		}, 0, 0},
		{"clean start meanwhile", 10, 60, func(b *bench, e session.Epoch) {
			b.ok(Detach{ClientID: "c", Epoch: e, Fire: true})
			b.ok(Claim{ClientID: "c", CleanStart: true})
		}, 1, 1},
		{"taken over, no delay", 0, 60, func(b *bench, _ session.Epoch) { b.ok(Claim{ClientID: "c", Expiry: 60}) }, 1, 1},
		{"taken over, delay", 5, 60, func(b *bench, _ session.Epoch) { b.ok(Claim{ClientID: "c", Expiry: 60}) }, 0, 0},
		{"taken over, claim only", 5, 0, func(b *bench, _ session.Epoch) { b.ok(Claim{ClientID: "c"}) }, 1, 1},
		{"deleted", 5, 60, func(b *bench, _ session.Epoch) { b.ok(Delete{ClientID: "c"}) }, 1, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, func(b *bench) {
				b.owner.answer = func(done func()) { done() }
				e := b.ok(Claim{ClientID: "c", Conn: 1, Expiry: c.expiry, Will: will(c.delay)}).Claim.Epoch
				c.then(b, e)
				expect(t, "at once", len(b.owner.wills), c.atOnce)
				b.sleep(11 * time.Second)
				expect(t, "later", len(b.owner.wills), c.soon)
			})
		})
	}
}

func TestInboundQoS2(t *testing.T) {
	inBubble(t, func(b *bench) {
		c := Claim{ClientID: "p", Expiry: 60}
		e := b.ok(c).Claim
		first := b.ok(Receive{ClientID: "p", Epoch: e.Epoch, PacketID: 7})
		again := b.ok(Receive{ClientID: "p", Epoch: e.Epoch, PacketID: 7})
		expect(t, "known", again.Known, true)
		expect(t, "seq", again.Seq, first.Seq)

		s := b.ok(Claim{ClientID: "s", Conn: 5, Expiry: 60}).Claim
		b.ok(Subscribe{ClientID: "s", Epoch: s.Epoch, Filters: []Subscription{subscription("a", 2)}})
		m := publish("a", "once", 2)
		m.Origin, m.Seq, m.Low = e.Origin, first.Seq, first.Low
		expect(t, "first copy", b.ok(Enqueue{Message: m}).Known, false)
		expect(t, "second copy", b.ok(Enqueue{Message: m}).Known, true)

		b.ok(Detach{ClientID: "p", Epoch: e.Epoch})
		resumed := b.ok(c).Claim
		expectAll(t, "inbound", resumed.Inbound, 7)
		expect(t, "origin", resumed.Origin, e.Origin)
		expect(t, "released", b.ok(Release{ClientID: "p", Epoch: resumed.Epoch, PacketID: 7}).Known, true)
		expect(t, "released again", b.ok(Release{ClientID: "p", Epoch: resumed.Epoch, PacketID: 7}).Known, false)
	})
}

func TestRetained(t *testing.T) {
	inBubble(t, func(b *bench) {
		for _, to := range []string{"a", "a/b", "a/b/c", "a!b", "a/c/c", "b", "$SYS/x", "/", "a/"} {
			b.ok(Retain{Message: publish(to, to, 1)})
		}
		expiring := publish("a/x", "x", 1)
		expiring.HasExpiry, expiring.Expiry = true, 5
		b.ok(Retain{Message: expiring})
		b.ok(Retain{Message: publish("b", "", 1)})
		read := func(f, cursor string) (got []string) {
			p, err := readRetained(b.Store, RetainedQuery{Filter: filter(f), Cursor: cursor})
			expect(b, "error", err, nil)
			for i := range p.Messages {
				got = append(got, p.Messages[i].Message.Topic.String())
			}
			return got
		}
		expectAll(t, "#", read("#", ""), "/", "a", "a/", "a/b", "a/b/c", "a/c/c", "a/x", "a!b")
		expectAll(t, "# after a/b", read("#", "a/b"), "a/b/c", "a/c/c", "a/x", "a!b")
		expectAll(t, "a/#", read("a/#", ""), "a", "a/", "a/b", "a/b/c", "a/c/c", "a/x")
		expectAll(t, "a/+/c", read("a/+/c", ""), "a/b/c", "a/c/c")
		expectAll(t, "+/b", read("+/b", ""), "a/b")
		expectAll(t, "+/+", read("+/+", ""), "/", "a/", "a/b", "a/x")
		expectAll(t, "a/b", read("a/b", ""), "a/b")
		expectAll(t, "b", read("b", ""))
		expectAll(t, "$SYS/#", read("$SYS/#", ""), "$SYS/x")
		b.sleep(6 * time.Second)
		expectAll(t, "expired", read("a/x", ""))
		expect(t, "left", b.shards[0].st.retained.tree.Len(), 8)
	})
}

func TestClosed(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.Close()
		if err := b.do(Claim{ClientID: "c"}).Err; !errors.Is(err, ErrClosed) {
			t.Fatal(err)
		}
	})
}

// What a shard says to a connection is not taken for what another says (E1): no
// epoch or origin is given twice.
func TestNoTwoShardsGiveAnEpoch(t *testing.T) {
	s, err := Open(DefaultOptions(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	epochs, origins := map[session.Epoch]bool{}, map[uint64]bool{}
	for i := range 200 {
		id, done := fmt.Sprint("c", i), make(chan Result)
		s.Submit(s.SessionShard(id), Claim{ClientID: id, Expiry: 60, Conn: router.Subscriber(i + 1)}, func(r Result) { done <- r })
		c := (<-done).Claim
		if c.Epoch == 0 || epochs[c.Epoch] || origins[c.Origin] {
			t.Fatalf("%s: epoch %d, origin %d", id, c.Epoch, c.Origin)
		}
		epochs[c.Epoch], origins[c.Origin] = true, true
	}
}

// TestBroken: a panic of a shard's goroutine is told before the process ends of it (D6).
func TestBroken(t *testing.T) {
	told := make(chan error, 1)
	sh := &shard{id: 3, broken: func(err error) {
		told <- err
		runtime.Goexit() // in place of the process's end
	}}
	go func() {
		defer sh.tellBroken()
		panic("unknown command")
	}()
	if err := <-told; !strings.HasPrefix(err.Error(), "shard 3: unknown command\n") {
		t.Error(err)
	}
}
