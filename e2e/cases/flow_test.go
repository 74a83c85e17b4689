package cases

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"dunlin/e2e/harness"
	"dunlin/proto/mqtt"
)

// drip sends a byte of each at a time until the server has ended the connections, and
// returns what it said last, nil if nothing.
func drip(t *testing.T, b []byte, cs ...*harness.Client) (last []*mqtt.Packet) {
	t.Helper()
	last = make([]*mqtt.Packet, len(cs))
	over := make([]bool, len(cs))
	for k, end := 0, time.Now().Add(patience); slices.Contains(over, false); k++ {
		if time.Now().After(end) {
			t.Fatal("the server still waits for the rest")
		}
		at := min(k, len(b)-2) // the packet never becomes whole
		for i, c := range cs {
			if over[i] {
				continue
			}
			c.SendBytes(b[at : at+1])
			p, err := c.Poll(30 * time.Millisecond)
			switch {
			case errors.Is(err, io.EOF):
				over[i] = true
			case err == nil:
				last[i] = p
			}
		}
	}
	return last
}

// slow: who sends byte after byte has until connect-timeout for CONNECT, and one and a half
// keep-alives for each packet afterwards [MQTT-3.1.2-22].
func slow(t *testing.T, p *place) {
	if said := drip(t, connect5(2, hx("00"), text(strings.Repeat("x", 1000))), p.sub.dial(t)); said[0] != nil {
		t.Errorf("before CONNECT: %s", harness.Describe(said[0]))
	}
	old := p.sub.connect(t, mqtt.Connect{ClientID: []byte("slow3"), Version: mqtt.V311, CleanStart: true, KeepAlive: 1})
	c := p.sub.connect(t, mqtt.Connect{ClientID: []byte("slow5"), CleanStart: true, KeepAlive: 1})
	said := drip(t, raw(0x30, text("slow"), make([]byte, 1000)), old, c)
	if said[0] != nil {
		t.Errorf("3.1.1: %s", harness.Describe(said[0]))
	}
	if said[1] == nil || said[1].Disconnect.Reason != mqtt.KeepAliveTimeout {
		t.Error("no DISCONNECT 0x8D")
	}
}

func staleAlias(t *testing.T, p *place) { // [MQTT-3.3.2-7]
	c := p.sub.ephemeral(t, "alias")
	c.PublishPacket(mqtt.Publish{Topic: []byte("alias"), TopicAlias: 1, QoS: 1})
	c.Disconnect()
	c = p.sub.ephemeral(t, "alias")
	c.Send(&mqtt.Publish{TopicAlias: 1})
	c.ExpectDisconnect(mqtt.ProtocolError)
}

func manyFilters(t *testing.T, p *place) {
	c := p.sub.ephemeral(t, "many")
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

func sameSubscribe(t *testing.T, p *place) { // [MQTT-3.8.4-3]
	c := p.sub.ephemeral(t, "same")
	for i := range 500 {
		c.Subscribe("same/filter", mqtt.QoS(i%3))
	}
	c.Subscribe("same/filter", 1)
	c.Publish("same/filter", "once", 2)
	if m := c.ExpectMessage("same/filter", "once"); m.QoS != 1 {
		t.Errorf("QoS %d, not that of the last SUBSCRIBE", m.QoS)
	}
	c.ExpectQuiet()
	c.Disconnect()
}

func overlapping(t *testing.T, p *place) { // [MQTT-3.3.4-2]
	c := p.sub.ephemeral(t, "overlap")
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

func beyondWindow(t *testing.T, p *place) { // [MQTT-3.3.4-7]
	c := p.sub.ephemeral(t, "beyond")
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

func sameIdentifier(t *testing.T, p *place) { // [MQTT-4.3.3-10], R3, R4
	sub, pub := p.sub.ephemeral(t, "identifier-sub"), p.pub.ephemeral(t, "identifier-pub")
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

func refusedBySubscriber(t *testing.T, p *place) { // [MQTT-4.3.3-4]
	sub := p.sub.connect(t, mqtt.Connect{ClientID: []byte("refuser"), CleanStart: true, ReceiveMaximum: 1})
	pub := p.pub.ephemeral(t, "refused")
	sub.Subscribe("refused", 2)
	for i := range 5 {
		pub.Publish("refused", fmt.Sprint(i), 2)
	}
	for i := range 5 { // each refusal makes room for the next
		m := sub.Expect(mqtt.PUBLISH).Publish
		if string(m.Payload) != fmt.Sprint(i) {
			t.Fatalf("message %d is %q", i, m.Payload)
		}
		if i < 4 {
			sub.Send(&mqtt.Ack{Kind: mqtt.PUBREC, PacketID: m.PacketID, Reason: mqtt.QuotaExceeded})
		} else {
			sub.Acknowledge(&m)
		}
	}
	sub.ExpectQuiet()
}

func neverAcknowledges(t *testing.T, p *place) {
	sub := p.sub.connect(t, mqtt.Connect{ClientID: []byte("never"), CleanStart: true, ReceiveMaximum: 5})
	pub := p.pub.ephemeral(t, "never-pub")
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
		m := &open[0].Publish
		if string(m.Payload) != fmt.Sprint(i) {
			t.Fatalf("message %d is %q", i, m.Payload)
		}
		sub.Acknowledge(m)
		open = open[1:]
		if i < 50 {
			open = append(open, sub.Expect(mqtt.PUBLISH))
		}
	}
	sub.ExpectQuiet()
}

func neverReads(t *testing.T, p *place) {
	sub, pub := p.sub.ephemeral(t, "deaf"), p.pub.ephemeral(t, "deaf-pub")
	sub.Subscribe("deaf", 0)
	payload := string(make([]byte, 256<<10))
	closed := func() bool { // as the node tells it
		return !strings.Contains(p.sub.node.API("GET", "/api/v1/clients"), `"deaf"`)
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

func offlineQueue(t *testing.T, p *place) { // S5
	persistent := mqtt.Connect{ClientID: []byte("offline"), SessionExpiry: 3600}
	c := p.sub.connect(t, persistent)
	c.Subscribe("offline", 1)
	c.Disconnect()
	pub := p.pub.ephemeral(t, "offline-pub")
	for i := range 500 {
		pub.Publish("offline", fmt.Sprint(i), 1)
	}
	c = p.again.connect(t, persistent)
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
	p.sub.connect(t, mqtt.Connect{ClientID: []byte("offline"), CleanStart: true}).Disconnect()
}

// manySubscriptions: one filter after another, beyond the bound each is refused, and what
// was granted may be granted again.
func manySubscriptions(t *testing.T, p *place) {
	for version, refusal := range map[mqtt.Version]mqtt.Reason{mqtt.V311: mqtt.Unspecified, mqtt.V5: mqtt.QuotaExceeded} {
		c := p.sub.connect(t, mqtt.Connect{Version: version, CleanStart: true})
		ask := func(k int) mqtt.Reason {
			return c.SubscribeAll(mqtt.Subscription{Filter: fmt.Append(nil, "more/", k), QoS: 1})[0]
		}
		for k := range 130 {
			want := mqtt.GrantedQoS1
			if k >= 100 {
				want = refusal
			}
			if got := ask(k); got != want {
				t.Fatalf("filter %d: SUBACK %v instead of %v", k, got, want)
			}
		}
		if got := ask(7); got != mqtt.GrantedQoS1 {
			t.Errorf("the same filter: SUBACK %v", got)
		}
		c.Disconnect()
	}
}

// manyOfAll: what all clients of a node have together is bounded too.
func manyOfAll(t *testing.T, p *place) {
	granted, refused := 0, 0
	for k := range 12 {
		c := p.sub.connect(t, mqtt.Connect{CleanStart: true})
		var subs []mqtt.Subscription
		for i := range 100 {
			subs = append(subs, mqtt.Subscription{Filter: fmt.Append(nil, "all/", k, "/", i)})
		}
		for _, r := range c.SubscribeAll(subs...) {
			switch r {
			case mqtt.Success:
				granted++
			case mqtt.QuotaExceeded:
				refused++
			default:
				t.Fatalf("SUBACK %v", r)
			}
		}
	}
	if granted < 999 || granted > 1000 || granted+refused != 1200 { // the bystander has one, here or elsewhere
		t.Errorf("%d granted, %d refused", granted, refused)
	}
}

// wildcards: of a hundred filters of one client that all match, one delivery comes.
func wildcards(t *testing.T, p *place) {
	c, pub := p.sub.ephemeral(t, "wild"), p.pub.ephemeral(t, "wild-pub")
	var subs []mqtt.Subscription
	for k := range 64 { // each level itself or +
		filter := []byte("w")
		for level := range 6 {
			filter = append(filter, '/', '+')
			if k>>level&1 > 0 {
				filter[len(filter)-1] = 'x'
			}
		}
		subs = append(subs, mqtt.Subscription{Filter: filter, QoS: 1})
	}
	c.SubscribeAll(subs...)
	for k := range 200 {
		pub.Publish("w/x/x/x/x/x/x", fmt.Sprint(k), 1)
		c.ExpectMessage("w/x/x/x/x/x/x", fmt.Sprint(k))
	}
	c.ExpectQuiet()
}

// crowd: one large message for many.
func crowd(t *testing.T, p *place) {
	const many = 100
	payload := strings.Repeat("0123456789abcdef", 16<<10)
	var subs []*harness.Client
	for k := range many {
		subs = append(subs, []door{p.sub, p.again}[k%2].connect(t, mqtt.Connect{CleanStart: true}))
		subs[k].Subscribe("crowd", 1)
	}
	pub := p.pub.ephemeral(t, "crowd-pub")
	pub.Publish("crowd", payload, 1)
	for _, sub := range subs {
		sub.ExpectMessage("crowd", payload)
	}
}

// retain sends a retained message of QoS 1 and returns the answer.
func retain(c *harness.Client, topic, payload string) mqtt.Reason {
	id := c.NextID()
	c.Send(&mqtt.Publish{Topic: []byte(topic), Payload: []byte(payload), QoS: 1, PacketID: id, Retain: true})
	return c.ExpectAck(mqtt.PUBACK, id)
}

// fill retains messages until no shard has room for more, and returns their topics.
func fill(t *testing.T, p *place, c *harness.Client, under, payload string) (topics []string) {
	t.Helper()
	for k, refused := 0, 0; refused < 20; k++ {
		topic := fmt.Sprint(under, "/", k)
		switch r := retain(c, topic, payload); {
		case r < mqtt.Unspecified:
			topics = append(topics, topic)
		case r == mqtt.QuotaExceeded:
			refused++
		default:
			t.Fatalf("PUBACK %v", r)
		}
		if k == 1000 {
			t.Fatalf("%d are retained", len(topics))
		}
	}
	return topics
}

// retainedFlood: topics beyond the bound are refused, by number and by bytes; what is there
// may be replaced, and cleared, which makes room.
func retainedFlood(t *testing.T, p *place) {
	c := p.pub.ephemeral(t, "flood")
	for _, payload := range []string{"x", strings.Repeat("x", 200<<10)} {
		topics := fill(t, p, c, "flood", payload)
		if n := len(topics); n == 0 || n > 100 || n*len(payload) > 4<<20 {
			t.Errorf("%d of %d bytes are retained", n, len(payload))
		}
		old := p.pub.connect(t, mqtt.Connect{Version: mqtt.V311, CleanStart: true})
		if r := retain(old, "flood/over", payload); r != mqtt.Success { // acknowledged, and dropped
			t.Errorf("3.1.1: PUBACK %v", r)
		}
		if r := retain(c, topics[0], payload[1:]+"y"); r >= mqtt.Unspecified {
			t.Errorf("replaced: %v", r)
		}
		for _, topic := range append(topics, "flood/over") {
			if r := retain(c, topic, ""); r >= mqtt.Unspecified {
				t.Errorf("cleared: %v", r)
			}
		}
		if r := retain(c, topics[0], payload); r >= mqtt.Unspecified {
			t.Errorf("there is no room again: %v", r)
		}
		retain(c, topics[0], "")
	}
}

// replayStorm: all that is retained comes to each of many who ask for it at once.
func replayStorm(t *testing.T, p *place) {
	c := p.pub.ephemeral(t, "storm-pub")
	topics := fill(t, p, c, "storm", strings.Repeat("x", 1000))
	var subs []*harness.Client
	for k := range 40 {
		sub := []door{p.sub, p.again}[k%2].connect(t, mqtt.Connect{CleanStart: true, ReceiveMaximum: uint16(1 + k)})
		sub.Send(&mqtt.Subscribe{PacketID: 1, Filters: []mqtt.Subscription{{Filter: []byte("storm/#"), QoS: 1}}})
		subs = append(subs, sub)
	}
	for _, sub := range subs {
		sub.Expect(mqtt.SUBACK)
		got := make(map[string]bool)
		for range topics {
			m := sub.Receive()
			if got[string(m.Topic)] || !m.Retain {
				t.Fatalf("%s came twice, or as if it were new", m.Topic)
			}
			got[string(m.Topic)] = true
		}
		sub.ExpectQuiet()
	}
	for _, topic := range topics {
		retain(c, topic, "")
	}
}
