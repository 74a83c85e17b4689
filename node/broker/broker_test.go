package broker

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"dunlin/proto/mqtt"
	"dunlin/session"
)

func inBubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

func TestFirstPacketMustBeConnect(t *testing.T) {
	inBubble(t, func(t *testing.T) { // case 1, [MQTT-3.1.0-1]
		c := newCell(t, 1, 1, nil)
		conn := c.dial(0, 0)
		conn.send(&mqtt.Publish{Topic: []byte("a")})
		if len(conn.out) != 0 || !conn.closed {
			t.Errorf("answer %x, closed %v; want a silent close", conn.out, conn.closed)
		}
	})
}

func TestConnackTellsWhatTheServerDecides(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCell(t, 1, 1, func(o *Options) { o.Policy.MaxKeepAlive = 60 })
		conn := c.dial(0, 0)
		conn.send(&mqtt.Connect{Version: mqtt.V5, CleanStart: true, KeepAlive: 0, SessionExpiry: 1 << 30})
		a := conn.one(mqtt.CONNACK).Connack
		if len(a.AssignedClientID) == 0 {
			t.Error("no assigned client identifier [MQTT-3.2.2-16]")
		}
		if !a.HasServerKeepAlive || a.ServerKeepAlive != 60 {
			t.Errorf("server keep alive %v %d, want 60", a.HasServerKeepAlive, a.ServerKeepAlive)
		}
		if !a.HasSessionExpiry || a.SessionExpiry != 3600 {
			t.Errorf("session expiry %v %d, want the cap 3600 (case 35)", a.HasSessionExpiry, a.SessionExpiry)
		}
		if conn.idle != 90*time.Second {
			t.Errorf("idle after %v, want one and a half keep-alives", conn.idle)
		}
	})
}

// A client without a keep alive is found to be gone by the kernel, others are not asked.
func TestProbesWithoutKeepAlive(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCell(t, 1, 1, nil)
		for _, keepAlive := range []uint16{0, 10} {
			conn := c.dial(0, 0)
			conn.send(&mqtt.Connect{Version: mqtt.V5, CleanStart: true, KeepAlive: keepAlive})
			conn.one(mqtt.CONNACK)
			if conn.probed != (keepAlive == 0) || (conn.idle != 0) != (keepAlive > 0) {
				t.Errorf("keep alive %d: probed %v, idle after %v", keepAlive, conn.probed, conn.idle)
			}
		}
	})
}

func TestEmptyClientIDBeforeVersion5(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCell(t, 1, 1, nil)
		for _, v := range []struct {
			version mqtt.Version
			clean   bool
			want    mqtt.Reason
		}{{mqtt.V311, true, 0}, {mqtt.V311, false, 2}, {mqtt.V31, true, 2}} {
			conn := c.dial(0, 0)
			conn.version = v.version
			conn.send(&mqtt.Connect{Version: v.version, CleanStart: v.clean})
			raw := conn.out
			if len(raw) != 4 || mqtt.Reason(raw[3]) != v.want {
				t.Errorf("version %d clean %v: CONNACK %x, want code %d", v.version, v.clean, raw, v.want)
			}
		}
	})
}

// Every QoS, on one loop, between loops and between nodes.
func TestPublishReachesSubscribers(t *testing.T) {
	for qos := mqtt.QoS(0); qos <= 2; qos++ {
		for name, at := range map[string][2]int{"loop": {0, 0}, "loops": {0, 1}, "nodes": {1, 0}} {
			t.Run(fmt.Sprintf("%s qos %d", name, qos), func(t *testing.T) {
				inBubble(t, func(t *testing.T) {
					c := newCell(t, 2, 2, nil)
					sub, pub := c.connect(at[0], at[1], "sub"), c.connect(0, 0, "pub")
					sub.subscribe("a/+", qos)
					pub.publish("a/b", "hello", qos, uint16(qos)*7)
					switch qos {
					case 1:
						pub.one(mqtt.PUBACK)
					case 2:
						pub.one(mqtt.PUBREC)
						pub.send(&mqtt.Ack{Kind: mqtt.PUBREL, PacketID: 14})
						pub.one(mqtt.PUBCOMP)
					}
					p := sub.one(mqtt.PUBLISH).Publish
					if string(p.Payload) != "hello" || p.QoS != qos || string(p.Topic) != "a/b" {
						t.Errorf("got %+v", p)
					}
				})
			})
		}
	}
}

func TestSubscribersOnBothNodesGetPublishesOfEach(t *testing.T) {
	inBubble(t, func(t *testing.T) { // FIELD 1.9a
		c := newCell(t, 2, 1, nil)
		a, b := c.connect(0, 0, "a"), c.connect(1, 0, "b")
		a.subscribe("t", 1)
		b.subscribe("t", 1)
		for i, from := range []*testConn{c.connect(0, 0, "p0"), c.connect(1, 0, "p1")} {
			from.publish("t", fmt.Sprint(i), 1, 1)
			for _, sub := range []*testConn{a, b} {
				if got := payloads(sub.recv()); !slices.Equal(got, []string{fmt.Sprint(i)}) {
					t.Errorf("publish at node %d: got %v", i, got)
				}
			}
		}
	})
}

func TestPubackWaitsForThePeer(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCell(t, 2, 1, nil)
		c.connect(1, 0, "sub").subscribe("t", 1)
		pub := c.connect(0, 0, "pub")
		c.nodes[0].silent = true
		pub.publish("t", "x", 1, 5)
		pub.none()
		for _, confirm := range c.nodes[0].kept {
			confirm()
		}
		c.settle()
		if ack := pub.one(mqtt.PUBACK).Ack; ack.PacketID != 5 || ack.Reason != 0 {
			t.Errorf("got %+v", ack)
		}
	})
}

func TestSlowPeerStopsThePublisher(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCell(t, 2, 1, nil)
		sub := c.connect(1, 0, "sub")
		sub.subscribe("t", 1)
		pub, other := c.connect(0, 0, "pub"), c.connect(0, 0, "other")
		c.nodes[0].full = true
		c.nodes[0].silent = true
		pub.publish("t", "1", 1, 1)
		pub.publish("t", "2", 1, 2)
		if got := payloads(sub.recv()); !slices.Equal(got, []string{"1"}) {
			t.Errorf("got %v while the peer is behind, want the first only", got)
		}
		other.publish("u", "of no use there", 1, 1)
		if other.one(mqtt.PUBACK); !pub.paused || other.paused {
			t.Errorf("paused: the publisher %v, another %v", pub.paused, other.paused)
		}
		c.nodes[0].full, c.nodes[0].silent = false, false
		for _, confirm := range c.nodes[0].kept {
			confirm()
		}
		c.settle()
		if got := payloads(sub.recv()); !slices.Equal(got, []string{"2"}) {
			t.Errorf("got %v after the peer caught up, want the second", got)
		}
	})
}

func TestNoLocal(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCell(t, 1, 1, nil)
		conn := c.connect(0, 0, "c")
		conn.send(&mqtt.Subscribe{PacketID: 1, Filters: []mqtt.Subscription{{Filter: []byte("t"), NoLocal: true}}})
		conn.recv()
		conn.publish("t", "x", 0, 0)
		conn.none()
	})
}

func TestBadFilterIsRefusedAlone(t *testing.T) {
	inBubble(t, func(t *testing.T) { // cases 13, 14
		c := newCell(t, 1, 1, nil)
		conn := c.connect(0, 0, "c")
		conn.send(&mqtt.Subscribe{PacketID: 1, Filters: []mqtt.Subscription{
			{Filter: []byte("a#")}, {Filter: []byte("a/b"), QoS: 1}, {Filter: []byte("$share/g")},
		}})
		want := []mqtt.Reason{mqtt.TopicFilterInvalid, mqtt.GrantedQoS1, mqtt.TopicFilterInvalid}
		if got := conn.one(mqtt.SUBACK).Suback.Reasons; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		conn.send(&mqtt.Subscribe{PacketID: 2, Filters: []mqtt.Subscription{{Filter: []byte("$share/g/a"), NoLocal: true}}})
		if d := conn.one(mqtt.DISCONNECT).Disconnect; d.Reason != mqtt.ProtocolError {
			t.Errorf("no-local on a share group: %v", d.Reason)
		}
	})
}

func TestReservedTopicsAreTheServers(t *testing.T) {
	inBubble(t, func(t *testing.T) { // case 41
		c := newCell(t, 1, 1, nil)
		conn := c.connect(0, 0, "c")
		conn.publish("$SYS/x", "x", 1, 1)
		if ack := conn.one(mqtt.PUBACK).Ack; ack.Reason != mqtt.NotAuthorized {
			t.Errorf("reason %v", ack.Reason)
		}
	})
}

func TestRetainedReachesLaterSubscribers(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCell(t, 1, 2, nil)
		pub := c.connect(0, 0, "pub")
		const n = 300 // several pages
		for i := range n {
			pub.send(&mqtt.Publish{Topic: fmt.Appendf(nil, "r/%d", i), Payload: []byte("v"), QoS: 1, PacketID: 1, Retain: true})
			if ack := pub.one(mqtt.PUBACK).Ack; ack.Reason >= 0x80 {
				t.Fatal(ack.Reason)
			}
		}
		sub := c.connect(0, 1, "sub")
		sub.subscribe("other", 0)
		sub.send(&mqtt.Subscribe{PacketID: 1, Filters: []mqtt.Subscription{{Filter: []byte("r/#")}}})
		ps := sub.recv()
		if len(ps) != n+1 || ps[0].Kind != mqtt.SUBACK || !ps[1].Publish.Retain {
			t.Fatalf("got %d packets, want SUBACK and %d retained messages", len(ps), n)
		}
		pub.send(&mqtt.Publish{Topic: []byte("r/7"), QoS: 1, PacketID: 1, Retain: true})
		pub.recv()
		sub2 := c.connect(0, 1, "sub2")
		sub2.send(&mqtt.Subscribe{PacketID: 1, Filters: []mqtt.Subscription{{Filter: []byte("r/7")}, {Filter: []byte("r/8"), RetainHandling: 2}}})
		sub2.one(mqtt.SUBACK) // deleted, and not wanted
	})
}

func TestPublishDoesNotOvertakeARetainedOne(t *testing.T) {
	inBubble(t, func(t *testing.T) { // P7
		c := newCell(t, 1, 1, nil)
		sub, pub := c.connect(0, 0, "sub"), c.connect(0, 0, "pub")
		sub.subscribe("t", 0)
		for i := range 10 {
			p := mqtt.Publish{Topic: []byte("t"), Payload: fmt.Append(nil, i), Retain: i%3 == 0}
			pub.in = p.Append(pub.in, mqtt.V5)
		}
		c.settle()
		if got := payloads(sub.recv()); !slices.IsSorted(got) || len(got) != 10 {
			t.Errorf("got %v", got)
		}
	})
}

func TestQoS2DoesNotOvertakeARetainedOne(t *testing.T) {
	inBubble(t, func(t *testing.T) { // P7, with an identifier to commit before each (R1)
		c := newCell(t, 1, 1, nil)
		sub, pub := c.connect(0, 0, "sub"), c.dial(0, 0)
		sub.subscribe("t", 0)
		pub.send(&mqtt.Connect{Version: mqtt.V5, ClientID: []byte("pub"), SessionExpiry: 100})
		pub.recv()
		for i := range 10 {
			p := mqtt.Publish{Topic: []byte("t"), Payload: fmt.Append(nil, i), Retain: i%3 == 0, QoS: 2, PacketID: uint16(i) + 1}
			pub.in = p.Append(pub.in, mqtt.V5)
		}
		c.settle()
		if got := payloads(sub.recv()); !slices.IsSorted(got) || len(got) != 10 {
			t.Errorf("got %v", got)
		}
	})
}

func TestPersistentSessionQueuesWhileAway(t *testing.T) {
	inBubble(t, func(t *testing.T) { // P1, P3
		c := newCell(t, 1, 2, nil)
		away := c.dial(0, 0)
		connect := &mqtt.Connect{Version: mqtt.V5, ClientID: []byte("away"), SessionExpiry: 100}
		away.send(connect)
		away.recv()
		away.subscribe("t", 1)
		away.hangUp()
		pub := c.connect(0, 1, "pub")
		for i := range 5 {
			pub.publish("t", fmt.Sprint(i), 1, 1)
			pub.one(mqtt.PUBACK)
		}
		back := c.dial(0, 1)
		back.send(connect)
		ps := back.recv()
		if ps[0].Kind != mqtt.CONNACK || !ps[0].Connack.SessionPresent {
			t.Fatalf("got %v", kinds(ps))
		}
		if got := payloads(ps); !slices.Equal(got, []string{"0", "1", "2", "3", "4"}) {
			t.Errorf("got %v", got)
		}
		for _, p := range ps[1:] {
			if p.Publish.Dup {
				t.Error("DUP on a first delivery")
			}
		}
		back.ack(ps[1].Publish.PacketID)
		back.hangUp()
		again := c.dial(0, 0)
		again.send(connect)
		ps = again.recv()
		if got := payloads(ps); !slices.Equal(got, []string{"1", "2", "3", "4"}) {
			t.Errorf("got %v after one acknowledgement", got)
		}
		if !ps[1].Publish.Dup {
			t.Error("no DUP on a resend (S3)")
		}
	})
}

func TestPersistentQoS2IsExactlyOnceAcrossReconnects(t *testing.T) {
	inBubble(t, func(t *testing.T) { // P2, R1, S2
		c := newCell(t, 1, 1, nil)
		subConnect := &mqtt.Connect{Version: mqtt.V5, ClientID: []byte("sub"), SessionExpiry: 100}
		pubConnect := &mqtt.Connect{Version: mqtt.V5, ClientID: []byte("pub"), SessionExpiry: 100}
		sub := c.dial(0, 0)
		sub.send(subConnect)
		sub.recv()
		sub.subscribe("t", 2)
		pub := c.dial(0, 0)
		pub.send(pubConnect)
		pub.recv()
		pub.publish("t", "once", 2, 9)
		pub.one(mqtt.PUBREC)
		pub.hangUp() // before PUBREL: the client will send the PUBLISH again
		pub = c.dial(0, 0)
		pub.send(pubConnect)
		pub.recv()
		pub.send(&mqtt.Publish{Dup: true, Topic: []byte("t"), Payload: []byte("once"), QoS: 2, PacketID: 9})
		pub.one(mqtt.PUBREC)
		pub.send(&mqtt.Ack{Kind: mqtt.PUBREL, PacketID: 9})
		pub.one(mqtt.PUBCOMP)
		p := sub.one(mqtt.PUBLISH).Publish
		sub.send(&mqtt.Ack{Kind: mqtt.PUBREC, PacketID: p.PacketID})
		sub.one(mqtt.PUBREL)
		sub.hangUp()
		sub = c.dial(0, 0)
		sub.send(subConnect)
		if ps := sub.recv(); len(ps) != 2 || ps[1].Kind != mqtt.PUBREL || ps[1].Ack.PacketID != p.PacketID {
			t.Errorf("resume sent %v, want PUBREL only", kinds(ps))
		}
	})
}

func TestResentQoS2ReachesNoLiveSubscriberTwice(t *testing.T) {
	inBubble(t, func(t *testing.T) { // P2, R2: the publisher resends what was routed already
		c := newCell(t, 2, 2, nil)
		subs := []*testConn{c.connect(0, 1, "here"), c.connect(1, 0, "there")}
		for _, sub := range subs {
			sub.subscribe("t", 2)
		}
		connect := &mqtt.Connect{Version: mqtt.V5, ClientID: []byte("pub"), SessionExpiry: 100}
		publish := &mqtt.Publish{Topic: []byte("t"), Payload: []byte("once"), QoS: 2, PacketID: 9}
		c.nodes[0].silent = true // so that there is no PUBREC
		for range 3 {
			pub := c.dial(0, 0)
			pub.send(connect)
			pub.recv()
			pub.send(publish)
			pub.none()
			pub.hangUp()
		}
		for i, sub := range subs {
			if got := payloads(sub.recv()); len(got) != 1 {
				t.Errorf("subscriber %d got %v", i, got)
			}
		}
		c.nodes[0].silent = false
		for _, confirm := range c.nodes[0].kept {
			confirm()
		}
		c.sleep(100*time.Second + 700*time.Second) // the session ends, and is forgotten
		for i, n := range c.nodes {
			left := len(n.b.accepted.origins)
			for _, w := range n.b.workers {
				left += len(w.heard.origins)
			}
			if left != 0 {
				t.Errorf("node %d remembers %d publishers that are gone", i, left)
			}
		}
	})
}

func TestQueueMovesOnWhenTheKernelTakesEverything(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCell(t, 1, 1, nil)
		sub, pub := c.connect(0, 0, "sub"), c.connect(0, 0, "pub")
		sub.subscribe("t", 1)
		sub.unsent = 2 << 20 // gathered in this turn, not refused: no Writable comes
		pub.in = (&mqtt.Publish{Topic: []byte("t"), Payload: []byte("x"), QoS: 1, PacketID: 1}).Append(pub.in, mqtt.V5)
		sub.flushed = true
		c.settle()
		if got := payloads(sub.recv()); len(got) != 1 {
			t.Errorf("got %v", got)
		}
	})
}

func TestTakeover(t *testing.T) {
	inBubble(t, func(t *testing.T) { // E2, P5
		c := newCell(t, 1, 2, nil)
		connect := &mqtt.Connect{Version: mqtt.V5, ClientID: []byte("same"), SessionExpiry: 100}
		old := c.dial(0, 0)
		old.send(connect)
		old.recv()
		old.subscribe("t", 1)
		fresh := c.dial(0, 1)
		fresh.send(connect)
		if d := old.one(mqtt.DISCONNECT).Disconnect; d.Reason != mqtt.SessionTakenOver || !old.closed {
			t.Errorf("old connection: %v, closed %v", d.Reason, old.closed)
		}
		if ack := fresh.one(mqtt.CONNACK).Connack; !ack.SessionPresent {
			t.Error("session lost in takeover (P3)")
		}
		c.connect(0, 0, "pub").publish("t", "x", 1, 1)
		if got := payloads(fresh.recv()); len(got) != 1 {
			t.Errorf("got %v", got)
		}
	})
}

func TestWill(t *testing.T) {
	inBubble(t, func(t *testing.T) { // P6
		c := newCell(t, 1, 2, nil)
		watcher := c.connect(0, 1, "watcher")
		watcher.subscribe("will/#", 1)
		connect := func(delay, expiry uint32) *testConn {
			conn := c.dial(0, 0)
			conn.send(&mqtt.Connect{Version: mqtt.V5, ClientID: []byte("w"), SessionExpiry: expiry, HasWill: true,
				Will: mqtt.Will{Topic: []byte("will/w"), Payload: []byte("gone"), QoS: 1, Delay: delay}})
			conn.recv()
			return conn
		}
		connect(0, 0).hangUp()
		if got := payloads(watcher.recv()); len(got) != 1 {
			t.Errorf("after a broken connection: %v", got)
		}
		connect(0, 0).send(&mqtt.Disconnect{})
		watcher.none() // [MQTT-3.14.4-3]
		connect(0, 0).send(&mqtt.Disconnect{Reason: mqtt.DisconnectWithWill})
		if got := payloads(watcher.recv()); len(got) != 1 {
			t.Errorf("after DISCONNECT 0x04: %v", got)
		}
		connect(5, 100).hangUp()
		c.sleep(2 * time.Second)
		watcher.none()
		back := connect(5, 100) // resumed in time
		c.sleep(10 * time.Second)
		watcher.none()
		back.hangUp()
		c.sleep(10 * time.Second)
		if got := payloads(watcher.recv()); len(got) != 1 {
			t.Errorf("after the will delay: %v", got)
		}
	})
}

func TestShareGroupGivesEachMessageToOneMember(t *testing.T) {
	inBubble(t, func(t *testing.T) { // P9
		c := newCell(t, 2, 2, nil)
		members := []*testConn{c.connect(0, 0, "m0"), c.connect(0, 1, "m1"), c.connect(1, 0, "m2")}
		for _, m := range members {
			m.subscribe("$share/g/t", 1)
		}
		pub := c.connect(0, 0, "pub")
		got := map[string]int{}
		per := make([]int, len(members))
		for i := range 30 {
			pub.publish("t", fmt.Sprint(i), 1, 1)
			pub.one(mqtt.PUBACK)
			for j, m := range members {
				for _, p := range m.recv() {
					got[string(p.Publish.Payload)]++
					per[j]++
					m.ack(p.Publish.PacketID)
				}
			}
		}
		for i := range 30 {
			if got[fmt.Sprint(i)] != 1 {
				t.Errorf("message %d delivered %d times", i, got[fmt.Sprint(i)])
			}
		}
		for j, n := range per {
			if n != 10 {
				t.Errorf("member %d got %d, want its share of 10", j, n)
			}
		}
		if n := len(c.nodes[0].loops[0].handler.(*worker).loans.slots); n > 1 {
			t.Errorf("%d loans for messages that were acknowledged one by one", n)
		}
	})
}

func TestShareGroupHandsOnWhatADepartedMemberLeft(t *testing.T) {
	for name, depart := range map[string]func(c *cell, m *testConn){
		"member here dies":        func(_ *cell, m *testConn) { m.hangUp() },
		"member of a peer dies":   func(_ *cell, m *testConn) { m.hangUp() },
		"node of the member dies": func(c *cell, m *testConn) { m.loop.node.kill() },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) { // P9
				c := newCell(t, 2, 2, nil)
				node := 1
				if name == "member here dies" {
					node = 0
				}
				victim, heir := c.connect(node, 1, "victim"), c.connect(0, 0, "heir")
				victim.subscribe("$share/g/t", 1)
				heir.subscribe("$share/g/t", 1)
				pub := c.connect(0, 1, "pub")
				for i := range 6 {
					pub.publish("t", fmt.Sprint(i), 1, 1)
					pub.one(mqtt.PUBACK)
				}
				first := payloads(heir.recv())
				lost := payloads(victim.recv())
				if len(first) != 3 || len(lost) != 3 {
					t.Fatalf("members got %v and %v", first, lost)
				}
				depart(c, victim)
				rest := payloads(heir.recv())
				slices.Sort(rest)
				if !slices.Equal(rest, lost) {
					t.Errorf("the heir got %v of %v", rest, lost)
				}
			})
		})
	}
}

func TestSharedQoS2ThatWasSentEndsWithItsMember(t *testing.T) {
	inBubble(t, func(t *testing.T) { // P9, [MQTT-4.8.2-5]
		c := newCell(t, 1, 1, nil)
		victim := c.connect(0, 0, "victim")
		victim.subscribe("$share/g/t", 2)
		pub := c.connect(0, 0, "pub")
		pub.publish("t", "sent", 2, 1)
		heir := c.connect(0, 0, "heir")
		heir.subscribe("$share/g/t", 2)
		victim.hangUp()
		heir.none()
		c.sleep(time.Second)
		if s := c.nodes[0].b.Stats(); s.SharedEnded != 1 {
			t.Errorf("counted %d, want 1", s.SharedEnded)
		}
	})
}

func TestSlowConsumerQueuesAndDropsQoS0(t *testing.T) {
	inBubble(t, func(t *testing.T) { // case 29
		c := newCell(t, 1, 1, nil)
		sub, pub := c.connect(0, 0, "sub"), c.connect(0, 0, "pub")
		sub.subscribe("t", 1)
		sub.unsent = 2 << 20
		pub.publish("t", "dropped", 0, 0)
		pub.publish("t", "queued", 1, 1)
		if pub.one(mqtt.PUBACK); pub.paused {
			t.Error("its publisher waits for it")
		}
		sub.none()
		if n := sub.loop.worker().counters.Dropped[session.QueueFull]; n != 1 {
			t.Errorf("%d deliveries counted as dropped", n)
		}
		sub.unsent = 0
		sub.loop.handler.Writable(sub.id)
		c.settle()
		if got := payloads(sub.recv()); !slices.Equal(got, []string{"queued"}) {
			t.Errorf("got %v", got)
		}
	})
}

func TestUnsubscribe(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCell(t, 1, 1, nil)
		for _, expiry := range []uint32{0, 100} {
			conn := c.dial(0, 0)
			conn.send(&mqtt.Connect{Version: mqtt.V5, ClientID: []byte("c"), SessionExpiry: expiry})
			conn.recv()
			conn.subscribe("t", 1)
			conn.send(&mqtt.Unsubscribe{PacketID: 3, Filters: [][]byte{[]byte("t"), []byte("never")}})
			want := []mqtt.Reason{mqtt.Success, mqtt.NoSubscriptionExisted}
			if got := conn.one(mqtt.UNSUBACK).Suback.Reasons; !slices.Equal(got, want) {
				t.Errorf("expiry %d: got %v, want %v", expiry, got, want)
			}
			conn.publish("t", "x", 0, 0)
			conn.none()
			conn.hangUp()
		}
	})
}

func TestKickAndList(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCell(t, 1, 2, nil)
		conn := c.connect(0, 1, "victim")
		conn.subscribe("t", 0)
		done := make(chan struct{})
		go func() {
			defer close(done)
			list, err := c.nodes[0].b.Clients(t.Context())
			if err != nil || len(list) != 1 || list[0].ClientID != "victim" || list[0].Subscriptions != 1 {
				t.Errorf("got %+v, %v", list, err)
			}
			if n, err := c.nodes[0].b.Kick(t.Context(), "victim"); n != 1 || err != nil {
				t.Errorf("kicked %d, %v", n, err)
			}
		}()
		c.settle()
		<-done
		if d := conn.one(mqtt.DISCONNECT).Disconnect; d.Reason != mqtt.AdministrativeAction {
			t.Errorf("reason %v", d.Reason)
		}
	})
}

func TestStatusTopics(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		connected := "1"
		c := newCell(t, 2, 2, func(o *Options) {
			o.Status = func(yield func(topic, value string)) {
				yield("$SYS/broker/version", "x")
				yield("$SYS/broker/clients/connected", connected)
			}
		})
		conn := c.connect(0, 1, "c")
		conn.send(&mqtt.Subscribe{PacketID: 1, Filters: []mqtt.Subscription{{Filter: []byte("#")}, {Filter: []byte("$SYS/broker/clients/#")}}})
		ps := conn.recv()
		if got := payloads(ps); !slices.Equal(got, []string{"1"}) || !ps[1].Publish.Retain {
			t.Fatalf("got %v, want the value of the moment, retained", got)
		}
		connected = "2"
		c.sleep(10 * time.Second)
		ps = conn.recv()
		if got := payloads(ps); len(got) == 0 || got[len(got)-1] != "2" || ps[0].Publish.Retain {
			t.Errorf("got %v", got)
		}
	})
}
