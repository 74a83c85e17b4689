package cluster

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
	queueUp(t, c, sessions, each, size)
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
		drain(t, c.Nodes[i%3:], i, each, size)
	}
}

// A node that reads back what is not what it wrote ends at once, and tells nobody of
// it; the others tell all that is owed.
func TestDamagedQueueFiles(t *testing.T) {
	const sessions, each, size = 4, 500, 10 << 10
	c := start(t, harness.Options{Nodes: 3, Args: []string{"--shards", "1"}, Config: "limits:\n  queue-memory: 1MB\n"})
	queueUp(t, c, sessions, each, size)
	leader := c.Leader(0)
	files, err := filepath.Glob(filepath.Join(leader.Dir, "scratch", "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("scratch files %v, %v", files, err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		b = bytes.ReplaceAll(b, []byte("xxxxxxxx"), []byte("xxxyxxxx"))
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	leader.ExpectEnd()
	others := slices.DeleteFunc(slices.Clone(c.Nodes), func(n *harness.Node) bool { return n == leader })
	for i := range sessions {
		drain(t, others, i, each, size)
	}
	if code := leader.WaitEnded(); code != 1 || !strings.Contains(leader.Log(), "the disk failed") {
		t.Errorf("the node ended with %d: %s", code, leader.Log())
	}
}

// queueUp has so many sessions that are not connected wait for each so many messages
// of size bytes.
func queueUp(t *testing.T, c *harness.Cluster, sessions, each, size int) {
	t.Helper()
	for i := range sessions {
		sub := connect(t, c.Nodes, keeping(fmt.Sprint("reader-", i)))
		sub.Subscribe(fmt.Sprint("queue/", i), 1)
		sub.Disconnect()
	}
	pub := connect(t, c.Nodes, keeping("publisher"))
	defer pub.Disconnect()
	payload := bytes.Repeat([]byte("x"), size)
	for n := range each {
		copy(payload, fmt.Sprintf("%08d", n))
		var batch []harness.Packet
		for i := range sessions {
			batch = append(batch, &mqtt.Publish{QoS: 1, PacketID: pub.NextID(), Topic: fmt.Appendf(nil, "queue/%d", i), Payload: payload})
		}
		pub.Send(batch...)
		for _, p := range batch {
			if r := pub.ExpectAck(mqtt.PUBACK, p.(*mqtt.Publish).PacketID); r >= mqtt.Unspecified {
				t.Fatalf("message %d: %v", n, r)
			}
		}
	}
}

// drain has session i told all that it waits for, in order.
func drain(t *testing.T, nodes []*harness.Node, i, each, size int) {
	t.Helper()
	sub := resume(t, nodes, keeping(fmt.Sprint("reader-", i)))
	for n := range each {
		p := sub.Receive()
		if len(p.Payload) != size || string(p.Payload[:8]) != fmt.Sprintf("%08d", n) || bytes.Count(p.Payload, []byte("x")) != size-8 {
			t.Fatalf("reader-%d: message %d is %.8s of %d bytes", i, n, p.Payload, len(p.Payload))
		}
		sub.Acknowledge(p)
	}
	sub.Disconnect()
}
