package conformance

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"dunlin/e2e/harness"
	"dunlin/proto/mqtt"
)

// The cases of GUARANTEES section 5 that take more than one packet. Each runs
// beside a bystander.

// limits are small, so that they are met soon.
const limits = `
connect-timeout: 1s
send-timeout: 1s
limits:
  receive-maximum: 10
  max-subscriptions: 100
  queue-messages: 50
`

func TestAbuse(t *testing.T) { spread(t, harness.Options{Config: limits}, abuse) }

func abuse(t *testing.T, at places) {
	by := newBystander(t, at)
	for _, c := range []struct {
		name string
		test func(*testing.T, places)
	}{
		{"5 slow CONNECT", slowConnect},
		{"5 slow PUBLISH", slowPublish},
		{"17 alias of an earlier connection", staleAlias},
		{"22 10,000 filters", manyFilters},
		{"23 the same SUBSCRIBE again", sameSubscribe},
		{"24 overlapping filters", overlapping},
		{"25 beyond receive maximum", beyondWindow},
		{"26 one identifier again", sameIdentifier},
		{"28 refused by the subscriber", refusedBySubscriber},
		{"29 never acknowledges", neverAcknowledges},
		{"29 never reads", neverReads},
		{"30 endless messages for nobody", offlineQueue},
		{"58 payload that is not text", notText},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, at) })
		by.check(t)
	}
}

// ephemeral connects a client whose session ends with its connection.
func ephemeral(t *testing.T, n *harness.Node, id string) *harness.Client {
	t.Helper()
	return harness.Connect(t, n.MQTT, mqtt.Connect{ClientID: []byte(id), CleanStart: true})
}

// drip sends a byte at a time until the server ends the connection.
func drip(t *testing.T, c *harness.Client, b []byte) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; {
		if time.Now().After(end) {
			t.Fatal("the server still waits for the rest")
		}
		c.SendBytes(b[:1])
		if len(b) > 2 { // the packet never becomes whole
			b = b[1:]
		}
		p, err := c.Poll(100 * time.Millisecond)
		switch {
		case errors.Is(err, io.EOF):
			return
		case err == nil && p.Kind != mqtt.DISCONNECT:
			t.Fatalf("got %s", harness.Describe(p))
		}
	}
}

func slowConnect(t *testing.T, at places) {
	drip(t, harness.Dial(t, at.sub.MQTT), connect5(2, hx("00"), text("slow")))
}

func slowPublish(t *testing.T, at places) { // [MQTT-3.1.2-22]
	c := harness.Connect(t, at.sub.MQTT, mqtt.Connect{ClientID: []byte("slow"), CleanStart: true, KeepAlive: 1})
	drip(t, c, publish5(0x30, "slow", 0, hx("00"), string(make([]byte, 1000))))
}

func staleAlias(t *testing.T, at places) { // [MQTT-3.3.2-7]
	c := ephemeral(t, at.sub, "alias")
	c.PublishPacket(mqtt.Publish{Topic: []byte("alias"), TopicAlias: 1, QoS: 1})
	c.Disconnect()
	c = ephemeral(t, at.sub, "alias")
	c.Send(&mqtt.Publish{TopicAlias: 1})
	c.ExpectDisconnect(mqtt.ProtocolError)
}

func manyFilters(t *testing.T, at places) {
	c := ephemeral(t, at.sub, "many")
	var subs []mqtt.Subscription
	for i := range 10000 {
		subs = append(subs, mqtt.Subscription{Filter: fmt.Append(nil, "many/", i), QoS: 1})
	}
	for i, r := range c.SubscribeAll(subs...) {
		want := mqtt.GrantedQoS1
		if i >= 100 {
			want = mqtt.QuotaExceeded
		}
		if r != want {
			t.Fatalf("filter %d: SUBACK %v instead of %v", i, r, want)
		}
	}
	c.Publish("many/99", "in", 1)
	c.ExpectMessage("many/99", "in")
	c.Publish("many/100", "out", 1)
	c.ExpectQuiet()
}

func sameSubscribe(t *testing.T, at places) { // [MQTT-3.8.4-3]
	c := ephemeral(t, at.sub, "same")
	for i := range 500 {
		c.Subscribe("same/filter", mqtt.QoS(i%3))
	}
	c.Subscribe("same/filter", 1)
	c.Publish("same/filter", "once", 2)
	if m := c.ExpectMessage("same/filter", "once"); m.QoS != 1 {
		t.Errorf("QoS %d, not that of the last SUBSCRIBE", m.QoS)
	}
	c.ExpectQuiet()
}

func overlapping(t *testing.T, at places) { // [MQTT-3.3.4-2]
	c := ephemeral(t, at.sub, "overlap")
	for i, filter := range []string{"o/a/b", "o/+/b", "o/a/+", "o/#", "+/+/+", "o/+/+"} {
		c.Send(&mqtt.Subscribe{PacketID: c.NextID(), SubscriptionID: uint32(i + 1),
			Filters: []mqtt.Subscription{{Filter: []byte(filter), QoS: mqtt.QoS(i % 3)}}})
		c.Expect(mqtt.SUBACK)
	}
	c.Publish("o/a/b", "once", 2)
	m := c.ExpectMessage("o/a/b", "once")
	if m.QoS != 2 {
		t.Errorf("QoS %d, not the highest", m.QoS)
	}
	ids := make(map[uint32]bool)
	for _, id := range m.SubscriptionIDs { // [MQTT-3.3.4-4]
		ids[id] = true
	}
	if len(ids) != 6 || len(m.SubscriptionIDs) != 6 {
		t.Errorf("subscription identifiers %v", m.SubscriptionIDs)
	}
	c.ExpectQuiet()
}

func beyondWindow(t *testing.T, at places) { // [MQTT-3.3.4-7]
	c := ephemeral(t, at.sub, "beyond")
	if c.Connack.ReceiveMaximum != 10 {
		t.Fatalf("Receive Maximum %d", c.Connack.ReceiveMaximum)
	}
	for id := range uint16(10) {
		c.Send(&mqtt.Publish{Topic: []byte("beyond"), QoS: 2, PacketID: id + 1})
		c.ExpectAck(mqtt.PUBREC, id+1)
	}
	c.ExpectQuiet()
	c.Send(&mqtt.Publish{Topic: []byte("beyond"), QoS: 2, PacketID: 11})
	c.ExpectDisconnect(mqtt.ReceiveMaximumExceeded)
}

func sameIdentifier(t *testing.T, at places) { // [MQTT-4.3.3-10], R3, R4
	sub, pub := ephemeral(t, at.sub, "identifier-sub"), ephemeral(t, at.pub, "identifier-pub")
	sub.Subscribe("identifier", 2)
	for i := range 50 {
		pub.Send(&mqtt.Publish{Topic: []byte("identifier"), Payload: []byte("first"), QoS: 2, PacketID: 7, Dup: i > 0})
		if r := pub.ExpectAck(mqtt.PUBREC, 7); r >= mqtt.Unspecified {
			t.Fatalf("PUBREC %v", r)
		}
	}
	sub.ExpectMessage("identifier", "first")
	pub.Send(&mqtt.Ack{Kind: mqtt.PUBREL, PacketID: 7})
	pub.ExpectAck(mqtt.PUBCOMP, 7)
	// Released, the identifier stands for a new message, whatever DUP says.
	pub.Send(&mqtt.Publish{Topic: []byte("identifier"), Payload: []byte("second"), QoS: 2, PacketID: 7, Dup: true})
	pub.ExpectAck(mqtt.PUBREC, 7)
	sub.ExpectMessage("identifier", "second")
	sub.ExpectQuiet()
}

func refusedBySubscriber(t *testing.T, at places) { // [MQTT-4.3.3-4]
	sub := harness.Connect(t, at.sub.MQTT, mqtt.Connect{ClientID: []byte("refuser"), CleanStart: true, ReceiveMaximum: 1})
	pub := ephemeral(t, at.pub, "refused")
	sub.Subscribe("refused", 2)
	for i := range 5 {
		pub.Publish("refused", fmt.Sprint(i), 2)
	}
	for i := range 5 { // each refusal makes room for the next
		p := sub.Expect(mqtt.PUBLISH).Publish
		if string(p.Payload) != fmt.Sprint(i) {
			t.Fatalf("message %d is %q", i, p.Payload)
		}
		if i < 4 {
			sub.Send(&mqtt.Ack{Kind: mqtt.PUBREC, PacketID: p.PacketID, Reason: mqtt.QuotaExceeded})
		} else {
			sub.Acknowledge(&p)
		}
	}
	sub.ExpectQuiet()
}

func neverAcknowledges(t *testing.T, at places) {
	sub := harness.Connect(t, at.sub.MQTT, mqtt.Connect{ClientID: []byte("never"), CleanStart: true, ReceiveMaximum: 5})
	pub := ephemeral(t, at.pub, "never-pub")
	sub.Subscribe("never", 1)
	for i := range 200 {
		pub.Publish("never", fmt.Sprint(i), 1)
	}
	var open []*mqtt.Packet
	for range 5 {
		open = append(open, sub.Expect(mqtt.PUBLISH))
	}
	sub.ExpectQuiet()
	// What the queue had room for is there still, in order.
	for i := range 55 {
		p := &open[0].Publish
		if string(p.Payload) != fmt.Sprint(i) {
			t.Fatalf("message %d is %q", i, p.Payload)
		}
		sub.Acknowledge(p)
		open = open[1:]
		if i < 50 {
			open = append(open, sub.Expect(mqtt.PUBLISH))
		}
	}
	sub.ExpectQuiet()
}

func neverReads(t *testing.T, at places) {
	sub, pub := ephemeral(t, at.sub, "deaf"), ephemeral(t, at.pub, "deaf-pub")
	sub.Subscribe("deaf", 0)
	payload := string(make([]byte, 256<<10))
	closed := func() bool { // as the node tells it
		return !strings.Contains(at.sub.API("GET", "/api/v1/clients"), `"deaf"`)
	}
	harness.Eventually(t, "a client that does not read is closed", func() error {
		for range 20 {
			pub.Publish("deaf", payload, 1)
		}
		if !closed() {
			return errors.New("still there")
		}
		return nil
	})
}

func offlineQueue(t *testing.T, at places) { // S5
	persistent := mqtt.Connect{ClientID: []byte("offline"), SessionExpiry: 3600}
	c := harness.Connect(t, at.sub.MQTT, persistent)
	c.Subscribe("offline", 1)
	c.Disconnect()
	pub := ephemeral(t, at.pub, "offline-pub")
	for i := range 500 {
		pub.Publish("offline", fmt.Sprint(i), 1)
	}
	c = harness.Connect(t, at.again.MQTT, persistent)
	for i := range 50 { // the newest are dropped by default
		c.ExpectMessage("offline", fmt.Sprint(i))
	}
	// A few more may be there: what was sent before the node had seen the
	// DISCONNECT is not in the queue but in flight.
	more := 50
	for c.Waiting() {
		c.ExpectMessage("offline", fmt.Sprint(more))
		more++
	}
	if more > 100 {
		t.Errorf("%d messages, where the queue's bound is 50", more)
	}
	c.Disconnect()
	harness.Connect(t, at.sub.MQTT, mqtt.Connect{ClientID: []byte("offline"), CleanStart: true}).Disconnect()
}

func notText(t *testing.T, at places) {
	c := ephemeral(t, at.sub, "not-text")
	c.SendBytes(publish5(0x32, "text", 1, props(hx("01 01")), "\xC3\x28"))
	// It may be checked; then it is told.
	p := c.Expect(mqtt.PUBACK)
	if p.Ack.Reason >= mqtt.Unspecified && p.Ack.Reason != mqtt.PayloadFormatInvalid {
		t.Errorf("PUBACK %v", p.Ack.Reason)
	}
	c.ExpectQuiet()
}
