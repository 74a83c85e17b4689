package conformance

import (
	"fmt"
	"sync"
	"testing"
	"time"

	paho3 "github.com/eclipse/paho.mqtt.golang"

	"dunlin/e2e/harness"
	"dunlin/proto/mqtt"
)

// patience bounds what a client library is to wait for.
const patience = 30 * time.Second

// TestPaho311 drives nodes with the Paho client for MQTT 3.1.1.
func TestPaho311(t *testing.T) { spread(t, harness.Options{}, paho311) }

func paho311(t *testing.T, at places) {
	t.Run("each QoS", func(t *testing.T) {
		sub, pub := dial3(t, at.sub, options3("p3-sub")), dial3(t, at.pub, options3("p3-pub"))
		for q := range byte(3) {
			topic := fmt.Sprintf("p3/qos/%d", q)
			in := subscribe3(t, sub, topic, q)
			for i := range 10 {
				done3(t, pub.Publish(topic, q, false, fmt.Sprint(i)))
			}
			for i := range 10 { // [MQTT-4.6.0-6]
				if m := take(t, in); string(m.Payload()) != fmt.Sprint(i) || m.Qos() != q || m.Topic() != topic {
					t.Errorf("message %d is %q of QoS %d on %q", i, m.Payload(), m.Qos(), m.Topic())
				}
			}
		}
	})

	t.Run("granted QoS bounds", func(t *testing.T) { // [MQTT-3.8.4-6]
		sub, pub := dial3(t, at.sub, options3("p3-grant-sub")), dial3(t, at.pub, options3("p3-grant-pub"))
		in := subscribe3(t, sub, "p3/grant", 1)
		done3(t, pub.Publish("p3/grant", 2, false, "x"))
		if m := take(t, in); m.Qos() != 1 {
			t.Errorf("QoS %d", m.Qos())
		}
	})

	t.Run("unsubscribe", func(t *testing.T) { // [MQTT-3.10.4-2]
		c := dial3(t, at.sub, options3("p3-unsub"))
		gone, last := subscribe3(t, c, "p3/unsub/gone", 1), subscribe3(t, c, "p3/unsub/last", 1)
		done3(t, c.Unsubscribe("p3/unsub/gone"))
		done3(t, c.Publish("p3/unsub/gone", 1, false, "x"))
		done3(t, c.Publish("p3/unsub/last", 1, false, "y"))
		take(t, last)
		select {
		case m := <-gone:
			t.Errorf("after UNSUBACK came %q", m.Payload())
		default:
		}
	})

	t.Run("will", func(t *testing.T) { // [MQTT-3.1.2-8]
		watcher := dial3(t, at.sub, options3("p3-will-watch"))
		in := subscribe3(t, watcher, "p3/will", 1)
		doomed := harness.Connect(t, at.pub.MQTT, mqtt.Connect{
			Version: mqtt.V311, CleanStart: true, ClientID: []byte("p3-will"),
			HasWill: true, Will: mqtt.Will{Topic: []byte("p3/will"), Payload: []byte("died"), QoS: 1},
		})
		doomed.Drop()
		if m := take(t, in); string(m.Payload()) != "died" {
			t.Errorf("the will is %q", m.Payload())
		}
		// [MQTT-3.1.2-10]: not after DISCONNECT.
		graceful := options3("p3-will-graceful").SetWill("p3/will", "lied", 1, false)
		dial3(t, at.pub, graceful).Disconnect(100)
		done3(t, watcher.Publish("p3/will", 1, false, "end"))
		if m := take(t, in); string(m.Payload()) != "end" {
			t.Errorf("after DISCONNECT came %q", m.Payload())
		}
	})

	t.Run("retained", func(t *testing.T) { // [MQTT-3.3.1-6], [MQTT-3.3.1-10]
		pub := dial3(t, at.pub, options3("p3-retain-pub"))
		done3(t, pub.Publish("p3/retain/a", 1, true, "old"))
		done3(t, pub.Publish("p3/retain/a", 1, true, "new"))
		done3(t, pub.Publish("p3/retain/b", 1, true, "gone"))
		done3(t, pub.Publish("p3/retain/b", 1, true, ""))
		sub := dial3(t, at.sub, options3("p3-retain-sub"))
		in := subscribe3(t, sub, "p3/retain/#", 1)
		if m := take(t, in); string(m.Payload()) != "new" || !m.Retained() {
			t.Errorf("%q, retained %v", m.Payload(), m.Retained())
		}
		// A live one is not marked as retained [MQTT-3.3.1-9], and shows that there
		// was no second before it.
		done3(t, pub.Publish("p3/retain/a", 1, true, "newer"))
		if m := take(t, in); string(m.Payload()) != "newer" || m.Retained() {
			t.Errorf("%q, retained %v", m.Payload(), m.Retained())
		}
	})

	t.Run("session", func(t *testing.T) { // [MQTT-3.1.2-4], [MQTT-3.1.2-5]
		o := func() *paho3.ClientOptions { return options3("p3-session").SetCleanSession(false) }
		first := dial3(t, at.sub, o())
		done3(t, first.Subscribe("p3/session/#", 2, nil))
		first.Disconnect(100)

		pub := dial3(t, at.pub, options3("p3-session-pub"))
		for i := range 30 {
			done3(t, pub.Publish(fmt.Sprintf("p3/session/%d", i%3), byte(1+i%2), false, fmt.Sprint(i)))
		}

		in := make(chan paho3.Message, 100)
		again := o().SetDefaultPublishHandler(func(_ paho3.Client, m paho3.Message) { in <- m })
		c := paho3.NewClient(again.AddBroker("tcp://" + at.again.MQTT))
		token := c.Connect()
		done3(t, token)
		t.Cleanup(func() { c.Disconnect(0) })
		if !token.(*paho3.ConnectToken).SessionPresent() {
			t.Error("no session present") // [MQTT-3.2.2-2]
		}
		for i := range 30 {
			if m := take(t, in); string(m.Payload()) != fmt.Sprint(i) {
				t.Errorf("message %d is %q", i, m.Payload())
			}
		}
	})

	t.Run("shared", func(t *testing.T) {
		const members, messages = 3, 60
		var mu sync.Mutex
		seen := make(map[string]int)
		per := make([]int, members)
		for i := range members {
			c := dial3(t, []*harness.Node{at.sub, at.pub, at.again}[i], options3(fmt.Sprintf("p3-share-%d", i)))
			done3(t, c.Subscribe("$share/g/p3/share", 1, func(_ paho3.Client, m paho3.Message) {
				mu.Lock()
				defer mu.Unlock()
				seen[string(m.Payload())]++
				per[i]++
			}))
		}
		pub := dial3(t, at.pub, options3("p3-share-pub"))
		for i := range messages {
			done3(t, pub.Publish("p3/share", 1, false, fmt.Sprint(i)))
		}
		harness.Eventually(t, "every message has come", func() error {
			mu.Lock()
			defer mu.Unlock()
			if len(seen) < messages {
				return fmt.Errorf("%d of %d", len(seen), messages)
			}
			return nil
		})
		mu.Lock()
		defer mu.Unlock()
		for payload, n := range seen {
			if n != 1 {
				t.Errorf("message %s came %d times", payload, n)
			}
		}
		for i, n := range per {
			if n == 0 {
				t.Errorf("member %d got nothing", i)
			}
		}
	})
}

func options3(id string) *paho3.ClientOptions {
	return paho3.NewClientOptions().SetClientID(id).SetProtocolVersion(4).SetAutoReconnect(false).
		SetConnectTimeout(patience).SetOrderMatters(true)
}

func dial3(t *testing.T, n *harness.Node, o *paho3.ClientOptions) paho3.Client {
	t.Helper()
	o.AddBroker("tcp://" + n.MQTT)
	c := paho3.NewClient(o)
	done3(t, c.Connect())
	t.Cleanup(func() { c.Disconnect(0) })
	return c
}

func subscribe3(t *testing.T, c paho3.Client, filter string, q byte) <-chan paho3.Message {
	t.Helper()
	in := make(chan paho3.Message, 1000)
	done3(t, c.Subscribe(filter, q, func(_ paho3.Client, m paho3.Message) { in <- m }))
	return in
}

func done3(t *testing.T, token paho3.Token) {
	t.Helper()
	if !token.WaitTimeout(patience) {
		t.Fatal("no answer")
	}
	if token.Error() != nil {
		t.Fatal(token.Error())
	}
}

func take[T any](t *testing.T, in <-chan T) T {
	t.Helper()
	select {
	case m := <-in:
		return m
	case <-time.After(patience):
		t.Fatal("nothing came")
		panic("not reached")
	}
}
