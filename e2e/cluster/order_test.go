package cluster

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"dunlin/e2e/harness"
	"dunlin/proto/mqtt"
)

// P7 and R2 across nodes: 20,000 messages of QoS 1 of one publisher come to a
// subscriber on each node in order, each once, none missing; the second time
// while the streams between the nodes are cut and restored.
func TestOrderAcrossNodes(t *testing.T) {
	for _, cut := range []bool{false, true} {
		t.Run(map[bool]string{false: "quiet", true: "streams cut"}[cut], func(t *testing.T) {
			t.Parallel()
			messages := 20000
			if testing.Short() {
				messages = 2000
			}
			c := harness.Start(t, harness.Options{Nodes: 3, Links: true})
			var subs []*harness.Client
			for _, n := range c.Nodes {
				sub := client(t, n, "sub-"+n.Name)
				sub.Subscribe("order", 1)
				subs = append(subs, sub)
			}
			pub := client(t, c.Nodes[0], "pub")

			var work sync.WaitGroup
			done := make(chan struct{})
			for _, sub := range subs {
				work.Go(func() { expectOrdered(t, sub, messages) })
			}
			work.Go(func() { publishOrdered(t, pub, messages) })
			go func() { work.Wait(); close(done) }()
			if cut {
				t.Logf("the streams were cut %d times", cutUntil(t, c, done))
			}
			<-done
		})
	}
}

// publishOrdered publishes numbers with a window of acknowledgements under way.
func publishOrdered(t *testing.T, pub *harness.Client, messages int) {
	const window = 200
	for acked, sent := 0, 0; acked < messages; {
		var batch []harness.Packet
		for ; sent < messages && sent-acked < window; sent++ {
			batch = append(batch, &mqtt.Publish{QoS: 1, PacketID: pub.NextID(), Topic: []byte("order"), Payload: strconv.AppendInt(nil, int64(sent), 10)})
		}
		pub.Send(batch...)
		// PUBACKs come in the order of the PUBLISHes [MQTT-4.6.0-2].
		if r := pub.ExpectAck(mqtt.PUBACK, uint16(acked%65535)+1); r >= mqtt.Unspecified {
			t.Errorf("PUBACK %v of message %d", r, acked)
			return
		}
		acked++
	}
}

// expectOrdered takes the numbers from 0 to messages, and nothing else.
func expectOrdered(t *testing.T, sub *harness.Client, messages int) {
	for _, finding := range checkOrder(messages, sub.Receive) {
		t.Errorf("%s: %s", sub.ID, finding)
	}
	sub.ExpectQuiet()
}

// checkOrder takes so many messages, which have to be the numbers from 0 on, none
// of them sent again.
func checkOrder(messages int, receive func() *mqtt.Publish) (findings []string) {
	for i := range messages {
		m := receive()
		if string(m.Payload) != strconv.Itoa(i) || m.Dup {
			findings = append(findings, fmt.Sprintf("got %q, DUP %v, instead of %d", m.Payload, m.Dup, i))
			if len(findings) == 5 {
				break // one fault shifts all that follow
			}
		}
	}
	return findings
}

// TestPlantedDisorder gives checkOrder what it must find.
func TestPlantedDisorder(t *testing.T) {
	for _, c := range []struct {
		name string
		came []int
		ok   bool
	}{
		{"in order", []int{0, 1, 2, 3}, true},
		{"inversion", []int{0, 2, 1, 3}, false},
		{"loss", []int{0, 1, 3, 4}, false},
		{"double", []int{0, 1, 1, 2}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			next := 0
			findings := checkOrder(len(c.came), func() *mqtt.Publish {
				next++
				return &mqtt.Publish{Payload: strconv.AppendInt(nil, int64(c.came[next-1]), 10)}
			})
			if ok := len(findings) == 0; ok != c.ok {
				t.Errorf("found %q", findings)
			}
		})
	}
}

// cutUntil cuts the links to nodes for short times, one after the other, until
// done; it returns how often.
func cutUntil(t *testing.T, c *harness.Cluster, done <-chan struct{}) (cuts int) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	wait := func(upTo time.Duration) bool {
		select {
		case <-done:
			return false
		case <-time.After(time.Duration(rnd.Int64N(int64(upTo)))):
			return true
		}
	}
	for wait(200 * time.Millisecond) {
		n := c.Nodes[rnd.IntN(len(c.Nodes))]
		n.Link.Cut()
		cuts++
		more := wait(300 * time.Millisecond)
		n.Link.Restore()
		if !more {
			return cuts
		}
	}
	return cuts
}

// TestQoS2AcrossNodes: each message once, while the streams are cut.
func TestQoS2AcrossNodes(t *testing.T) {
	t.Parallel()
	messages := 500
	c := harness.Start(t, harness.Options{Nodes: 2, Links: true})
	sub := client(t, c.Nodes[1], "sub")
	sub.Subscribe("twice", 2)
	pub := client(t, c.Nodes[0], "pub")
	done := make(chan struct{})
	go func() {
		defer close(done)
		var work sync.WaitGroup
		defer work.Wait()
		work.Go(func() {
			for i := range messages {
				pub.Publish("twice", fmt.Sprint(i), 2)
			}
		})
		work.Go(func() {
			for i := range messages {
				sub.ExpectMessage("twice", fmt.Sprint(i))
			}
			sub.ExpectQuiet()
		})
	}()
	cutUntil(t, c, done)
	<-done
}
