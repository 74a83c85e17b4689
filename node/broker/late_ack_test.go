package broker

import (
	"strings"
	"testing"

	"dunlin/proto/mqtt"
)

// All but the oldest of 65,535 deliveries are acknowledged, so that there are no packet
// identifiers for more (S1). When that one is acknowledged too, a lot may go out at once.
func TestQueueMovesOnAfterAVeryLateAcknowledgement(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCell(t, 1, 1, func(o *Options) { o.Session.MaxInflight = 0 })
		sub, pub := c.connect(0, 0, "sub"), c.dial(0, 0)
		sub.subscribe("t", 1)
		pub.version = mqtt.V311
		pub.send(&mqtt.Connect{Version: mqtt.V311, CleanStart: true, ClientID: []byte("pub")})
		publish := func(n int, payload string) {
			for i := range n {
				pub.in = (&mqtt.Publish{Topic: []byte("t"), Payload: []byte(payload), QoS: 1, PacketID: uint16(i) + 1}).Append(pub.in, pub.version)
			}
			c.settle()
			pub.recv()
		}
		var oldest uint16
		ack := func() (n int) {
			for _, p := range sub.recv() {
				if n++; oldest == 0 {
					oldest = p.Publish.PacketID
					continue
				}
				sub.in = (&mqtt.Ack{Kind: mqtt.PUBACK, PacketID: p.Publish.PacketID}).Append(sub.in, sub.version)
			}
			c.settle()
			return n
		}
		const span, behind = 65535, 300
		for range span / 255 {
			publish(255, "")
			ack()
		}
		publish(behind, strings.Repeat("x", 1<<10))
		sub.none()
		sub.ack(oldest)
		got := 0
		for n := ack(); n > 0; n = ack() {
			got += n
		}
		if got != behind {
			t.Errorf("%d of %d that waited have come", got, behind)
		}
	})
}
