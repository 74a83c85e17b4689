package broker

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"dunlin/cluster"
	"dunlin/proto/mqtt"
)

// What became of a frame decides what its publishers are told: nothing and the end
// of the connection if nobody knows (R6), for there are live subscribers who may
// not have it.
func TestPublisherLearnsTheFateOfAFrame(t *testing.T) {
	for fate, answered := range map[cluster.Fate]bool{cluster.Accepted: true, cluster.Gone: true, cluster.Unknown: false} {
		inBubble(t, func(t *testing.T) {
			c := newCell(t, 2, 1, nil)
			sub, pub := c.connect(1, 0, "sub"), c.connect(0, 0, "pub")
			sub.subscribe("t", 1)
			c.nodes[0].fate = fate
			pub.publish("t", "x", 1, 1)
			if answered {
				pub.one(mqtt.PUBACK)
			} else {
				pub.none()
			}
			if pub.closed == answered {
				t.Errorf("fate %d: connection closed: %v", fate, pub.closed)
			}
		})
	}
}

// Who publishes to a peer that is behind is read from again when it has caught up,
// and not before: else each publisher would add a message now and then.
func TestStalledUntilThePeerHasCaughtUp(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCell(t, 2, 1, nil)
		sub, pub := c.connect(1, 0, "sub"), c.connect(0, 0, "pub")
		sub.subscribe("t", 1)
		c.nodes[0].full = true
		for i := range uint16(3) {
			pub.publish("t", "x", 1, i+1)
		}
		c.sleep(time.Second)
		if got := payloads(sub.recv()); len(got) != 1 {
			t.Errorf("%d messages for a peer that is full", len(got))
		}
		c.nodes[0].full = false
		c.sleep(time.Second)
		if got := payloads(sub.recv()); len(got) != 2 {
			t.Errorf("%d messages when it is not", len(got))
		}
	})
}

// A peer that forgot this node reports on none of the messages lent to it: they
// are given to members anew (P9).
func TestLoansToAForgetfulPeerAreMadeAnew(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCell(t, 2, 1, nil)
		member, pub := c.connect(1, 0, "member"), c.connect(0, 0, "pub")
		member.subscribe("$share/g/t", 1)
		for _, s := range []string{"a", "b"} {
			pub.publish("t", s, 1, 1)
			pub.one(mqtt.PUBACK)
		}
		if got := payloads(member.recv()); !slices.Equal(got, []string{"a", "b"}) {
			t.Fatalf("got %v", got)
		}
		heir := c.connect(0, 0, "heir")
		heir.subscribe("$share/g/t", 1)
		c.nodes[0].b.Forgotten(c.nodes[0].peer(c.nodes[1]))
		c.settle()
		got := append(payloads(heir.recv()), payloads(member.recv())...)
		slices.Sort(got)
		if !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("lent anew: %v", got)
		}
	})
}

// Between a peer's end as a member and Left its routes still stand: what is lent to
// it meanwhile waits, and keeps no loop busy.
func TestLoansToANodeThatIsLeavingWait(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCell(t, 2, 1, nil)
		member, pub := c.connect(1, 0, "member"), c.connect(0, 0, "pub")
		member.subscribe("$share/g/t", 1)
		c.nodes[1].dead = true
		pub.publish("t", "x", 1, 1)
		pub.one(mqtt.PUBACK)
		heir := c.connect(0, 0, "heir")
		heir.subscribe("$share/g/t", 1)
		heir.none()
		c.nodes[1].kill()
		if got := payloads(heir.recv()); !slices.Equal(got, []string{"x"}) {
			t.Errorf("the heir got %v", got)
		}
	})
}

// The number of a node that is gone may become another's. A member who has a
// message that the first one lent answers nobody then.
func TestALoanEndsWithTheLendersNode(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCell(t, 2, 1, nil)
		a, b := c.nodes[0], c.nodes[1]
		member, pub := c.connect(1, 0, "member"), c.connect(0, 0, "pub")
		member.subscribe("$share/g/t", 1)
		pub.publish("t", "old", 1, 1)
		old := member.one(mqtt.PUBLISH).Publish
		b.b.Left(cluster.Node{ID: b.peer(a)})
		c.settle()

		// Another node with the same number, handles and a message of its own.
		b.b.Joined(cluster.Node{ID: b.peer(a)})
		member.ack(old.PacketID)
		if n := a.loops[0].handler.(*worker).loans.bytes; n == 0 {
			t.Error("a message of another lender was settled")
		}
	})
}

// A member who acknowledges nothing has no room in the end. Whoever else is in the
// group, on whatever loop or node, gets what would have been its share (P9).
func TestFullMemberIsPassedOver(t *testing.T) {
	type place struct{ node, loop int }
	for name, other := range map[string]place{
		"another loop of its node": {1, 1}, "its loop": {1, 0}, "the publisher's loop": {0, 0},
		"the publisher's node": {0, 1}, "a third node": {2, 0}, "nobody": {-1, 0},
	} {
		for _, stuck := range []place{{1, 0}, {0, 1}} {
			t.Run(fmt.Sprintf("%s, stuck on node %d", name, stuck.node), func(t *testing.T) {
				inBubble(t, func(t *testing.T) {
					c := newCell(t, 3, 2, func(o *Options) { o.Session.MaxQueueMessages = 5 })
					stuck := c.connect(stuck.node, stuck.loop, "stuck")
					stuck.subscribe("$share/g/t", 1)
					var healthy *testConn
					if other.node >= 0 {
						healthy = c.connect(other.node, other.loop, "healthy")
						healthy.subscribe("$share/g/t", 1)
					}
					pub := c.connect(0, 0, "pub")
					const messages, room = 100, 20 + 5 // in flight and in the queue
					got := 0
					for i := range uint16(messages) {
						pub.publish("t", "x", 1, i+1)
						pub.one(mqtt.PUBACK)
						if healthy != nil {
							for _, p := range healthy.recv() {
								healthy.ack(p.Publish.PacketID)
								got++
							}
						}
					}
					c.sleep(time.Second)
					dropped := uint64(0)
					for _, n := range c.nodes {
						s := n.b.Stats()
						dropped += s.SharedDropped
						for _, d := range s.Dropped {
							dropped += d
						}
					}
					if healthy == nil {
						got = int(dropped)
					} else if dropped != 0 {
						t.Errorf("%d dropped", dropped)
					}
					if got != messages-room {
						t.Errorf("%d of %d passed over the member who has no room", got, messages-room)
					}
				})
			})
		}
	}
}
