package bench

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"dunlin/e2e/harness"
	"dunlin/proto/mqtt"
)

var retainedFlag = flag.Int("retained", 100_000, "retained topics of BenchmarkRetained")

// BenchmarkRetained has a subscriber ask for very many retained messages at once,
// and then one that asks and never reads, and prints what a client beside them
// waits for its own messages, and what the nodes hold.
func BenchmarkRetained(b *testing.B) {
	topics, quiet := *retainedFlag, 5*time.Second
	if *quick {
		topics, quiet = 1000, 100*time.Millisecond
	}
	c := harness.Start(b, harness.Options{Nodes: 3})
	c.NeedReplicas()
	began := time.Now()
	retain(b, c, topics)
	stored := time.Since(began)
	c.WaitAgree(3)
	base := heap(c)

	aside := beside(b, c, func() { time.Sleep(quiet) })
	var took time.Duration
	during := beside(b, c, func() { took = replay(b, c.Nodes[0], topics) })
	deaf := harness.Connect(b, c.Nodes[0].MQTT, mqtt.Connect{CleanStart: true})
	deaf.Send(&mqtt.Subscribe{PacketID: 1, Filters: []mqtt.Subscription{{Filter: []byte("retained/#"), QoS: 1}}})
	stuck := beside(b, c, func() { time.Sleep(quiet) })
	held := heap(c)
	deaf.Drop()

	fmt.Fprintf(os.Stdout, `
%d retained messages of %d bytes, three nodes
  stored, acknowledged                   %6.0f a second
  replayed to one subscriber             %6.0f a second, all of them once
  a message of others, alone             %v
    while they are replayed              %v
    while a subscriber never reads       %v
  held more for the one that never reads %6.1f MB
`, topics, payload, float64(topics)/stored.Seconds(), float64(topics)/took.Seconds(), spread(aside), spread(during), spread(stuck),
		float64(held-base)/1e6)
}

func retainedTopic(i int) []byte { return fmt.Appendf(nil, "retained/%d/%d", i/1000, i) }

// retain has fifty clients publish, up to a hundred messages a write.
func retain(b *testing.B, c *harness.Cluster, topics int) {
	const at, window = 50, 100
	var work sync.WaitGroup
	for w := range at {
		work.Go(func() {
			pub := harness.Connect(b, c.Nodes[w%3].MQTT, mqtt.Connect{CleanStart: true})
			for i := w * window; i < topics; i += at * window {
				var all []harness.Packet
				for k := i; k < min(i+window, topics); k++ {
					all = append(all, &mqtt.Publish{
						Topic: retainedTopic(k), Payload: fmt.Appendf(nil, "%0*d", payload, k), QoS: 1, Retain: true, PacketID: uint16(k - i + 1),
					})
				}
				pub.Send(all...)
				for k := range all {
					if r := pub.ExpectAck(mqtt.PUBACK, uint16(k+1)); r >= mqtt.Unspecified {
						b.Errorf("PUBACK %v", r)
					}
				}
			}
			pub.Disconnect()
		})
	}
	work.Wait()
}

// replay subscribes to all, and says how long they took to come, each once.
func replay(b *testing.B, n *harness.Node, topics int) time.Duration {
	sub := harness.Connect(b, n.MQTT, mqtt.Connect{CleanStart: true})
	began := time.Now()
	sub.Send(&mqtt.Subscribe{PacketID: 1, Filters: []mqtt.Subscription{{Filter: []byte("retained/#"), QoS: 1}}})
	seen := make(map[string]bool, topics)
	for len(seen) < topics {
		p, err := sub.Next()
		if err != nil {
			b.Fatalf("after %d messages: %v", len(seen), err)
		}
		if p.Kind != mqtt.PUBLISH {
			continue
		}
		if m := &p.Publish; !m.Retain || seen[string(m.Topic)] {
			b.Errorf("%s came twice, or not as a retained message", m.Topic)
		} else {
			seen[string(m.Topic)] = true
		}
		sub.Acknowledge(&p.Publish)
	}
	took := time.Since(began)
	sub.Disconnect()
	return took
}

// beside measures, while f runs, how long a QoS 1 message takes from a client of
// one node to a client of another.
func beside(b *testing.B, c *harness.Cluster, f func()) (waits []time.Duration) {
	sub := harness.Connect(b, c.Nodes[0].MQTT, mqtt.Connect{CleanStart: true})
	sub.Subscribe("beside", 1)
	pub := harness.Connect(b, c.Nodes[1].MQTT, mqtt.Connect{CleanStart: true})
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	for i := 0; ; i++ {
		began := time.Now()
		pub.Publish("beside", fmt.Sprint(i), 1)
		sub.ExpectMessage("beside", fmt.Sprint(i))
		waits = append(waits, time.Since(began))
		select {
		case <-done:
			sub.Disconnect()
			pub.Disconnect()
			return waits
		case <-time.After(time.Millisecond):
		}
	}
}

// spread is the median and the 99th of a hundred.
func spread(ds []time.Duration) string {
	slices.Sort(ds)
	return fmt.Sprintf("%6v in the median, 99 of 100 below %v", round(ds[len(ds)/2]), round(ds[len(ds)*99/100]))
}

// heap is what all nodes hold, after a collection.
func heap(c *harness.Cluster) (sum int64) {
	for _, n := range c.Nodes {
		sum += int64(n.Held().Heap)
	}
	return sum
}
