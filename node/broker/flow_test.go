package broker

import (
	"slices"
	"testing"
	"time"

	"dunlin/node/limit"
	"dunlin/proto/mqtt"
)

// Case 57: who sends too fast is held back, keeps what it has sent, and others do not feel it.
func TestFastPublisherWaits(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCell(t, 1, 1, func(o *Options) { o.Flow = limit.Flow{Messages: 10} })
		sub, pub, other := c.connect(0, 0, "sub"), c.connect(0, 0, "pub"), c.connect(0, 0, "other")
		sub.subscribe("t", 0)
		const n = 100
		for range n {
			pub.queue(&mqtt.Publish{Topic: []byte("t")})
		}
		pub.queue(&mqtt.Packet{Kind: mqtt.PINGREQ})
		c.settle()
		got := len(payloads(sub.recv()))
		if got != 11 || !pub.paused {
			t.Errorf("%d messages at once, paused: %v", got, pub.paused)
		}
		other.publish("t", "", 1, 1)
		other.one(mqtt.PUBACK)
		sub.one(mqtt.PUBLISH)
		for second := 1; second < 9; second++ {
			c.sleep(time.Second)
			if got += len(payloads(sub.recv())); got < 10*(second+1) || got > 10*(second+1)+1 {
				t.Fatalf("%d messages after %d s", got, second)
			}
			pub.none()
		}
		c.sleep(2 * time.Second)
		if got += len(payloads(sub.recv())); got != n || pub.paused || pub.closed {
			t.Errorf("%d messages in the end, paused %v, closed %v", got, pub.paused, pub.closed)
		}
		pub.one(mqtt.PINGRESP)
		if n := c.nodes[0].loops[0].worker().counters.Limited; n[LimitMessageRate] == 0 || n[LimitByteRate]+n[LimitRatePatience] != 0 {
			t.Errorf("counted: %v", n)
		}
	})
}

func TestLargePacketIsPaidFor(t *testing.T) {
	inBubble(t, func(t *testing.T) { // case 57, in bytes
		c := newCell(t, 1, 1, func(o *Options) { o.Flow = limit.Flow{Bytes: 1000} })
		pub := c.connect(0, 0, "pub")
		pub.queue(&mqtt.Publish{Topic: []byte("t"), Payload: make([]byte, 5000), QoS: 1, PacketID: 1}, &mqtt.Publish{Topic: []byte("t"), QoS: 1, PacketID: 2})
		c.settle()
		pub.one(mqtt.PUBACK)
		c.sleep(3900 * time.Millisecond)
		pub.none()
		c.sleep(500 * time.Millisecond)
		pub.one(mqtt.PUBACK)
		if n := c.nodes[0].loops[0].worker().counters.Limited; n[LimitByteRate] == 0 || n[LimitMessageRate] != 0 {
			t.Errorf("counted: %v", n)
		}
	})
}

// Case 57: and who goes on is told, where that is asked for.
func TestFastPublisherIsDisconnected(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCell(t, 1, 1, func(o *Options) { o.Flow = limit.Flow{Messages: 10, Patience: 10 * time.Second} })
		for _, version := range []mqtt.Version{mqtt.V311, mqtt.V5} {
			pub := c.dial(0, 0)
			pub.version = version
			pub.send(&mqtt.Connect{Version: version, CleanStart: true, ClientID: []byte("pub")})
			pub.one(mqtt.CONNACK)
			flood := func() {
				for range 20 {
					pub.queue(&mqtt.Publish{Topic: []byte("t")})
				}
				c.settle()
			}
			flood()
			for range 9 {
				c.sleep(time.Second)
				flood()
			}
			if pub.closed {
				t.Fatalf("%v: closed before its time", version)
			}
			c.sleep(2 * time.Second)
			if !pub.closed {
				t.Fatalf("%v: still there", version)
			}
			if version == mqtt.V311 {
				pub.none()
			} else if got := pub.one(mqtt.DISCONNECT).Disconnect.Reason; got != mqtt.MessageRateTooHigh {
				t.Errorf("DISCONNECT %v", got)
			}
		}
		if n := c.nodes[0].loops[0].worker().counters.Limited[LimitRatePatience]; n != 2 {
			t.Errorf("%d counted", n)
		}
	})
}

// Case 27: what is for nothing counts like a message; what answers us does not, nor does
// PUBREL, whose PUBLISH did.
func TestWhatCountsForTheRate(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCell(t, 1, 1, func(o *Options) { o.Flow = limit.Flow{Messages: 10} })
		const n = 100
		for name, flood := range map[string]func(i uint16) *mqtt.Packet{
			"PUBACK": func(i uint16) *mqtt.Packet {
				return &mqtt.Packet{Kind: mqtt.PUBACK, Ack: mqtt.Ack{Kind: mqtt.PUBACK, PacketID: i}}
			},
			"PUBREC": func(i uint16) *mqtt.Packet {
				return &mqtt.Packet{Kind: mqtt.PUBREC, Ack: mqtt.Ack{Kind: mqtt.PUBREC, PacketID: i}}
			},
			"PUBREL": func(i uint16) *mqtt.Packet {
				return &mqtt.Packet{Kind: mqtt.PUBREL, Ack: mqtt.Ack{Kind: mqtt.PUBREL, PacketID: i}}
			},
			"PUBCOMP": func(i uint16) *mqtt.Packet {
				return &mqtt.Packet{Kind: mqtt.PUBCOMP, Ack: mqtt.Ack{Kind: mqtt.PUBCOMP, PacketID: i}}
			},
			"PINGREQ": func(uint16) *mqtt.Packet { return &mqtt.Packet{Kind: mqtt.PINGREQ} },
			"SUBSCRIBE": func(i uint16) *mqtt.Packet {
				return &mqtt.Packet{Kind: mqtt.SUBSCRIBE, Subscribe: mqtt.Subscribe{PacketID: i, Filters: []mqtt.Subscription{{Filter: []byte("t")}}}}
			},
		} {
			conn := c.connect(0, 0, name)
			w := conn.loop.worker()
			kind := flood(1).Kind
			before := w.counters.Packets[kind]
			for i := range uint16(n) {
				conn.queue(flood(i + 1))
			}
			c.settle()
			if got := w.counters.Packets[kind] - before; got != 11 || !conn.paused {
				t.Errorf("%s: %d taken at once, paused: %v", name, got, conn.paused)
			}
			if len(conn.recv()) > 11 {
				t.Errorf("%s: more answers than packets", name)
			}
			conn.hangUp()
		}

		sub := c.connect(0, 0, "sub")
		sub.subscribe("t", 2)
		for _, name := range []string{"a", "b", "c", "d"} {
			pub := c.connect(0, 0, name)
			for i := range uint16(10) {
				pub.queue(&mqtt.Publish{Topic: []byte("t"), QoS: mqtt.QoS(1 + i%2), PacketID: i + 1})
			}
			c.settle()
			for _, p := range pub.recv() {
				if p.Kind == mqtt.PUBREC {
					pub.queue(&mqtt.Ack{Kind: mqtt.PUBREL, PacketID: p.Ack.PacketID})
				}
			}
			c.settle()
			if got := kinds(pub.recv()); len(got) != 5 || got[0] != mqtt.PUBCOMP || pub.paused {
				t.Errorf("%s: %v, paused: %v", name, got, pub.paused)
			}
		}
		took := 0
		for ps := sub.recv(); len(ps) > 0; ps = sub.recv() {
			for _, p := range ps {
				switch {
				case p.Kind == mqtt.PUBREL:
					sub.queue(&mqtt.Ack{Kind: mqtt.PUBCOMP, PacketID: p.Ack.PacketID})
				case p.Publish.QoS == 2:
					took++
					sub.queue(&mqtt.Ack{Kind: mqtt.PUBREC, PacketID: p.Publish.PacketID})
				default:
					took++
					sub.queue(&mqtt.Ack{Kind: mqtt.PUBACK, PacketID: p.Publish.PacketID})
				}
			}
			c.settle()
		}
		if took != 40 || sub.paused {
			t.Errorf("%d of 40 messages taken, paused: %v", took, sub.paused)
		}
	})
}

// Where nothing is limited nobody has an account, and a place that is free has none of
// whom it was before.
func TestAccountsAreThereWhereTheyAreNeeded(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		for _, f := range []limit.Flow{{}, {Messages: 10}} {
			c := newCell(t, 1, 1, func(o *Options) { o.Flow = f })
			conn := c.connect(0, 0, "c")
			conn.publish("t", "", 0, 0)
			k := conn.loop.worker().conns.chunk(conn.id.Index())
			if has := k.flows != nil; has != f.On() {
				t.Fatalf("%+v: accounts: %v", f, has)
			}
			if conn.hangUp(); k.flows != nil && slices.ContainsFunc(k.flows[:], func(a limit.Account) bool { return a != limit.Account{} }) {
				t.Error("an account outlives its connection")
			}
		}
	})
}
