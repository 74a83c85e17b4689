package cluster

import (
	"fmt"
	"testing"

	"dunlin/e2e/harness"
	"dunlin/proto/mqtt"
)

// TestTakeoverBetweenNodes (E2, P3): a session moves from node to node with each
// CONNECT; the old connection is told so, and what it had not acknowledged comes
// again on the new one, in order, under the same identifiers.
func TestTakeoverBetweenNodes(t *testing.T) {
	t.Parallel()
	const messages = 10
	c := start(t, harness.Options{Nodes: 3})
	pub := newPublisher(t, "pub", c.Nodes...)
	old := connect(t, c.Nodes[:1], keeping("nomad"))
	old.Subscribe("n", 2)
	ids := make([]uint16, messages)
	for i := range messages {
		payload, q := numbered(i)
		pub.publish("n", payload, q, nil)
		ids[i] = old.Expect(mqtt.PUBLISH).Publish.PacketID
	}
	for move := range 2 * len(c.Nodes) {
		young := resume(t, c.Nodes[(move+1)%3:][:1], keeping("nomad"))
		old.ExpectDisconnect(mqtt.SessionTakenOver)
		for i := range messages {
			payload, _ := numbered(i)
			m := young.Expect(mqtt.PUBLISH).Publish
			if string(m.Payload) != payload || m.PacketID != ids[i] || !m.Dup {
				t.Errorf("move %d: message %d came as %q, identifier %d for %d, DUP %v", move, i, m.Payload, m.PacketID, ids[i], m.Dup)
			}
		}
		old = young
	}
	// On the same node too, and with what follows.
	young := resume(t, c.Nodes[:1], keeping("nomad"))
	old.ExpectDisconnect(mqtt.SessionTakenOver)
	for i := range messages {
		payload, _ := numbered(i)
		young.ExpectMessage("n", payload)
	}
	pub.publish("n", "end", 1, nil)
	for {
		if p := young.Expect(mqtt.PUBLISH).Publish; string(p.Payload) == "end" {
			young.Acknowledge(&p)
			break
		}
	}
	young.ExpectQuiet()
}

// TestTakeoverEndsEphemeral (E3): a session of expiry 0 ends when its identifier
// connects elsewhere, and its will is published.
func TestTakeoverEndsEphemeral(t *testing.T) {
	t.Parallel()
	c := start(t, harness.Options{Nodes: 2})
	watcher := client(t, c.Nodes[1], "watcher")
	watcher.Subscribe("w", 1)
	hello := mqtt.Connect{ClientID: []byte("x"), HasWill: true, Will: mqtt.Will{Topic: []byte("w"), Payload: []byte("old"), QoS: 1, Delay: 60}}
	old := connect(t, c.Nodes[:1], hello)
	hello.HasWill = false
	young := connect(t, c.Nodes[1:], hello)
	if young.Connack.SessionPresent {
		t.Error("session present")
	}
	old.ExpectDisconnect(mqtt.SessionTakenOver)
	watcher.ExpectMessage("w", "old")
	young.ExpectQuiet()
}

// TestExactlyOnceThroughKills (P2, R1, S2): messages of QoS 2 come once and in
// order to a session, although a node is killed at each step of their handshakes:
// the publisher's node, the leader of its shard, the leader of the subscriber's.
func TestExactlyOnceThroughKills(t *testing.T) {
	for _, v := range []struct {
		name string
		pick func(c *harness.Cluster) *harness.Node
	}{
		{"the publisher's node", func(c *harness.Cluster) *harness.Node { return c.Nodes[0] }},
		{"the publisher's leader", func(c *harness.Cluster) *harness.Node { return c.Leader(c.Home("pub")) }},
		{"the subscriber's leader", func(c *harness.Cluster) *harness.Node { return c.Leader(c.Home("sub")) }},
	} {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			c := start(t, harness.Options{Nodes: 3})
			sub := &reader{t: t, conn: connect(t, c.Nodes[2:], keeping("sub")), open: map[uint16]bool{}}
			sub.conn.Subscribe("once", 2)
			pub := newPublisher(t, "pub", c.Nodes...)
			var want []string
			for _, at := range []mqtt.Kind{mqtt.PUBLISH, mqtt.PUBREL} {
				// A message before and one after that meets nothing.
				for i := range 3 {
					payload := fmt.Sprintf("2:%v %d", at, i)
					want = append(want, payload)
					victim := v.pick(c)
					pub.publish("once", payload, 2, func(step mqtt.Kind) {
						if i == 1 && step == at && victim.Running() {
							victim.Kill()
						}
					})
					if !victim.Running() {
						victim.Restart()
					}
				}
			}
			sub.conn.Drop()
			sub.conn = resume(t, c.Nodes, keeping("sub"))
			sub.until(len(want))
			for _, finding := range checkOnce(want, sub.got, atLeastOnce) {
				t.Error(finding)
			}
		})
	}
}
