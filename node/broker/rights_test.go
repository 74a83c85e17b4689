package broker

import (
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
