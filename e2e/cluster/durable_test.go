package cluster

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"dunlin/e2e/harness"
	"dunlin/proto/mqtt"
)

// start starts a cluster whose shards are replicated, or skips the test.
func start(t *testing.T, o harness.Options) *harness.Cluster {
	t.Helper()
	c := harness.Start(t, o)
	c.NeedReplicas()
	return c
}

// keeping is the CONNECT of a client whose session is kept for an hour.
func keeping(id string) mqtt.Connect {
	return mqtt.Connect{ClientID: []byte(id), SessionExpiry: 3600}
}

// connect connects at the first of nodes that takes the client, and tries again
// until one does: while a leader is being replaced none may.
func connect(t *testing.T, nodes []*harness.Node, hello mqtt.Connect) (c *harness.Client) {
	t.Helper()
	harness.Eventually(t, string(hello.ClientID)+" connects", func() (err error) {
		for _, n := range nodes {
			if !n.Running() {
				continue
			}
			if c, err = harness.Attempt(t, n.MQTT, hello); err == nil {
				return nil
			}
		}
		return errors.Join(errors.New("nobody takes it"), err)
	})
	return c
}

// resume is connect for a session that has to be there (P3).
func resume(t *testing.T, nodes []*harness.Node, hello mqtt.Connect) *harness.Client {
	t.Helper()
	c := connect(t, nodes, hello)
	if !c.Connack.SessionPresent {
		t.Fatalf("%s: no session present", hello.ClientID)
	}
	return c
}

// publisher publishes until each message is acknowledged, over as many
// connections as that takes; its session is kept, so that what it publishes at
// QoS 2 is one message however often it is sent (R1).
type publisher struct {
	t     *testing.T
	nodes []*harness.Node // where it connects, in order of preference
	id    string
	conn  *harness.Client
	last  uint16
}

func newPublisher(t *testing.T, id string, nodes ...*harness.Node) *publisher {
	t.Helper()
	p := &publisher{t: t, nodes: nodes, id: id}
	p.conn = connect(t, nodes, keeping(id))
	return p
}

// publish publishes a message and has it acknowledged. At QoS 2 each step of the
// handshake is told to before, if that is given, after its packet was sent: the
// place for a fault.
func (p *publisher) publish(topic, payload string, q mqtt.QoS, sent func(step mqtt.Kind)) {
	p.t.Helper()
	p.last = p.last%65535 + 1
	m := mqtt.Publish{Topic: []byte(topic), Payload: []byte(payload), QoS: q, PacketID: p.last}
	step := mqtt.PUBLISH
	tell := func() {
		if sent != nil {
			sent(step)
		}
	}
	for {
		if p.conn == nil {
			p.conn = resume(p.t, p.nodes, keeping(p.id))
			m.Dup = true
		}
		if step == mqtt.PUBLISH {
			p.conn.Send(&m)
		} else {
			p.conn.Send(&mqtt.Ack{Kind: mqtt.PUBREL, PacketID: m.PacketID})
		}
		tell()
		answer, err := p.conn.Next()
		switch {
		case err != nil || answer.Kind == mqtt.DISCONNECT:
			p.conn.Drop()
			p.conn = nil
		case answer.Ack.PacketID != m.PacketID:
			p.t.Fatalf("%s: %s answers %v %d", p.id, harness.Describe(answer), step, m.PacketID)
		case answer.Kind == mqtt.PUBREC && step == mqtt.PUBLISH && answer.Ack.Reason < mqtt.Unspecified:
			step = mqtt.PUBREL
		case answer.Kind == mqtt.PUBACK && q == 1 && answer.Ack.Reason < mqtt.Unspecified:
			return
		case answer.Kind == mqtt.PUBCOMP && step == mqtt.PUBREL:
			return // 0x92 too: it had been released before the answer was lost
		default:
			p.t.Fatalf("%s: %s answers %v", p.id, harness.Describe(answer), step)
		}
	}
}

// reader is the application of a subscriber that keeps its session: what came to
// it, over all its connections, each message of QoS 2 once as the handshake says.
type reader struct {
	t    *testing.T
	conn *harness.Client
	open map[uint16]bool // QoS 2 identifiers received and not released
	got  []string
}

// take handles the next packet of the connection and completes its handshake.
func (r *reader) take() {
	r.t.Helper()
	p, err := r.conn.Next()
	if err != nil {
		r.t.Fatalf("%s: %v after %d messages", r.conn.ID, err, len(r.got))
	}
	switch p.Kind {
	case mqtt.PUBLISH:
		r.receive(&p.Publish)
		switch p.Publish.QoS {
		case 1:
			r.conn.Send(&mqtt.Ack{Kind: mqtt.PUBACK, PacketID: p.Publish.PacketID})
		case 2:
			r.conn.Send(&mqtt.Ack{Kind: mqtt.PUBREC, PacketID: p.Publish.PacketID})
		}
	case mqtt.PUBREL:
		delete(r.open, p.Ack.PacketID)
		r.conn.Send(&mqtt.Ack{Kind: mqtt.PUBCOMP, PacketID: p.Ack.PacketID})
	default:
		r.t.Fatalf("%s: %s", r.conn.ID, harness.Describe(p))
	}
}

// receive hands m to the application, unless its handshake had begun before.
func (r *reader) receive(m *mqtt.Publish) {
	if m.QoS == 2 {
		if r.open[m.PacketID] {
			return
		}
		r.open[m.PacketID] = true
	}
	r.got = append(r.got, string(m.Payload))
}

// until takes packets until so many different messages have come, and then what
// is still there.
func (r *reader) until(messages int) {
	r.t.Helper()
	different := func() int { return len(slices.Compact(slices.Sorted(slices.Values(r.got)))) }
	for different() < messages {
		r.take()
	}
	for r.conn.Waiting() {
		r.take()
	}
}

// checkOnce holds what came against the payloads that were sent: all of them, in
// order of their first coming, and twice only what may come twice.
func checkOnce(want, got []string, twice func(payload string) bool) (findings []string) {
	var first []string
	count := make(map[string]int)
	for _, p := range got {
		if count[p]++; count[p] == 1 {
			first = append(first, p)
		} else if !twice(p) {
			findings = append(findings, fmt.Sprintf("%s came %d times", p, count[p]))
		}
	}
	if !slices.Equal(first, want) {
		findings = append(findings, fmt.Sprintf("came %v instead of %v", first, want))
	}
	return findings
}

// TestPlantedOnce gives checkOnce what it must find.
func TestPlantedOnce(t *testing.T) {
	want := []string{"1:0", "2:1", "1:2"}
	for _, c := range []struct {
		name string
		got  []string
		ok   bool
	}{
		{"all", want, true},
		{"QoS 1 again", []string{"1:0", "2:1", "1:0", "1:2"}, true},
		{"QoS 2 again", []string{"1:0", "2:1", "2:1", "1:2"}, false},
		{"lost", want[1:], false},
		{"inverted", []string{"2:1", "1:0", "1:2"}, false},
		{"invented", append(slices.Clone(want), "1:3"), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if findings := checkOnce(want, c.got, atLeastOnce); (len(findings) == 0) != c.ok {
				t.Errorf("found %q", findings)
			}
		})
	}
}

// atLeastOnce says whether a payload, which begins with its QoS, may come twice.
func atLeastOnce(payload string) bool { return payload[0] == '1' }

// numbered is the payload of message i, whose QoS is 1 and 2 in turn.
func numbered(i int) (payload string, q mqtt.QoS) {
	q = mqtt.QoS(1 + i%2)
	return fmt.Sprintf("%d:%d", q, i), q
}

func numberedTo(n int) (all []string) {
	for i := range n {
		p, _ := numbered(i)
		all = append(all, p)
	}
	return all
}

// TestSessionSurvives (P1, P2, P3, P7): a session with subscriptions, a queue, and
// handshakes under way is there, whole and in order, after kill -9 of the node
// that held its connection, of its shard's leader, or of all nodes at once.
func TestSessionSurvives(t *testing.T) {
	for _, c := range []struct {
		name string
		kill func(c *harness.Cluster, id string) (killed []*harness.Node)
	}{
		{"the connection's node", func(c *harness.Cluster, _ string) []*harness.Node { return c.Nodes[:1] }},
		{"the shard's leader", func(c *harness.Cluster, id string) []*harness.Node {
			return []*harness.Node{c.Leader(c.Home(id))}
		}},
		{"all nodes", func(c *harness.Cluster, _ string) []*harness.Node { return c.Nodes }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			survives(t, c.kill)
		})
	}
}

func survives(t *testing.T, kill func(c *harness.Cluster, id string) []*harness.Node) {
	const before, after = 40, 60
	c := start(t, harness.Options{Nodes: 3})
	sub := &reader{t: t, conn: connect(t, c.Nodes, keeping("sub")), open: map[uint16]bool{}}
	sub.conn.Subscribe("q/+", 2)
	sub.conn.Subscribe("other", 1)
	pub := newPublisher(t, "pub", c.Nodes[2], c.Nodes[1], c.Nodes[0])
	publish := func(from, to int) {
		for i := from; i < to; i++ {
			payload, q := numbered(i)
			pub.publish("q/x", payload, q, nil)
		}
	}
	publish(0, before)
	// The first is done, the second is received and not released, all others are
	// sent and without answer, or wait.
	first, second := sub.conn.Expect(mqtt.PUBLISH).Publish, sub.conn.Expect(mqtt.PUBLISH).Publish
	sub.receive(&first)
	sub.receive(&second)
	sub.conn.Send(&mqtt.Ack{Kind: mqtt.PUBACK, PacketID: first.PacketID}, &mqtt.Ack{Kind: mqtt.PUBREC, PacketID: second.PacketID})
	for {
		if p, err := sub.conn.Next(); err != nil {
			t.Fatal(err)
		} else if p.Kind == mqtt.PUBREL {
			break
		}
	}

	killed := kill(c, "sub")
	for _, n := range killed {
		n.Kill()
	}
	if len(killed) == len(c.Nodes) {
		for _, n := range killed {
			n.Start()
		}
		c.WaitReady()
	}
	publish(before, after)
	sub.conn = resume(t, c.Nodes, keeping("sub"))
	sub.until(after)
	// The subscriptions are there, and no others.
	pub.publish("other", "1:end", 1, nil)
	sub.until(after + 1)
	for _, finding := range checkOnce(append(numberedTo(after), "1:end"), sub.got, atLeastOnce) {
		t.Error(finding)
	}
	for _, n := range killed {
		if !n.Running() {
			n.Restart()
		}
	}
	c.WaitAgree(3)
}

// TestRetainedSurvives (P8): after kill -9 of all nodes each topic has the value
// that was acknowledged last, and what was deleted stays deleted.
func TestRetainedSurvives(t *testing.T) {
	t.Parallel()
	const topics = 30
	c := start(t, harness.Options{Nodes: 3})
	pub := client(t, c.Nodes[0], "pub")
	retain := func(i int, payload string) {
		pub.PublishPacket(mqtt.Publish{Topic: fmt.Appendf(nil, "r/%d", i), Payload: []byte(payload), QoS: 1, Retain: true})
	}
	want := make(map[string]string)
	for i := range topics {
		retain(i, "old")
		switch i % 3 {
		case 0:
			retain(i, "new")
			want[fmt.Sprintf("r/%d", i)] = "new"
		case 1:
			retain(i, "")
		case 2:
			want[fmt.Sprintf("r/%d", i)] = "old"
		}
	}
	// Each node has them, then each again after all were killed.
	check := func(when string) {
		t.Helper()
		for _, n := range c.Nodes {
			sub := client(t, n, "sub-"+n.Name+when)
			sub.Subscribe("r/#", 1)
			got := make(map[string]string)
			for range want {
				m := sub.Receive()
				got[string(m.Topic)] = string(m.Payload)
			}
			sub.ExpectQuiet()
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s, on %s: %v instead of %v", when, n.Name, got, want)
			}
		}
	}
	check("before")
	c.Nodes[1].Kill()
	c.Nodes[1].Restart()
	check("one was killed")
	for _, n := range c.Nodes {
		n.Kill()
	}
	for _, n := range c.Nodes {
		n.Start()
	}
	c.WaitReady()
	check("all were killed")
}

// TestWillsSurvive (P6): the wills of connections whose node is killed are
// published once, with their delay or without; so they are when all nodes are
// killed. A session that is resumed before its will's delay is over has none
// published.
func TestWillsSurvive(t *testing.T) {
	for _, all := range []bool{false, true} {
		t.Run(map[bool]string{false: "a node", true: "all nodes"}[all], func(t *testing.T) {
			t.Parallel()
			c := start(t, harness.Options{Nodes: 3})
			watcher := connect(t, c.Nodes[1:], keeping("watcher"))
			watcher.Subscribe("w/+", 2)
			mortal := func(id string, expiry, delay uint32) mqtt.Connect {
				hello := mqtt.Connect{ClientID: []byte(id), SessionExpiry: expiry, HasWill: true}
				hello.Will = mqtt.Will{Topic: []byte("w/" + id), Payload: []byte("gone"), QoS: 2, Delay: delay}
				return hello
			}
			for _, hello := range []mqtt.Connect{
				mortal("ephemeral", 0, 0), mortal("persistent", 3600, 0), mortal("delayed", 3600, 2), mortal("resumed", 3600, 600),
			} {
				connect(t, c.Nodes[:1], hello)
			}
			if all {
				for _, n := range c.Nodes {
					n.Kill()
				}
				for _, n := range c.Nodes {
					n.Start()
				}
				c.WaitReady()
				watcher = resume(t, c.Nodes, keeping("watcher"))
			} else {
				c.Nodes[0].Kill()
			}
			resume(t, c.Nodes[1:], mortal("resumed", 3600, 600))
			var got []string
			for range 3 {
				got = append(got, string(watcher.Receive().Topic))
			}
			slices.Sort(got)
			if want := []string{"w/delayed", "w/ephemeral", "w/persistent"}; !slices.Equal(got, want) {
				t.Errorf("the wills on %v were published", got)
			}
			watcher.ExpectQuiet()
		})
	}
}
