package broker

import (
	"fmt"
	"slices"
	"testing"

	"dunlin/node/auth"
	"dunlin/proto/mqtt"
	"dunlin/router"
)

// rights are those of everybody but one client, which has none.
type rights struct {
	auth.Denied
	outcast string
}

func (r *rights) Unrestricted() bool { return false }

func (r *rights) MayPublish(id *auth.Identity, t router.Topic, _ uint8, _ bool) bool {
	return id.ClientID != r.outcast || t.String() != "secret"
}

func (r *rights) MayReceive(id *auth.Identity, t router.Topic, qos uint8) bool {
	return r.MayPublish(id, t, qos, false)
}

// A publisher may not send again what it was allowed to before. The identifier, which is
// the client's to use anew then, is no more in the store either: or the next message that
// has it would be taken for the one that was refused, and be lost (P1, R1).
func TestResentQoS2ThatIsNoMoreAllowed(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := &rights{}
		c := newCell(t, 1, 1, func(o *Options) { o.Access = r })
		sub, pub := c.connect(0, 0, "sub"), c.persistent(0, 0, "pub")
		sub.subscribe("#", 0)
		pub.publish("secret", "old", 2, 9)
		pub.one(mqtt.PUBREC)
		sub.one(mqtt.PUBLISH)
		pub.hangUp()
		r.outcast = "pub"
		pub = c.persistent(0, 0, "pub")
		pub.send(&mqtt.Publish{Dup: true, Topic: []byte("secret"), Payload: []byte("old"), QoS: 2, PacketID: 9})
		if reason := pub.one(mqtt.PUBREC).Ack.Reason; reason != mqtt.NotAuthorized {
			t.Fatalf("PUBREC %v", reason)
		}
		pub.publish("open", "new", 2, 9)
		pub.one(mqtt.PUBREC)
		if p := sub.one(mqtt.PUBLISH).Publish; string(p.Payload) != "new" {
			t.Errorf("got %q", p.Payload)
		}
	})
}

// A member of a share group that may not have a message keeps nobody else from it (P9).
func TestSharedMessagesPassOverWhoMayNotHaveThem(t *testing.T) {
	type place struct{ node, loop int }
	for name, other := range map[string]place{"its loop": {0, 0}, "another loop": {0, 1}, "another node": {1, 0}} {
		for _, denied := range []place{{0, 0}, {0, 1}, {1, 0}} {
			t.Run(name, func(t *testing.T) {
				inBubble(t, func(t *testing.T) {
					r := &rights{outcast: "outcast"}
					c := newCell(t, 2, 2, func(o *Options) { o.Access = r })
					outcast := c.connect(denied.node, denied.loop, "outcast")
					outcast.subscribe("$share/g/#", 1)
					member := c.connect(other.node, other.loop, "member")
					member.subscribe("$share/g/#", 1)
					pub := c.connect(0, 0, "pub")
					const messages = 10
					for i := range uint16(messages) {
						pub.publish("secret", "x", 1, i+1)
						pub.one(mqtt.PUBACK)
					}
					outcast.none()
					if got := len(member.recv()); got != messages {
						t.Errorf("denied at %v: %d of %d messages", denied, got, messages)
					}
				})
			})
		}
	}
}

// What waits for a client's acknowledgements, or for its socket, is judged again when it
// is sent (case 43); what a share group gave goes to another member instead.
func TestRightsWithdrawnWhileMessagesWait(t *testing.T) {
	for name, expiry := range map[string]uint32{"ephemeral": 0, "stored": 100} {
		for _, socket := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, socket %v", name, socket), func(t *testing.T) {
				inBubble(t, func(t *testing.T) {
					r := &rights{}
					c := newCell(t, 1, 2, func(o *Options) { o.Access = r })
					sub := c.dial(0, 1)
					hello := mqtt.Connect{Version: mqtt.V5, CleanStart: true, ClientID: []byte("sub"), SessionExpiry: expiry}
					if !socket {
						hello.ReceiveMaximum = 1
					}
					sub.send(&hello)
					sub.one(mqtt.CONNACK)
					sub.subscribe("#", 1)
					pub := c.connect(0, 0, "pub")
					publish := func(topic, payload string) {
						t.Helper()
						pub.publish(topic, payload, 1, 1)
						pub.one(mqtt.PUBACK)
					}
					if sub.unsent = 0; socket {
						sub.unsent = 2 << 20
					}
					publish("secret", "first")
					publish("secret", "second")
					publish("open", "third")
					publish("secret", "fourth")
					r.outcast = "sub"
					want := "third"
					if socket {
						sub.none()
						sub.unsent = 0
						c.settle()
					} else {
						first := sub.one(mqtt.PUBLISH).Publish
						if string(first.Payload) != "first" {
							t.Fatalf("got %q", first.Payload)
						}
						sub.ack(first.PacketID)
					}
					p := sub.one(mqtt.PUBLISH).Publish
					if string(p.Payload) != want {
						t.Fatalf("got %q", p.Payload)
					}
					sub.ack(p.PacketID)
					sub.none()
					for range 30 { // nothing of the window is lost to what was denied
						publish("open", "more")
						sub.ack(sub.one(mqtt.PUBLISH).Publish.PacketID)
					}
				})
			})
		}
	}
	t.Run("share group", func(t *testing.T) {
		inBubble(t, func(t *testing.T) {
			r := &rights{}
			c := newCell(t, 2, 2, func(o *Options) { o.Access = r })
			outcast := c.dial(1, 1)
			outcast.send(&mqtt.Connect{Version: mqtt.V5, CleanStart: true, ClientID: []byte("outcast"), ReceiveMaximum: 1})
			outcast.one(mqtt.CONNACK)
			outcast.subscribe("$share/g/#", 1)
			pub := c.connect(0, 0, "pub")
			for i := range uint16(4) {
				pub.publish("secret", fmt.Sprint(i), 1, i+1)
				pub.one(mqtt.PUBACK)
			}
			first := outcast.one(mqtt.PUBLISH).Publish
			member := c.connect(0, 1, "member")
			member.subscribe("$share/g/#", 1)
			r.outcast = "outcast"
			outcast.ack(first.PacketID)
			outcast.none()
			got := payloads(member.recv())
			slices.Sort(got)
			if fmt.Sprint(got) != "[1 2 3]" {
				t.Errorf("the other member got %v", got)
			}
		})
	})
}
