package broker

import (
	"fmt"
	"testing"

	"dunlin/proto/mqtt"
	"dunlin/router"
	"dunlin/session"
)

// What clients do that they should not, or at the worst moment.

func (l *testLoop) worker() *worker { return l.handler.(*worker) }

// queue puts packets into a connection's input without letting anything run.
func (c *testConn) queue(ps ...interface {
	Append([]byte, mqtt.Version) []byte
}) {
	for _, p := range ps {
		c.in = p.Append(c.in, c.version)
	}
}

// resume connects a client whose session outlives its connections.
func (c *cell) resume(node, loop int, p mqtt.Connect) *testConn {
	c.t.Helper()
	conn := c.dial(node, loop)
	p.Version, p.SessionExpiry = mqtt.V5, 100
	conn.send(&p)
	return conn
}

func TestGoodbyeIsHeardBeforeTheSocketIsGone(t *testing.T) {
	inBubble(t, func(t *testing.T) { // P6, [MQTT-3.14.4-3]: a client that comes back at once
		c := newCell(t, 1, 2, nil)
		watcher := c.connect(0, 1, "watcher")
		watcher.subscribe("will", 1)
		connect := &mqtt.Connect{Version: mqtt.V5, ClientID: []byte("hasty"), SessionExpiry: 100, HasWill: true,
			Will: mqtt.Will{Topic: []byte("will"), Payload: []byte("gone"), QoS: 1}}
		old := c.dial(0, 0)
		old.send(connect)
		old.subscribe("t", 1)
		old.lingers = true // the client does not close its socket
		old.send(&mqtt.Disconnect{HasSessionExpiry: true, SessionExpiry: 0})
		back := c.dial(0, 1)
		back.send(connect)
		if back.one(mqtt.CONNACK).Connack.SessionPresent {
			t.Error("the session outlived a DISCONNECT with expiry 0 (P3)")
		}
		watcher.none()
	})
}

func TestBadConnectHeaderIsAnsweredToNobody(t *testing.T) {
	inBubble(t, func(t *testing.T) { // cases 2, 3, 8: the version is not known yet
		c := newCell(t, 1, 1, nil)
		c.connect(0, 0, "before")
		for _, b := range [][]byte{{0x10, 0xff, 0xff, 0xff, 0x7f}, {0x10, 0xff, 0xff, 0xff, 0xff, 0xff}, {0x11, 0x02, 0, 0}} {
			conn := c.dial(0, 0)
			conn.in = b
			c.settle()
			if len(conn.out) != 0 || !conn.closed {
				t.Errorf("% x: answer % x, closed %v", b, conn.out, conn.closed)
			}
		}
	})
}

func TestNodeIsGoneInTheMiddleOfAPublish(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCell(t, 2, 1, nil)
		c.connect(1, 0, "far").subscribe("t", 1)
		near, pub := c.connect(0, 0, "near"), c.connect(0, 0, "pub")
		near.subscribe("$share/g/t", 1)
		c.nodes[1].dead = true // and the routes do not tell yet
		for id := range uint16(3) {
			pub.publish("t", string(make([]byte, maxFrame)), 1, id+1)
			if ack := pub.one(mqtt.PUBACK).Ack; ack.PacketID != id+1 {
				t.Errorf("PUBACK %d", ack.PacketID)
			}
			near.ack(near.one(mqtt.PUBLISH).Publish.PacketID)
			if n := c.nodes[0].loops[0].worker().pendings.inUse; n != 0 {
				t.Fatalf("%d pending publishes", n)
			}
		}
	})
}

func TestResumedDeliveryThatGotTooLarge(t *testing.T) {
	inBubble(t, func(t *testing.T) { // [MQTT-3.1.2-25]: as if it had been acknowledged
		c := newCell(t, 1, 1, nil)
		sub := c.resume(0, 0, mqtt.Connect{ClientID: []byte("s"), ReceiveMaximum: 2})
		sub.subscribe("t", 1)
		pub := c.connect(0, 0, "pub")
		for i := range uint16(8) {
			pub.publish("t", string(make([]byte, 500)), 1, i+1)
		}
		pub.publish("t", "small", 1, 9)
		sub.hangUp()
		sub = c.resume(0, 0, mqtt.Connect{ClientID: []byte("s"), ReceiveMaximum: 2, MaximumPacketSize: 100})
		if got := payloads(sub.recv()); len(got) != 1 || got[0] != "small" {
			t.Errorf("got %q", got)
		}
	})
}

func TestResumeWaitsForTheSocket(t *testing.T) {
	inBubble(t, func(t *testing.T) { // a window larger than a socket takes must not end each new connection
		c := newCell(t, 1, 1, func(o *Options) { o.MaxUnsent = 1000 })
		sub := c.resume(0, 0, mqtt.Connect{ClientID: []byte("s")})
		sub.subscribe("t", 1)
		pub := c.connect(0, 0, "pub")
		for i := range uint16(10) {
			pub.publish("t", fmt.Sprint(i), 1, i+1)
		}
		sub.hangUp()
		sub = c.dial(0, 0)
		sub.unsent = 2000
		sub.send(&mqtt.Connect{Version: mqtt.V5, SessionExpiry: 100, ClientID: []byte("s")})
		sub.one(mqtt.CONNACK)
		sub.unsent = 0
		c.settle()
		got := sub.recv()
		if len(got) != 10 || string(got[0].Publish.Payload) != "0" || !got[0].Publish.Dup {
			t.Errorf("got %v", payloads(got))
		}
	})
}

func TestWillToAReservedTopic(t *testing.T) {
	inBubble(t, func(t *testing.T) { // case 42
		c := newCell(t, 1, 1, nil)
		conn := c.dial(0, 0)
		conn.send(&mqtt.Connect{Version: mqtt.V5, CleanStart: true, ClientID: []byte("w"), HasWill: true,
			Will: mqtt.Will{Topic: []byte("$SYS/broker/uptime"), Payload: []byte("0")}})
		if r := conn.one(mqtt.CONNACK).Connack.Reason; r != mqtt.NotAuthorized {
			t.Errorf("CONNACK %v", r)
		}
	})
}

// Retained messages go at the pace of the acknowledgements, whatever the queue holds.
func TestRetainedReplayFillsNoQueue(t *testing.T) {
	for _, expiry := range []uint32{0, 100} {
		t.Run(fmt.Sprint("expiry ", expiry), func(t *testing.T) {
			inBubble(t, func(t *testing.T) { // case 33, P8
				const n = 1000
				c := newCell(t, 1, 2, func(o *Options) { o.Session.MaxQueueMessages = 100 })
				pub := c.connect(0, 0, "pub")
				for i := range n {
					pub.queue(&mqtt.Publish{Topic: fmt.Append(nil, "r/", i), Payload: fmt.Append(nil, i), QoS: 1, PacketID: 1, Retain: true})
					if i%20 == 19 {
						c.settle()
					}
				}
				sub := c.dial(0, 1)
				sub.send(&mqtt.Connect{Version: mqtt.V5, ClientID: []byte("s"), SessionExpiry: expiry, ReceiveMaximum: 3})
				sub.subscribe("none", 1)
				sub.send(&mqtt.Subscribe{PacketID: 1, Filters: []mqtt.Subscription{{Filter: []byte("r/#"), QoS: 1}}})
				got := map[string]bool{}
				for ps := sub.recv(); len(ps) > 0; ps = sub.recv() {
					for _, p := range ps {
						if p.Kind == mqtt.PUBLISH {
							got[string(p.Publish.Payload)] = true
							sub.queue(&mqtt.Ack{Kind: mqtt.PUBACK, PacketID: p.Publish.PacketID})
						}
					}
					c.settle()
				}
				if len(got) != n {
					t.Errorf("got %d of %d retained messages", len(got), n)
				}
			})
		})
	}
}

func TestReplaysOfOneFilterAreOne(t *testing.T) {
	inBubble(t, func(t *testing.T) { // case 23
		c := newCell(t, 1, 1, nil)
		pub, sub := c.connect(0, 0, "pub"), c.connect(0, 0, "sub")
		pub.send(&mqtt.Publish{Topic: []byte("r"), Payload: []byte("x"), Retain: true})
		sub.unsent = 2 << 20 // does not read
		for i := range 200 {
			sub.queue(&mqtt.Subscribe{PacketID: uint16(i) + 1, Filters: []mqtt.Subscription{{Filter: []byte("#")}}})
		}
		c.settle()
		if n := len(c.nodes[0].loops[0].worker().conn(sub.id).client.replays); n != 1 {
			t.Errorf("%d replays wait", n)
		}
		sub.recv()
		sub.unsent = 0
		c.settle()
		if got := payloads(sub.recv()); len(got) != 1 {
			t.Errorf("got %v", got)
		}
	})
}

func TestReplayGoesOnWhenTheKernelTakesEverything(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCell(t, 1, 1, nil)
		pub, sub := c.connect(0, 0, "pub"), c.connect(0, 0, "sub")
		pub.send(&mqtt.Publish{Topic: []byte("r"), Payload: []byte("x"), Retain: true})
		sub.unsent, sub.flushed = 2<<20, true // of this turn, not refused
		sub.send(&mqtt.Subscribe{PacketID: 1, Filters: []mqtt.Subscription{{Filter: []byte("#")}}})
		if got := payloads(sub.recv()); len(got) != 1 {
			t.Errorf("got %v", got)
		}
	})
}

func TestSubscriptionsAreCountedBeforeTheShardHasThem(t *testing.T) {
	inBubble(t, func(t *testing.T) { // cases 22, 23; the bound is 100
		c := newCell(t, 1, 1, nil)
		conn := c.resume(0, 0, mqtt.Connect{ClientID: []byte("s")})
		conn.recv()
		for i := range 4 {
			var s mqtt.Subscribe
			s.PacketID = uint16(i) + 1
			for j := range 60 {
				s.Filters = append(s.Filters, mqtt.Subscription{Filter: fmt.Append(nil, i, "/", j)})
			}
			conn.queue(&s)
		}
		c.settle()
		granted := 0
		for _, p := range conn.recv() {
			for _, r := range p.Suback.Reasons {
				if r == mqtt.Success {
					granted++
				} else if r != mqtt.QuotaExceeded {
					t.Errorf("SUBACK %v", r)
				}
			}
		}
		if granted != 100 {
			t.Errorf("%d subscriptions granted", granted)
		}
	})
}

// Who has as many subscriptions as may be can still make each of them again, as clients do
// when they come back (case 23, [MQTT-3.8.4-3]).
func TestSubscriptionsAreReplacedAtTheirBound(t *testing.T) {
	inBubble(t, func(t *testing.T) { // the bound is 100
		c := newCell(t, 1, 1, nil)
		for name, conn := range map[string]*testConn{"ephemeral": c.connect(0, 0, "e"), "persistent": c.persistent(0, 0, "p")} {
			for _, add := range []string{"", "one more"} {
				s := mqtt.Subscribe{PacketID: 1}
				for j := range 100 {
					s.Filters = append(s.Filters, mqtt.Subscription{Filter: fmt.Append(nil, "t/", j)})
				}
				if add != "" {
					s.Filters[99].Filter = []byte(add)
				}
				conn.send(&s)
				for j, reason := range conn.one(mqtt.SUBACK).Suback.Reasons {
					want := mqtt.Success
					if j == 99 && add != "" {
						want = mqtt.QuotaExceeded
					}
					if reason != want {
						t.Fatalf("%s: SUBACK %v for filter %d %q, want %v", name, reason, j, add, want)
					}
				}
			}
		}
	})
}

func TestHandleOfALoanIsNeverZero(t *testing.T) {
	var ls loans
	m := session.Message{QoS: 1}
	m.Topic, _ = router.ParseTopic([]byte("t"))
	ls.slots = []loan{{gen: maxLoanGen}}
	ls.head = 1
	h := ls.take(0, 1, router.Filter{}, &m, 0)
	if h == 0 || ls.slot(h) == nil {
		t.Errorf("handle %x", h)
	}
}

func TestPublishersWaitForALoopThatIsBehind(t *testing.T) {
	inBubble(t, func(t *testing.T) { // P10: what waits between loops is bounded
		c := newCell(t, 1, 2, func(o *Options) { o.MaxUnsent = 1 << 30 })
		sub, pub := c.connect(0, 1, "sub"), c.connect(0, 0, "pub")
		other := c.connect(0, 0, "other")
		sub.subscribe("t", 0)
		const size = 1 << 19
		to, n := c.nodes[0].loops[1].worker(), 0
		for ; n < 100 && !pub.paused; n++ {
			pub.queue(&mqtt.Publish{Topic: []byte("t"), Payload: make([]byte, size)})
			pub.loop.turn()
		}
		if waiting := to.mailed.bytes.Load(); !pub.paused || waiting > maxBehind+2*size {
			t.Errorf("%d bytes wait for a loop that does nothing, publisher paused: %v", waiting, pub.paused)
		}
		other.queue(&mqtt.Publish{Topic: []byte("u"), QoS: 1, PacketID: 1})
		other.loop.turn()
		if other.one(mqtt.PUBACK); other.paused {
			t.Error("a publisher to nobody of that loop waits too")
		}
		c.settle()
		if got := len(payloads(sub.recv())); got != n || pub.paused || to.mailed.bytes.Load() != 0 {
			t.Errorf("got %d of %d messages, %d bytes wait", got, n, to.mailed.bytes.Load())
		}
	})
}

func TestPublishersWaitForAShardThatIsBehind(t *testing.T) {
	inBubble(t, func(t *testing.T) { // P10
		c := newCell(t, 1, 1, nil)
		sub := c.resume(0, 0, mqtt.Connect{ClientID: []byte("s")})
		sub.subscribe("t", 1)
		pub, other := c.connect(0, 0, "pub"), c.connect(0, 0, "other")
		w := pub.loop.worker()
		g := &w.atShards[w.shards.SessionShard("s")]
		g.add(maxBehind)
		pub.queue(&mqtt.Publish{Topic: []byte("t"), QoS: 1, PacketID: 1}, &mqtt.Publish{Topic: []byte("t"), QoS: 1, PacketID: 2})
		c.settle()
		if pub.one(mqtt.PUBACK); !pub.paused {
			t.Error("the publisher goes on")
		}
		other.publish("u", "", 1, 1)
		if other.one(mqtt.PUBACK); other.paused {
			t.Error("a publisher to nobody of that shard waits too")
		}
		if g.take(maxBehind) {
			w.relieve()
		}
		c.settle()
		pub.one(mqtt.PUBACK)
	})
}

func TestFloodLeavesTheTurnToOthers(t *testing.T) {
	inBubble(t, func(t *testing.T) { // P10: no rate blocks other clients
		c := newCell(t, 1, 1, nil)
		for i := range 64 {
			c.connect(0, 0, fmt.Sprint(i)).subscribe("t", 0)
		}
		other := c.connect(0, 0, "other")
		flooders := []*testConn{c.connect(0, 0, "f0"), c.connect(0, 0, "f1"), c.connect(0, 0, "f2")}
		for _, pub := range flooders {
			for range 1000 {
				pub.queue(&mqtt.Publish{Topic: []byte("t")})
			}
		}
		l := other.loop
		before := l.worker().counters.Received[0]
		other.queue(&mqtt.Publish{Topic: []byte("u"), QoS: 1, PacketID: 1})
		l.turn()
		other.one(mqtt.PUBACK)
		if n := l.worker().counters.Received[0] - before; n*64 > 2*turnWork {
			t.Errorf("%d deliveries in one turn", n*64)
		}
		c.settle()
		if n := l.worker().counters.Received[0] - before; n != 3000 {
			t.Errorf("%d messages taken in the end", n)
		}
	})
}

func TestRetainedFloodWaitsForTheShard(t *testing.T) {
	inBubble(t, func(t *testing.T) { // P10, P7: QoS 0 has no Receive Maximum
		c := newCell(t, 1, 1, nil)
		pub, sub := c.connect(0, 0, "pub"), c.connect(0, 0, "sub")
		sub.subscribe("t", 0)
		const n = 500
		for i := range n {
			pub.queue(&mqtt.Publish{Topic: []byte("t"), Payload: fmt.Append(nil, i), Retain: true})
		}
		pub.loop.turn()
		if kept := pub.loop.worker().pendings.inUse; kept > maxRetaining {
			t.Errorf("%d messages kept", kept)
		}
		c.settle()
		got := payloads(sub.recv())
		for i, p := range got {
			if p != fmt.Sprint(i) {
				t.Fatalf("message %d is %s", i, p)
			}
		}
		if len(got) != n {
			t.Errorf("got %d of %d", len(got), n)
		}
	})
}

func TestRequestsWaitForTheirAnswers(t *testing.T) {
	inBubble(t, func(t *testing.T) { // P10: SUBSCRIBE has no Receive Maximum
		c := newCell(t, 1, 1, nil)
		for _, expiry := range []uint32{0, 100} {
			conn := c.dial(0, 0)
			conn.send(&mqtt.Connect{Version: mqtt.V5, ClientID: []byte("s"), SessionExpiry: expiry})
			conn.recv()
			const n = 100
			for i := range uint16(n) {
				conn.queue(&mqtt.Subscribe{PacketID: 2*i + 1, Filters: []mqtt.Subscription{{Filter: []byte("t")}}},
					&mqtt.Unsubscribe{PacketID: 2*i + 2, Filters: [][]byte{[]byte("t")}})
			}
			conn.loop.turn()
			if asking := conn.loop.worker().conn(conn.id).client.asking; asking > maxAsking {
				t.Errorf("expiry %d: %d requests under way", expiry, asking)
			}
			c.settle()
			if got := len(conn.recv()); got != 2*n {
				t.Errorf("expiry %d: %d answers of %d", expiry, got, 2*n)
			}
			conn.hangUp()
		}
	})
}

func TestShutdownHandsNothingOnToMembersThatGoToo(t *testing.T) {
	inBubble(t, func(t *testing.T) { // P9 without a cascade of the node's own members
		c := newCell(t, 2, 1, nil)
		for i := range 5 {
			c.connect(0, 0, fmt.Sprint("here", i)).subscribe("$share/g/t", 1)
		}
		pub := c.connect(1, 0, "pub")
		const n = 10
		for i := range uint16(n) {
			pub.publish("t", fmt.Sprint(i), 1, i+1)
		}
		heir := c.connect(1, 0, "heir")
		heir.subscribe("$share/g/t", 1)
		w := c.nodes[0].loops[0].worker()
		w.closeAll(mqtt.ServerShuttingDown)
		if handed := w.counters.SharedHandedOn; handed != 0 {
			t.Errorf("%d messages were handed on within the node", handed)
		}
		c.settle()
		if got := payloads(heir.recv()); len(got) != n {
			t.Errorf("the heir elsewhere got %v", got)
		}
	})
}

// [MQTT-3.14.4-1]: whatever a client did wrong, DISCONNECT is the last that it is told, behind
// the answers that it can still be given.
func TestNothingFollowsDisconnect(t *testing.T) {
	for name, wrong := range map[string][]byte{
		"bad packet":       {0x17, 0x00},
		"breach":           {0x10, 0x0d, 0, 4, 'M', 'Q', 'T', 'T', 5, 2, 0, 0, 0, 0, 0},
		"AUTH":             {0xf0, 0x00},
		"a server's":       {0xd0, 0x00},
		"too much at once": {0x34, 6, 0, 1, 't', 0, 2, 0},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				var lease testLease
				c := newCell(t, 1, 1, func(o *Options) { o.Session.ReceiveMaximum = 1 })
				c.nodes[0].b.Lease(&lease)
				for _, lost := range []bool{false, true} {
					lease.lost.Store(lost)
					conn := c.connect(0, 0, "bad")
					conn.queue(&mqtt.Publish{Topic: []byte("t"), QoS: 2, PacketID: 1})
					conn.in = append(conn.in, wrong...)
					c.settle()
					lease.lost.Store(false)
					c.nodes[0].b.LeaseBack()
					c.settle()
					got := conn.recv()
					if n := len(got); n == 0 || got[n-1].Kind != mqtt.DISCONNECT {
						t.Errorf("got %v, want DISCONNECT last", kinds(got))
					}
				}
			})
		})
	}
}

// Case 9: a second CONNECT is answered for being one, whatever CONNACK would say of it.
func TestSecondConnectThatIsBad(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCell(t, 1, 1, nil)
		for name, bad := range map[string][]byte{
			"level": {0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 0x7F, 2, 0, 0, 0, 0, 0},
			"name":  {0x10, 13, 0, 4, 'M', 'Q', 'T', 'X', 5, 2, 0, 0, 0, 0, 0},
			"flags": {0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 5, 3, 0, 0, 0, 0, 0},
			"short": {0x10, 3, 0, 4, 'M'},
		} {
			conn := c.connect(0, 0, "twice")
			conn.in = bad
			c.settle()
			if d := conn.one(mqtt.DISCONNECT).Disconnect; d.Reason != mqtt.ProtocolError {
				t.Errorf("%s: DISCONNECT %v", name, d.Reason)
			}
		}
	})
}
