package broker

import (
	"fmt"
	"testing"

	"dunlin/proto/mqtt"
)

// [MQTT-3.1.2-24]: nothing larger than its Maximum Packet Size is sent to a client. One
// that does not take CONNACK is refused before it takes over anything.
func TestConnackThatIsTooLarge(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCell(t, 1, 1, nil)
		whole := func(id string) int {
			conn := c.dial(0, 0)
			conn.send(&mqtt.Connect{Version: mqtt.V5, CleanStart: true, ClientID: []byte(id)})
			size := len(conn.out)
			conn.hangUp()
			return size
		}
		holder := c.persistent(0, 0, "c")
		for _, test := range []struct {
			name, id string
			max      int
			want     mqtt.Reason
			silent   bool
		}{
			{"fits", "d", whole("d"), mqtt.Success, false},
			{"one less", "c", whole("d") - 1, mqtt.PacketTooLarge, false},
			{"fits but for the identifier", "", whole("d"), mqtt.PacketTooLarge, false},
			{"fits with the identifier", "", whole(""), mqtt.Success, false},
			{"a refusal fits", "c", 5, mqtt.PacketTooLarge, false},
			{"nothing fits", "c", 4, 0, true},
		} {
			conn := c.dial(0, 0)
			conn.send(&mqtt.Connect{Version: mqtt.V5, CleanStart: true, ClientID: []byte(test.id), MaximumPacketSize: uint32(test.max)})
			if len(conn.out) > test.max {
				t.Errorf("%s: %d bytes for a client that takes %d", test.name, len(conn.out), test.max)
			}
			if test.silent {
				conn.none()
			} else if got := conn.one(mqtt.CONNACK).Connack.Reason; got != test.want {
				t.Errorf("%s: CONNACK %v, want %v", test.name, got, test.want)
			}
			if closed := test.want != mqtt.Success || test.silent; conn.closed != closed {
				t.Errorf("%s: closed: %v", test.name, conn.closed)
			}
		}
		if holder.none(); holder.closed {
			t.Error("a refused client took the session over")
		}
	})
}

// The same of SUBACK and UNSUBACK: what cannot be answered is not done (P4).
func TestSubackThatIsTooLarge(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCell(t, 1, 1, nil)
		const max = 40
		for _, expiry := range []uint32{0, 100} {
			dial := func() *testConn {
				conn := c.dial(0, 0)
				conn.send(&mqtt.Connect{Version: mqtt.V5, ClientID: []byte("c"), SessionExpiry: expiry, MaximumPacketSize: max})
				conn.one(mqtt.CONNACK)
				return conn
			}
			pub := c.connect(0, 0, "pub")
			for _, unsubscribe := range []bool{false, true} {
				conn := dial()
				var p interface {
					Append([]byte, mqtt.Version) []byte
				} = &mqtt.Subscribe{PacketID: 1, Filters: subscriptions(max - 4)}
				if unsubscribe {
					p = &mqtt.Unsubscribe{PacketID: 1, Filters: filters(max - 4)}
				}
				conn.send(p)
				if got := conn.one(mqtt.DISCONNECT).Disconnect.Reason; got != mqtt.PacketTooLarge || !conn.closed {
					t.Errorf("expiry %d: DISCONNECT %v", expiry, got)
				}
				conn = dial()
				pub.publish("t/0", "", 1, 1)
				if got := pub.one(mqtt.PUBACK).Ack.Reason; got != mqtt.NoMatchingSubscribers {
					t.Errorf("expiry %d: something was subscribed to", expiry)
				}
				conn.send(&mqtt.Subscribe{PacketID: 1, Filters: subscriptions(max - 5)})
				if got := len(conn.one(mqtt.SUBACK).Suback.Reasons); got != max-5 {
					t.Errorf("expiry %d: %d granted", expiry, got)
				}
				conn.send(&mqtt.Unsubscribe{PacketID: 2, Filters: filters(max - 5)})
				conn.one(mqtt.UNSUBACK)
			}
		}
	})
}

// filters are n of them, t/0 and so on.
func filters(n int) (fs [][]byte) {
	for i := range n {
		fs = append(fs, fmt.Append(nil, "t/", i))
	}
	return fs
}

func subscriptions(n int) (ss []mqtt.Subscription) {
	for _, f := range filters(n) {
		ss = append(ss, mqtt.Subscription{Filter: f, QoS: 1})
	}
	return ss
}
