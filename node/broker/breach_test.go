package broker

import (
	"testing"

	"dunlin/proto/mqtt"
)

// Cases 9, 12, 16, 21 and 27: what may not be ends the connection with its own code, or is
// answered and leaves nothing; nobody else notices.
func TestBreachesOfTheProtocol(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCell(t, 1, 1, nil)
		other := c.connect(0, 0, "other")
		other.subscribe("#", 1)
		type packet interface {
			Append([]byte, mqtt.Version) []byte
		}
		for name, p := range map[string]struct {
			packet packet
			want   mqtt.Reason
		}{
			"second CONNECT (9)":         {&mqtt.Connect{Version: mqtt.V5, ClientID: []byte("c")}, mqtt.ProtocolError},
			"no topic, no alias (12)":    {&mqtt.Publish{}, mqtt.ProtocolError},
			"wildcard in a topic (12)":   {&mqtt.Publish{Topic: []byte("a/+")}, mqtt.TopicNameInvalid},
			"wildcard in a topic 2 (12)": {&mqtt.Publish{Topic: []byte("#")}, mqtt.TopicNameInvalid},
			"packet id 0 (16)":           {&mqtt.Publish{Topic: []byte("a"), QoS: 1}, mqtt.ProtocolError},
			"subscription id (21)":       {&mqtt.Publish{Topic: []byte("a"), SubscriptionIDs: []uint32{1}}, mqtt.ProtocolError},
		} {
			conn := c.connect(0, 0, "breach")
			conn.send(p.packet)
			if r := conn.one(mqtt.DISCONNECT).Disconnect.Reason; r != p.want || !conn.closed {
				t.Errorf("%s: DISCONNECT %v, closed %v", name, r, conn.closed)
			}
		}
		conn := c.connect(0, 0, "unknown")
		for id := range uint16(100) { // case 27
			for _, kind := range []mqtt.Kind{mqtt.PUBACK, mqtt.PUBREC, mqtt.PUBREL, mqtt.PUBCOMP} {
				conn.queue(&mqtt.Ack{Kind: kind, PacketID: id + 1})
			}
		}
		c.settle()
		answers := map[mqtt.Kind]int{}
		for _, p := range conn.recv() {
			if answers[p.Kind]++; p.Ack.Reason != mqtt.PacketIDNotFound {
				t.Errorf("%v %v", p.Kind, p.Ack.Reason)
			}
		}
		if answers[mqtt.PUBREL] != 100 || answers[mqtt.PUBCOMP] != 100 || len(answers) != 2 || conn.closed {
			t.Errorf("answers %v, closed %v", answers, conn.closed)
		}
		other.none()
	})
}
