package cluster

import (
	"errors"
	"strings"
	"testing"
	"time"

	"dunlin/e2e/harness"
	"dunlin/proto/mqtt"
)

// TestGrow: a node alone, with sessions, a queue and retained messages, becomes
// three without a stop, and then may die.
func TestGrow(t *testing.T) {
	t.Parallel()
	c := start(t, harness.Options{})
	first := c.Nodes[0]
	connected := connect(t, c.Nodes, keeping("connected"))
	connected.Subscribe("g", 1)
	away := connect(t, c.Nodes, keeping("away"))
	away.Subscribe("g", 2)
	away.Disconnect()
	// What holds its identifier in the memory of the one node alone, until there are others.
	guest := connect(t, c.Nodes, mqtt.Connect{ClientID: []byte("guest"), CleanStart: true})
	pub := newPublisher(t, "pub", first)
	publish := func(i int) {
		payload, q := numbered(i)
		pub.publish("g", payload, q, nil)
		connected.ExpectMessage("g", payload)
	}
	for i := range 10 {
		publish(i)
	}
	client(t, first, "retainer").PublishPacket(mqtt.Publish{Topic: []byte("kept"), Payload: []byte("here"), QoS: 1, Retain: true})

	for _, n := range c.Grow(2) {
		n.Start()
	}
	for i := 10; i < 20; i++ { // all the while
		publish(i)
	}
	c.WaitReady()
	c.WaitAgree(3)
	connected.ExpectQuiet()
	guest.ExpectQuiet()
	cluster(t, first, "verify")
	guest = connect(t, c.Nodes[1:], mqtt.Connect{ClientID: []byte("guest"), CleanStart: true})
	guest.ExpectQuiet()
	first.Kill()
	pub.nodes = c.Nodes
	connected = resume(t, c.Nodes, keeping("connected"))
	for i := 20; i < 30; i++ {
		publish(i)
	}
	back := &reader{t: t, conn: resume(t, c.Nodes, keeping("away")), open: map[uint16]bool{}}
	back.until(30)
	for _, finding := range checkOnce(numberedTo(30), back.got, atLeastOnce) {
		t.Error(finding)
	}
	late := connect(t, c.Nodes, mqtt.Connect{ClientID: []byte("late"), CleanStart: true})
	late.Subscribe("kept", 1)
	late.ExpectMessage("kept", "here")
}

// TestEmptyDisk (D5): a node that comes back without its data, under its name, is
// a new one: it is given replicas, and the others may then die.
func TestEmptyDisk(t *testing.T) {
	t.Parallel()
	c := start(t, harness.Options{Nodes: 3})
	sub := connect(t, c.Nodes[1:], keeping("sub"))
	sub.Subscribe("e", 1)
	sub.Disconnect()
	pub := newPublisher(t, "pub", c.Nodes[1:]...)
	pub.publish("e", "before", 1, nil)
	c.Nodes[0].Kill()
	c.Nodes[0].Wipe()
	pub.publish("e", "meanwhile", 1, nil)
	c.Nodes[0].Restart()
	c.WaitAgree(3)
	c.Nodes[1].Kill()
	pub.nodes = c.Nodes
	pub.publish("e", "after", 1, nil)
	sub = resume(t, c.Nodes, keeping("sub"))
	for _, want := range []string{"before", "meanwhile", "after"} {
		sub.ExpectMessage("e", want)
	}
}

// TestCatchUp: a node that was down while its shards' logs were cut is brought up
// by snapshots, agrees with the others, and serves when one of them dies.
func TestCatchUp(t *testing.T) {
	t.Parallel()
	const messages = 300
	c := start(t, harness.Options{Nodes: 3, Args: []string{"--shards", "2", "--snapshot-log-size", "64KB"}})
	sub := connect(t, c.Nodes[:1], keeping("sub"))
	sub.Subscribe("c", 1)
	sub.Disconnect()
	c.Nodes[2].Kill()
	// Far more than the log keeps, in either shard.
	pad := strings.Repeat(".", 2000)
	pub := newPublisher(t, "pub", c.Nodes[:2]...)
	for i := range messages {
		payload, _ := numbered(2 * i)
		pub.publish("c", payload+pad, 1, nil)
		pub.publish("nobody", pad, 1, nil)
	}
	c.Nodes[2].Restart()
	c.WaitAgree(3)
	c.Nodes[0].Kill()
	sub = resume(t, c.Nodes[1:], keeping("sub"))
	for i := range messages {
		payload, _ := numbered(2 * i)
		sub.ExpectMessage("c", payload+pad)
	}
	sub.ExpectQuiet()
}

// TestIsolation (E4): a node that is left without a majority acknowledges nothing
// that a session is owed, closes its clients, is not ready and takes none, and is
// back by itself when the others are.
func TestIsolation(t *testing.T) {
	t.Parallel()
	c := start(t, harness.Options{Nodes: 3})
	n := c.Nodes[0]
	sub := connect(t, c.Nodes[:1], keeping("sub"))
	sub.Subscribe("i", 1)
	pub := client(t, n, "pub")
	pub.Publish("i", "before", 1)
	sub.ExpectMessage("i", "before")
	for _, o := range c.Nodes[1:] {
		o.Pause()
	}
	pub.Send(&mqtt.Publish{Topic: []byte("i"), Payload: []byte("alone"), QoS: 1, PacketID: 77})
	harness.Within(t, time.Minute, "it closes its clients and takes none", func() error {
		switch {
		case n.Ready() == nil:
			return errors.New("it is ready")
		case !n.Refuses():
			return errors.New("it takes a client")
		}
		return nil
	})
	for {
		p, err := pub.Next()
		if err != nil {
			break
		}
		if p.Kind == mqtt.PUBACK && p.Ack.Reason < mqtt.Unspecified {
			t.Error("it has acknowledged what no majority has")
		}
	}
	sub.ExpectDisconnect(mqtt.ServerBusy) // DISCONNECT knows no 0x88
	for _, o := range c.Nodes[1:] {
		o.Resume()
	}
	harness.Within(t, time.Minute, "all are ready again", func() error {
		return errors.Join(c.Nodes[0].Ready(), c.Nodes[1].Ready(), c.Nodes[2].Ready())
	})
	sub = resume(t, c.Nodes[:1], keeping("sub"))
	newPublisher(t, "pub2", c.Nodes[1:]...).publish("i", "after", 1, nil)
	for { // "before" again if its acknowledgement was lost, "alone" or not: it had no answer
		if m := sub.Receive(); string(m.Payload) == "after" {
			break
		}
	}
	sub.ExpectQuiet()
}
