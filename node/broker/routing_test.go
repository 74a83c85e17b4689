package broker

import (
	"testing"

	"dunlin/cluster"
	"dunlin/proto/mqtt"
	"dunlin/router"
	"dunlin/session"
)

// dialPersistent connects a client whose session stays.
func (c *cell) dialPersistent(node, loop int, id string) *testConn {
	c.t.Helper()
	conn := c.dial(node, loop)
	conn.send(&mqtt.Connect{Version: mqtt.V5, ClientID: []byte(id), SessionExpiry: 100})
	conn.one(mqtt.CONNACK)
	return conn
}

func TestSubackWaitsForTheRoutesOfItsShard(t *testing.T) {
	inBubble(t, func(t *testing.T) { // P4, E4
		c := newCell(t, 1, 1, nil)
		var syncing []func(ok bool)
		c.nodes[0].syncing = func(done func(ok bool)) { syncing = append(syncing, done) }
		subscribe := func(id string) *testConn {
			conn := c.dialPersistent(0, 0, id)
			conn.send(&mqtt.Subscribe{PacketID: 7, Filters: []mqtt.Subscription{{Filter: []byte("t"), QoS: 1}}})
			conn.none()
			return conn
		}
		first, second := subscribe("first"), subscribe("second")
		if len(syncing) != 2 {
			t.Fatalf("asked %d times for the routes of two turns", len(syncing))
		}
		syncing[0](true)
		c.settle()
		if ack := first.one(mqtt.SUBACK); ack.Suback.PacketID != 7 {
			t.Errorf("got %v", ack)
		}
		second.none()

		syncing[1](false) // what is not known is not promised
		c.settle()
		second.none()
		if !second.closed {
			t.Error("a connection stays that waits for a SUBACK that nobody will send")
		}
		c.connect(0, 0, "ephemeral").subscribe("t", 1) // is in no shard
		if len(syncing) != 2 {
			t.Error("the routes of a shard were waited for without need")
		}
	})
}

// A message reaches a shard from the node that took it, and from no other: a
// second copy of QoS 1 would not be known as one (R2).
func TestForwardedMessagesReachNoShard(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCell(t, 2, 1, nil)
		stored, live := c.dialPersistent(1, 0, "stored"), c.connect(1, 0, "live")
		stored.subscribe("t", 1)
		live.subscribe("t", 1)
		topic, err := router.ParseTopic([]byte("t"))
		if err != nil {
			t.Fatal(err)
		}
		b, m := c.nodes[1].b, session.Message{Topic: topic, Payload: []byte("x"), QoS: 1}
		confirmed := false
		b.Forwarded(c.nodes[1].peer(c.nodes[0]), cluster.AppendMessage(nil, m.Append(nil, b.Clock())),
			func() { confirmed = true })
		c.settle()
		live.one(mqtt.PUBLISH)
		stored.none()
		if !confirmed {
			t.Error("the frame is not confirmed")
		}
	})
}
