package conformance

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"

	"dunlin/e2e/harness"
	"dunlin/proto/mqtt"
)

// client5 is a Paho client for MQTT 5.0 and what has come to it.
type client5 struct {
	*paho.Client
	connack *paho.Connack
	in      chan *paho.Publish
}

func dial5(t *testing.T, n *harness.Node, cp *paho.Connect) *client5 {
	t.Helper()
	conn, err := net.Dial("tcp", n.MQTT)
	if err != nil {
		t.Fatal(err)
	}
	return dial5On(t, conn, cp)
}

// dial5On connects over a connection that is there.
func dial5On(t *testing.T, conn net.Conn, cp *paho.Connect) *client5 {
	t.Helper()
	c := &client5{in: make(chan *paho.Publish, 1000)}
	c.Client = paho.NewClient(paho.ClientConfig{
		// As the library demands: without it, the parts of two packets mix in one stream.
		Conn: packets.NewThreadSafeConn(conn),
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(r paho.PublishReceived) (bool, error) {
			c.in <- r.Packet
			return true, nil
		}},
		PacketTimeout: patience,
	})
	if cp.KeepAlive == 0 {
		cp.KeepAlive = 60
	}
	var err error
	if c.connack, err = c.Connect(t.Context(), cp); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return c
}

func (c *client5) subscribe(t *testing.T, s paho.Subscribe) {
	t.Helper()
	ack, err := c.Subscribe(t.Context(), &s)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range ack.Reasons {
		if r != s.Subscriptions[i].QoS {
			t.Fatalf("SUBACK %v for %q", r, s.Subscriptions[i].Topic)
		}
	}
}

func (c *client5) publish(t *testing.T, p paho.Publish) *paho.PublishResponse {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r, err := c.Publish(ctx, &p)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func filter5(filter string, q byte) paho.Subscribe {
	return paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: filter, QoS: q}}}
}

func ptr[T any](v T) *T { return &v }

// TestPaho5 drives nodes with the Paho client for MQTT 5.0.
func TestPaho5(t *testing.T) { spread(t, harness.Options{}, paho5) }

func paho5(t *testing.T, at places) {
	t.Run("each QoS", func(t *testing.T) {
		sub := dial5(t, at.sub, &paho.Connect{ClientID: "p5-sub", CleanStart: true})
		pub := dial5(t, at.pub, &paho.Connect{ClientID: "p5-pub", CleanStart: true})
		for q := range byte(3) {
			topic := fmt.Sprintf("p5/qos/%d", q)
			sub.subscribe(t, filter5(topic, q))
			for i := range 10 {
				pub.publish(t, paho.Publish{Topic: topic, QoS: q, Payload: fmt.Append(nil, i)})
			}
			for i := range 10 {
				if m := take(t, sub.in); string(m.Payload) != fmt.Sprint(i) || m.QoS != q || m.Topic != topic {
					t.Errorf("message %d is %q of QoS %d on %q", i, m.Payload, m.QoS, m.Topic)
				}
			}
		}
	})

	t.Run("assigned client identifier", func(t *testing.T) { // [MQTT-3.1.3-6], [MQTT-3.2.2-16]
		c := dial5(t, at.sub, &paho.Connect{CleanStart: true})
		if c.connack.Properties.AssignedClientID == "" {
			t.Error("none was assigned")
		}
	})

	t.Run("request and response", func(t *testing.T) { // [MQTT-3.3.2-15], [MQTT-3.3.2-16], [MQTT-3.3.2-17]
		server := dial5(t, at.sub, &paho.Connect{ClientID: "p5-server", CleanStart: true})
		asker := dial5(t, at.pub, &paho.Connect{ClientID: "p5-asker", CleanStart: true})
		server.subscribe(t, filter5("p5/ask", 1))
		asker.subscribe(t, filter5("p5/answer", 1))
		user := paho.UserProperties{{Key: "a", Value: "1"}, {Key: "b", Value: "2"}, {Key: "a", Value: "3"}}
		asker.publish(t, paho.Publish{Topic: "p5/ask", QoS: 1, Payload: []byte("how many?"), Properties: &paho.PublishProperties{
			ResponseTopic: "p5/answer", CorrelationData: []byte{0, 1, 0xFF}, ContentType: "text/plain",
			PayloadFormat: ptr(byte(1)), User: user,
		}})
		q := take(t, server.in).Properties
		if q.ResponseTopic != "p5/answer" || !bytes.Equal(q.CorrelationData, []byte{0, 1, 0xFF}) || q.ContentType != "text/plain" ||
			q.PayloadFormat == nil || *q.PayloadFormat != 1 || fmt.Sprint(q.User) != fmt.Sprint(user) { // [MQTT-3.3.2-18]
			t.Errorf("the properties came as %+v", q)
		}
		server.publish(t, paho.Publish{Topic: q.ResponseTopic, QoS: 1, Payload: []byte("seven"),
			Properties: &paho.PublishProperties{CorrelationData: q.CorrelationData}})
		if a := take(t, asker.in); string(a.Payload) != "seven" || !bytes.Equal(a.Properties.CorrelationData, []byte{0, 1, 0xFF}) {
			t.Errorf("the answer is %q with %x", a.Payload, a.Properties.CorrelationData)
		}
	})

	t.Run("aliases of the client", func(t *testing.T) { // [MQTT-3.3.2-8] and on
		sub := dial5(t, at.sub, &paho.Connect{ClientID: "p5-alias-sub", CleanStart: true})
		pub := dial5(t, at.pub, &paho.Connect{ClientID: "p5-alias-pub", CleanStart: true})
		if pub.connack.Properties.TopicAliasMaximum == nil || *pub.connack.Properties.TopicAliasMaximum == 0 {
			t.Fatal("the server takes no aliases")
		}
		sub.subscribe(t, filter5("p5/alias/+", 1))
		for i, p := range []paho.Publish{
			{Topic: "p5/alias/a", Properties: &paho.PublishProperties{TopicAlias: ptr(uint16(1))}},
			{Topic: "", Properties: &paho.PublishProperties{TopicAlias: ptr(uint16(1))}},
			{Topic: "p5/alias/b", Properties: &paho.PublishProperties{TopicAlias: ptr(uint16(1))}},
			{Topic: "", Properties: &paho.PublishProperties{TopicAlias: ptr(uint16(1))}},
		} {
			p.QoS, p.Payload = 1, fmt.Append(nil, i)
			pub.publish(t, p)
			if m := take(t, sub.in); m.Topic != []string{"p5/alias/a", "p5/alias/a", "p5/alias/b", "p5/alias/b"}[i] {
				t.Errorf("message %d came on %q", i, m.Topic)
			}
		}
	})

	t.Run("aliases of the server", func(t *testing.T) { // [MQTT-3.1.2-26], [MQTT-3.1.2-27]
		const maximum = 3
		sub := harness.Connect(t, at.sub.MQTT, mqtt.Connect{ClientID: []byte("p5-server-alias"), CleanStart: true, TopicAliasMaximum: maximum})
		pub := harness.Connect(t, at.pub.MQTT, mqtt.Connect{ClientID: []byte("p5-server-alias-pub"), CleanStart: true})
		sub.Subscribe("p5/server/alias/+", 0)
		aliases := make(map[uint16]string)
		for i := range 50 {
			topic := fmt.Sprintf("p5/server/alias/%d", i%5)
			pub.Publish(topic, "x", 0)
			m := sub.Receive()
			if m.TopicAlias > maximum {
				t.Fatalf("alias %d", m.TopicAlias)
			}
			got := string(m.Topic)
			if got == "" {
				got = aliases[m.TopicAlias]
			} else if m.TopicAlias != 0 {
				aliases[m.TopicAlias] = got
			}
			if got != topic {
				t.Fatalf("message %d came on %q", i, got)
			}
		}
	})

	t.Run("subscription options", func(t *testing.T) {
		a := dial5(t, at.sub, &paho.Connect{ClientID: "p5-options", CleanStart: true})
		b := dial5(t, at.pub, &paho.Connect{ClientID: "p5-options-other", CleanStart: true})
		a.subscribe(t, paho.Subscribe{
			Properties:    &paho.SubscribeProperties{SubscriptionIdentifier: ptr(268435455)},
			Subscriptions: []paho.SubscribeOptions{{Topic: "p5/options", QoS: 1, NoLocal: true, RetainAsPublished: true}},
		})
		a.publish(t, paho.Publish{Topic: "p5/options", QoS: 1, Payload: []byte("own")}) // [MQTT-3.8.3-3]
		b.publish(t, paho.Publish{Topic: "p5/options", QoS: 1, Payload: []byte("other"), Retain: true})
		m := take(t, a.in)
		if string(m.Payload) != "other" || !m.Retain { // [MQTT-3.3.1-13]
			t.Errorf("%q, retain %v", m.Payload, m.Retain)
		}
		if id := m.Properties.SubscriptionIdentifier; id == nil || *id != 268435455 { // [MQTT-3.3.4-3]
			t.Errorf("subscription identifier %v", id)
		}
		b.publish(t, paho.Publish{Topic: "p5/options", QoS: 1, Retain: true})
	})

	t.Run("retain handling", func(t *testing.T) { // [MQTT-3.3.1-9] to [MQTT-3.3.1-11]
		c := harness.Connect(t, at.sub.MQTT, mqtt.Connect{ClientID: []byte("p5-handling"), CleanStart: true})
		c.PublishPacket(mqtt.Publish{Topic: []byte("p5/handling"), QoS: 1, Retain: true, Payload: []byte("r")})
		for i, s := range []struct {
			handling uint8
			sent     bool
		}{{2, false}, {1, false}, {0, true}, {1, false}} {
			c.SubscribeAll(mqtt.Subscription{Filter: []byte("p5/handling"), QoS: 1, RetainHandling: s.handling})
			if s.sent {
				if m := c.ExpectMessage("p5/handling", "r"); !m.Retain {
					t.Error("not marked as retained")
				}
			}
			c.ExpectQuiet()
			if i == 0 {
				c.Unsubscribe("p5/handling")
				c.SubscribeAll(mqtt.Subscription{Filter: []byte("p5/handling"), QoS: 1, RetainHandling: 1})
				c.ExpectMessage("p5/handling", "r") // a new subscription
			}
		}
		c.PublishPacket(mqtt.Publish{Topic: []byte("p5/handling"), QoS: 1, Retain: true})
	})

	t.Run("flow control", func(t *testing.T) { // [MQTT-3.3.4-9]
		const window = 5
		sub := harness.Connect(t, at.sub.MQTT, mqtt.Connect{ClientID: []byte("p5-window"), CleanStart: true, ReceiveMaximum: window})
		pub := dial5(t, at.pub, &paho.Connect{ClientID: "p5-window-pub", CleanStart: true})
		sub.Subscribe("p5/window", 2)
		for i := range 20 {
			pub.publish(t, paho.Publish{Topic: "p5/window", QoS: byte(1 + i%2), Payload: fmt.Append(nil, i)})
		}
		var open []*mqtt.Publish
		for i := range 20 {
			if len(open) == window {
				sub.ExpectQuiet()
				sub.Acknowledge(open[0])
				open = open[1:]
			}
			m := sub.Expect(mqtt.PUBLISH)
			if string(m.Publish.Payload) != fmt.Sprint(i) {
				t.Fatalf("message %d is %q", i, m.Publish.Payload)
			}
			open = append(open, &m.Publish)
		}
	})

	t.Run("message expiry", func(t *testing.T) { // [MQTT-3.3.2-5], [MQTT-3.3.2-6]
		id := []byte("p5-expiry")
		c := harness.Connect(t, at.sub.MQTT, mqtt.Connect{ClientID: id, CleanStart: true, SessionExpiry: 3600})
		c.Subscribe("p5/expiry", 1)
		c.Disconnect()
		pub := dial5(t, at.pub, &paho.Connect{ClientID: "p5-expiry-pub", CleanStart: true})
		pub.publish(t, paho.Publish{Topic: "p5/expiry", QoS: 1, Payload: []byte("short"), Properties: &paho.PublishProperties{MessageExpiry: ptr(uint32(1))}})
		pub.publish(t, paho.Publish{Topic: "p5/expiry", QoS: 1, Payload: []byte("long"), Properties: &paho.PublishProperties{MessageExpiry: ptr(uint32(1000))}})
		// The clock is what is tested here: the message has to outlive its second.
		<-time.After(1100 * time.Millisecond)
		c = harness.Connect(t, at.again.MQTT, mqtt.Connect{ClientID: id, SessionExpiry: 3600})
		m := c.ExpectMessage("p5/expiry", "long")
		if !m.HasExpiry || m.MessageExpiry >= 1000 || m.MessageExpiry < 900 {
			t.Errorf("%d seconds left", m.MessageExpiry)
		}
	})

	t.Run("session", func(t *testing.T) { // [MQTT-3.1.2-5], [MQTT-3.1.2-6], [MQTT-4.4.0-1]
		id := []byte("p5-session")
		persistent := mqtt.Connect{ClientID: id, SessionExpiry: 3600}
		first := harness.Connect(t, at.sub.MQTT, persistent)
		first.Subscribe("p5/session", 2)
		pub := dial5(t, at.pub, &paho.Connect{ClientID: "p5-session-pub", CleanStart: true})
		for i := range 6 {
			pub.publish(t, paho.Publish{Topic: "p5/session", QoS: byte(1 + i%2), Payload: fmt.Append(nil, i)})
		}
		ids := make([]uint16, 6)
		for i := range ids {
			ids[i] = first.Expect(mqtt.PUBLISH).Publish.PacketID
		}
		// The first is done; of the second, PUBREC has come.
		first.Send(&mqtt.Ack{Kind: mqtt.PUBACK, PacketID: ids[0]})
		first.Send(&mqtt.Ack{Kind: mqtt.PUBREC, PacketID: ids[1]})
		first.ExpectAck(mqtt.PUBREL, ids[1])
		first.Drop()

		again := harness.Connect(t, at.again.MQTT, persistent)
		if !again.Connack.SessionPresent {
			t.Fatal("no session present")
		}
		again.ExpectAck(mqtt.PUBREL, ids[1])
		again.Send(&mqtt.Ack{Kind: mqtt.PUBCOMP, PacketID: ids[1]})
		for i := 2; i < 6; i++ {
			p := again.Expect(mqtt.PUBLISH).Publish
			if string(p.Payload) != fmt.Sprint(i) || p.PacketID != ids[i] || !p.Dup { // [MQTT-3.3.1-1]
				t.Errorf("message %d resent as %q, identifier %d for %d, DUP %v", i, p.Payload, p.PacketID, ids[i], p.Dup)
			}
			again.Acknowledge(&p)
		}
		again.ExpectQuiet()
		again.Disconnect()

		clean := harness.Connect(t, at.again.MQTT, mqtt.Connect{ClientID: id, CleanStart: true})
		if clean.Connack.SessionPresent { // [MQTT-3.1.2-4]
			t.Error("session present after a clean start")
		}
	})

	t.Run("will", func(t *testing.T) { // [MQTT-3.1.2-8], [MQTT-3.14.4-3]
		watcher := harness.Connect(t, at.sub.MQTT, mqtt.Connect{ClientID: []byte("p5-will-watch"), CleanStart: true})
		watcher.Subscribe("p5/will", 1)
		doomed := func(payload string) *harness.Client {
			return harness.Connect(t, at.pub.MQTT, mqtt.Connect{ClientID: []byte("p5-will"), CleanStart: true,
				HasWill: true, Will: mqtt.Will{Topic: []byte("p5/will"), Payload: []byte(payload), QoS: 1}})
		}
		doomed("dropped").Drop()
		watcher.ExpectMessage("p5/will", "dropped")
		asked := doomed("asked")
		asked.Send(&mqtt.Disconnect{Reason: mqtt.DisconnectWithWill})
		asked.ExpectClosed()
		watcher.ExpectMessage("p5/will", "asked")
		doomed("graceful").Disconnect()
		old := doomed("taken over")
		young := doomed("graceful")
		old.ExpectDisconnect(mqtt.SessionTakenOver)    // [MQTT-3.1.4-3]
		watcher.ExpectMessage("p5/will", "taken over") // E3
		young.Disconnect()
		watcher.Publish("p5/will", "end", 1)
		watcher.ExpectMessage("p5/will", "end")
	})

	t.Run("maximum packet size", func(t *testing.T) { // [MQTT-3.1.2-24], [MQTT-3.1.2-25]
		sub := harness.Connect(t, at.sub.MQTT, mqtt.Connect{ClientID: []byte("p5-small"), CleanStart: true, MaximumPacketSize: 100})
		pub := dial5(t, at.pub, &paho.Connect{ClientID: "p5-small-pub", CleanStart: true})
		sub.Subscribe("p5/small", 1)
		pub.publish(t, paho.Publish{Topic: "p5/small", QoS: 1, Payload: make([]byte, 100)})
		pub.publish(t, paho.Publish{Topic: "p5/small", QoS: 1, Payload: []byte("fits")})
		sub.ExpectMessage("p5/small", "fits")
	})

	t.Run("nobody is there", func(t *testing.T) {
		pub := dial5(t, at.pub, &paho.Connect{ClientID: "p5-nobody", CleanStart: true})
		if r := pub.publish(t, paho.Publish{Topic: "p5/nobody", QoS: 1, Payload: []byte("x")}); r.ReasonCode != 0x10 && r.ReasonCode != 0 {
			t.Errorf("PUBACK %v", r.ReasonCode)
		}
	})
}
