package broker

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"dunlin/proto/mqtt"
	"dunlin/raftstore"
	"dunlin/router"
)

// back connects a client again whose session was kept.
func (c *cell) back(node, loop int, id string) (conn *testConn, resent []*mqtt.Packet) {
	c.t.Helper()
	conn = c.dial(node, loop)
	conn.send(&mqtt.Connect{Version: mqtt.V5, ClientID: []byte(id), SessionExpiry: 100})
	ps := conn.recv()
	if len(ps) == 0 || ps[0].Kind != mqtt.CONNACK || !ps[0].Connack.SessionPresent {
		c.t.Fatalf("%s is back: %v", id, kinds(ps))
	}
	return conn, ps[1:]
}

// publishAll publishes with each an answer.
func (c *testConn) publishAll(topic string, qos mqtt.QoS, ps ...string) {
	c.cell.t.Helper()
	for i, p := range ps {
		c.publish(topic, p, qos, uint16(i+1))
		c.one([...]mqtt.Kind{0, mqtt.PUBACK, mqtt.PUBREC}[qos])
		if qos == 2 {
			c.send(&mqtt.Ack{Kind: mqtt.PUBREL, PacketID: uint16(i + 1)})
			c.one(mqtt.PUBCOMP)
		}
	}
}

// take takes deliveries and acknowledges them.
func (c *testConn) take() (got []string) {
	for {
		ps := c.recv()
		for _, p := range ps {
			switch p.Kind {
			case mqtt.PUBLISH:
				got = append(got, string(p.Publish.Payload))
				if p.Publish.QoS == 1 {
					c.ack(p.Publish.PacketID)
				} else if p.Publish.QoS == 2 {
					c.send(&mqtt.Ack{Kind: mqtt.PUBREC, PacketID: p.Publish.PacketID})
				}
			case mqtt.PUBREL:
				c.send(&mqtt.Ack{Kind: mqtt.PUBCOMP, PacketID: p.Ack.PacketID})
			}
		}
		if len(ps) == 0 {
			return got
		}
	}
}

func same(t *testing.T, who string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s got %q, want %q", who, got, want)
	}
}

// gate is a store whose answers can be kept back.
type gate struct {
	*raftstore.Store
	shut bool
	kept []func()
}

func (g *gate) Submit(sh router.ShardID, cmd raftstore.Command, done func(raftstore.Result)) {
	if !g.shut || done == nil {
		g.Store.Submit(sh, cmd, done)
		return
	}
	g.kept = append(g.kept, func() { g.Store.Submit(sh, cmd, done) })
}

// P9: a group with a persistent member keeps messages for it while it is away, and
// publishers are answered when they are committed.
func TestSharedMessagesWaitForAPersistentMember(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCell(t, 1, 2, nil)
		n := c.nodes[0]
		member := c.persistent(0, 0, "member")
		member.subscribe("$share/g/t", 1)
		member.hangUp()
		pub := c.connect(0, 1, "pub")
		g := &gate{Store: n.store, shut: true}
		n.b.Attach(g, n.store, n.store, n, n)
		pub.publish("t", "1", 1, 1)
		pub.none()
		if len(g.kept) != 1 {
			t.Fatalf("%d commands for the group's shard", len(g.kept))
		}
		g.shut = false
		g.kept[0]()
		c.settle()
		pub.one(mqtt.PUBACK)
		pub.publishAll("t", 1, "2", "3")
		member, resent := c.back(0, 1, "member")
		same(t, "member", payloads(resent), "1", "2", "3")
		member.hangUp()
		member, resent = c.back(0, 0, "member") // it had acknowledged nothing
		same(t, "member", payloads(resent), "1", "2", "3")
		for _, p := range resent {
			if p.Publish.Dup {
				t.Error("a message that had gone back to the group comes as a resend")
			}
			member.ack(p.Publish.PacketID)
		}
		pub.publishAll("t", 1, "4")
		same(t, "member", member.take(), "4")
	})
}

// P9, [MQTT-4.8.2-4, -5]: a member dies in the middle of its messages.
func TestSharedMessagesOfAPersistentMemberThatDies(t *testing.T) {
	for _, qos := range []mqtt.QoS{1, 2} {
		t.Run(fmt.Sprint("QoS ", qos), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				c := newCell(t, 1, 2, nil)
				a, b := c.persistent(0, 0, "a"), c.persistent(0, 1, "b")
				a.subscribe("$share/g/t", 2)
				b.subscribe("$share/g/t", 2)
				pub := c.connect(0, 1, "pub")
				pub.publishAll("t", qos, "1", "2", "3", "4")
				same(t, "a", payloads(a.recv()), "1", "3")
				same(t, "b", b.take(), "2", "4")
				a.hangUp()
				if qos == 1 {
					same(t, "b", b.take(), "1", "3")
				} else {
					same(t, "b", b.take())
				}
				_, resent := c.back(0, 1, "a")
				if qos == 1 {
					same(t, "a", payloads(resent))
					return
				}
				same(t, "a", payloads(resent), "1", "3")
				if !resent[0].Publish.Dup {
					t.Error("what was sent comes again without DUP (S3)")
				}
			})
		})
	}
}

// Ephemeral members of a queue, with and without an identifier of their own, get
// their part and give back what they leave.
func TestEphemeralMembersOfAQueue(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCell(t, 1, 2, nil)
		e := c.connect(0, 0, "e")
		e.subscribe("$share/g/t", 1)
		pub := c.connect(0, 1, "pub")
		pub.publishAll("t", 1, "alone")
		nobody := c.dial(0, 1)
		nobody.send(&mqtt.Connect{Version: mqtt.V5, CleanStart: true})
		nobody.one(mqtt.CONNACK)
		nobody.subscribe("$share/g/t", 1)
		p := c.persistent(0, 1, "p")
		p.subscribe("$share/g/t", 1)
		same(t, "e", payloads(e.recv()), "alone") // not acknowledged: it is e's still

		pub.publishAll("t", 1, "1", "2", "3", "4", "5", "6")
		got := map[string]int{}
		mine := payloads(e.recv())
		for _, conn := range []*testConn{nobody, p} {
			part := conn.take()
			if len(part) != 2 {
				t.Errorf("a member got %q, want its share of 2", part)
			}
			for _, m := range part {
				got[m]++
			}
		}
		if len(mine) != 2 {
			t.Errorf("e got %q, want its share of 2", mine)
		}
		e.hangUp()
		for _, conn := range []*testConn{nobody, p} {
			for _, m := range conn.take() {
				got[m]++
			}
		}
		for _, m := range []string{"alone", "1", "2", "3", "4", "5", "6"} {
			if got[m] != 1 {
				t.Errorf("%s was taken %d times", m, got[m])
			}
		}
		p.send(&mqtt.Unsubscribe{PacketID: 9, Filters: [][]byte{[]byte("$share/g/t")}})
		if ack := p.one(mqtt.UNSUBACK); ack.Suback.Reasons[0] != mqtt.Success {
			t.Errorf("UNSUBACK %v", ack.Suback.Reasons)
		}
		nobody.send(&mqtt.Unsubscribe{PacketID: 9, Filters: [][]byte{[]byte("$share/g/t")}})
		nobody.one(mqtt.UNSUBACK)
		pub.publish("t", "", 1, 1)
		if ack := pub.one(mqtt.PUBACK); ack.Ack.Reason != mqtt.NoMatchingSubscribers {
			t.Errorf("PUBACK %v with nobody left", ack.Ack.Reason)
		}
	})
}

// Of QoS 2 what was not sent to a member goes to another, what was ends with it.
func TestUnsentSharedMessagesGoBack(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCell(t, 1, 1, nil)
		p := c.persistent(0, 0, "p")
		p.subscribe("$share/g/t", 2)
		e := c.connect(0, 0, "e")
		e.subscribe("$share/g/t", 2)
		p.hangUp()
		pub := c.connect(0, 0, "pub")
		pub.publishAll("t", 2, "sent")
		e.unsent = 2 << 20 // its socket takes nothing
		pub.publishAll("t", 2, "unsent")
		e.hangUp()
		_, ps := c.back(0, 0, "p")
		same(t, "p", payloads(ps), "unsent")
		if n := c.nodes[0].loops[0].handler.(*worker).counters.SharedEnded; n != 1 {
			t.Errorf("counted %d, want 1", n)
		}
	})
}

func TestSharedQoS0OfAQueue(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCell(t, 1, 1, nil)
		a, b := c.persistent(0, 0, "a"), c.connect(0, 0, "b")
		a.subscribe("$share/g/t", 1)
		b.subscribe("$share/g/t", 1)
		pub := c.connect(0, 0, "pub")
		for i := range 4 {
			pub.publish("t", fmt.Sprint(i), 0, 0)
		}
		if x, y := a.take(), b.take(); len(x) != 2 || len(y) != 2 {
			t.Errorf("members got %q and %q", x, y)
		}
		a.hangUp()
		pub.publish("t", "here", 0, 0)
		same(t, "b", b.take(), "here")
	})
}

// What a queue gives is bounded by the queue: the bounds of a member's own neither
// drop it nor, where they drop the oldest, lose it (P9).
func TestGivenMessagesOutlastTheMembersOwnBounds(t *testing.T) {
	for _, dropOldest := range []bool{false, true} {
		t.Run(fmt.Sprint("drop oldest ", dropOldest), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				c := newCell(t, 1, 1, func(o *Options) {
					o.Session.MaxQueueMessages, o.Session.MaxQueueBytes, o.Session.DropOldest = 2, 400, dropOldest
				})
				p := c.persistent(0, 0, "p")
				p.subscribe("$share/g/t", 1)
				p.hangUp()
				e := c.connect(0, 0, "e")
				e.subscribe("$share/g/t", 1)
				e.subscribe("own", 1)
				pub := c.connect(0, 0, "pub")
				e.unsent = 2 << 20 // its socket takes nothing
				var want []string
				for i := range 6 {
					want = append(want, strings.Repeat(fmt.Sprint(i), 100))
				}
				pub.publishAll("t", 1, want...)
				pub.publishAll("own", 1, "a", "b", "c", "d")
				e.unsent = 0
				c.settle()
				var got []string
				for _, m := range e.take() {
					if len(m) == 100 {
						got = append(got, m)
					}
				}
				slices.Sort(got)
				same(t, "e", got, want...)
			})
		})
	}
}
