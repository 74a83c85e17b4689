package bench

import (
	"flag"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"dunlin/e2e/harness"
	"dunlin/proto/mqtt"
)

var (
	sessionsFlag = flag.Int("sessions", 10_000, "sessions of BenchmarkOfflineSessions")
	messagesFlag = flag.Int("messages", 100, "messages queued for each")
)

// BenchmarkOfflineSessions queues messages for sessions that are not connected,
// kills all nodes, starts them, and has every session drained again: all there, in
// order. It prints what that costs. With -sessions=1000000 -messages=0 it is the
// restart of a million sessions, of which some are looked at again.
func BenchmarkOfflineSessions(b *testing.B) {
	d := offline{b: b, sessions: *sessionsFlag, messages: *messagesFlag}
	if *quick {
		d.sessions = 200
	}
	d.cluster = harness.Start(b, harness.Options{Nodes: 3})
	d.cluster.NeedReplicas()
	bare := heap(d.cluster)
	d.each(d.subscribe)
	base := heap(d.cluster)
	began := time.Now()
	if d.messages > 0 {
		d.each(d.publish)
	}
	queued := time.Since(began)
	d.cluster.WaitAgree(3)
	full := heap(d.cluster)

	all, sessions := max(1, d.sessions*d.messages), d.sessions
	for _, n := range d.cluster.Nodes {
		n.Kill()
	}
	began = time.Now()
	for _, n := range d.cluster.Nodes {
		n.Start()
	}
	for _, n := range d.cluster.Nodes {
		harness.Within(b, time.Minute, n.Name+" is ready", n.Ready) // with a million sessions it takes longer than others wait
	}
	up := time.Since(began)
	cpu := d.cpu()
	start := cpu
	held := d.resident()
	began = time.Now()
	if d.messages == 0 { // that they are there is enough
		d.sessions = min(d.sessions, sampled)
	}
	d.each(d.drain)
	drained := time.Since(began)
	cpu = d.cpu() - cpu

	fmt.Fprintf(os.Stdout, `
%d sessions with %d messages of %d bytes each, three nodes
  memory of a session, on each node     %6.0f bytes
  all nodes killed and ready again in   %v
    processor time of a node until then %6.2f seconds
    resident in a node then             %6.1f MB
`, sessions, d.messages, payload, float64(base-bare)/float64(3*sessions), up.Round(time.Millisecond), start/3, held/3/1e6)
	if d.messages > 0 {
		fmt.Fprintf(os.Stdout, `  memory of a queued message, on a node %6.0f bytes
  queued, acknowledged                  %6.0f messages a second
  drained, connects included            %6.0f messages a second, %.1f us of processor time each over all nodes
`, float64(full-base)/float64(3*all), float64(all)/queued.Seconds(), float64(all)/drained.Seconds(), cpu*1e6/float64(all))
	}
}

const (
	payload = 128
	sampled = 10_000 // sessions that are looked at again if nothing is queued for them
)

// offline is a run of BenchmarkOfflineSessions.
type offline struct {
	b                  *testing.B
	cluster            *harness.Cluster
	sessions, messages int
}

// each has f done for every session, fifty at a time, each at a node of its own.
func (d *offline) each(f func(node *harness.Node, session int)) {
	d.b.Helper()
	const at = 50
	var work sync.WaitGroup
	for w := range at {
		work.Go(func() {
			for i := w; i < d.sessions; i += at {
				f(d.cluster.Nodes[i%len(d.cluster.Nodes)], i)
			}
		})
	}
	work.Wait()
	if d.b.Failed() {
		d.b.FailNow()
	}
}

func (d *offline) hello(session int) mqtt.Connect {
	return mqtt.Connect{ClientID: fmt.Appendf(nil, "offline-%d", session), SessionExpiry: 3600}
}

func (d *offline) subscribe(n *harness.Node, session int) {
	c := harness.Connect(d.b, n.MQTT, d.hello(session))
	c.Subscribe(fmt.Sprintf("offline/%d", session), 1)
	c.Disconnect()
}

// publish publishes all that is for a session at once, and waits for the answers.
func (d *offline) publish(n *harness.Node, session int) {
	c := harness.Connect(d.b, n.MQTT, mqtt.Connect{CleanStart: true})
	var all []harness.Packet
	for i := range d.messages {
		text := fmt.Appendf(nil, "%0*d", payload, i)
		all = append(all, &mqtt.Publish{Topic: fmt.Appendf(nil, "offline/%d", session), Payload: text, QoS: 1, PacketID: uint16(i + 1)})
	}
	c.Send(all...)
	for i := range d.messages {
		if r := c.ExpectAck(mqtt.PUBACK, uint16(i+1)); r >= mqtt.Unspecified {
			d.b.Errorf("PUBACK %v", r)
		}
	}
	c.Disconnect()
}

func (d *offline) drain(n *harness.Node, session int) {
	c := harness.Connect(d.b, n.MQTT, d.hello(session))
	if !c.Connack.SessionPresent {
		d.b.Errorf("%s: no session present", c.ID)
		return
	}
	for i := range d.messages {
		if m := c.Receive(); string(m.Payload) != fmt.Sprintf("%0*d", payload, i) {
			d.b.Errorf("%s: %q came as message %d", c.ID, m.Payload, i)
			return
		}
	}
	c.ExpectQuiet()
	c.Disconnect()
}

// cpu is the seconds of processor time of all nodes.
func (d *offline) cpu() (sum float64) {
	for _, n := range d.cluster.Nodes {
		sum += n.Metrics()["process_cpu_seconds_total"]
	}
	return sum
}

// resident is the memory of all nodes, in bytes.
func (d *offline) resident() (sum float64) {
	for _, n := range d.cluster.Nodes {
		sum += n.Metrics()["process_resident_memory_bytes"]
	}
	return sum
}
