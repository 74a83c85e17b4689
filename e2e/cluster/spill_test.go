package cluster

import (
	"bytes"
	"fmt"
	"testing"

	"dunlin/e2e/harness"
	"dunlin/proto/mqtt"
)

// Ten thousand messages of 10 KB for sessions that are not connected, a dozen times
// what the nodes may hold in memory: they hold no more, all nodes are killed, hold no
// more when they are back, and every session is told all that it is owed, in order
// (P1, P3, P7).
func TestQueuesBeyondMemory(t *testing.T) {
	const sessions, each, size, memory = 20, 500, 10 << 10, 8 << 20
	c := start(t, harness.Options{Nodes: 3, Args: []string{"--shards", "4"}, Config: "limits:\n  queue-memory: 8MB\n"})
	for i := range sessions {
		sub := connect(t, c.Nodes, keeping(fmt.Sprint("reader-", i)))
		sub.Subscribe(fmt.Sprint("queue/", i), 1)
		sub.Disconnect()
	}
	pub := connect(t, c.Nodes, keeping("publisher"))
	payload := bytes.Repeat([]byte("x"), size)
	for n := range each {
		var batch []harness.Packet
		for i := range sessions {
			copy(payload, fmt.Sprintf("%08d", n))
			batch = append(batch, &mqtt.Publish{QoS: 1, PacketID: pub.NextID(), Topic: fmt.Appendf(nil, "queue/%d", i), Payload: payload})
		}
		pub.Send(batch...)
		for _, p := range batch {
			if r := pub.ExpectAck(mqtt.PUBACK, p.(*mqtt.Publish).PacketID); r >= mqtt.Unspecified {
				t.Fatalf("message %d: %v", n, r)
			}
		}
	}
	pub.Disconnect()
	bounded := func() {
		t.Helper()
		for _, node := range c.Nodes {
			harness.Eventually(t, node.Name+" holds in memory what it may", func() error {
				m := node.Metrics()
				held, spilled := m["dunlin_store_queued_memory_bytes"], m["dunlin_store_spilled_bytes"]
				if all := m["dunlin_store_queued_bytes"]; held+spilled != all || all < sessions*each*size || held > memory {
					return fmt.Errorf("%v bytes queued, %v in memory, %v spilled", all, held, spilled)
				}
				return nil
			})
		}
	}
	bounded()
	for _, n := range c.Nodes {
		n.Kill()
	}
	for _, n := range c.Nodes {
		n.Start()
	}
	c.WaitReady()
	bounded()
	for i := range sessions {
		sub := resume(t, c.Nodes[i%3:], keeping(fmt.Sprint("reader-", i)))
		for n := range each {
			p := sub.Receive()
			if len(p.Payload) != size || string(p.Payload[:8]) != fmt.Sprintf("%08d", n) {
				t.Fatalf("reader-%d: message %d is %.8s of %d bytes", i, n, p.Payload, len(p.Payload))
			}
			sub.Acknowledge(p)
		}
		sub.Disconnect()
	}
}
