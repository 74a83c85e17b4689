package bench

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"text/tabwriter"
	"time"

	"dunlin/e2e/harness"
	"dunlin/proto/mqtt"
)

// recovery is how long a client waits when something happens to a node.
type recovery struct {
	name       string
	must, goal time.Duration // of the median
	once       func(b *testing.B, c *harness.Cluster) time.Duration
}

// BenchmarkRecovery measures what a client sees of a node's end and of a takeover,
// several times each, and prints the medians.
func BenchmarkRecovery(b *testing.B) {
	rounds, takeovers := 7, 300
	if *quick {
		rounds, takeovers = 1, 10
	}
	c := harness.Start(b, harness.Options{Nodes: 3})
	c.NeedReplicas()
	var out bytes.Buffer
	table := tabwriter.NewWriter(&out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "what a client waits for\ttimes\tmedian\tlongest\tmust\tgoal\t")
	show := func(name string, ds []time.Duration, must, goal time.Duration) {
		slices.Sort(ds)
		fmt.Fprintf(table, "%s\t%d\t%v\t%v\t%v\t%v\t\n", name, len(ds), round(ds[len(ds)/2]), round(ds[len(ds)-1]), must, goal)
	}
	for _, r := range []recovery{
		{"commit gap, kill -9 of the leader", time.Second, 250 * time.Millisecond, func(b *testing.B, c *harness.Cluster) time.Duration {
			return gap(b, c, (*harness.Node).Kill, (*harness.Node).Restart)
		}},
		{"commit gap, graceful stop of the leader", 250 * time.Millisecond, 100 * time.Millisecond, func(b *testing.B, c *harness.Cluster) time.Duration {
			return gap(b, c, (*harness.Node).Stop, (*harness.Node).Restart)
		}},
		{"commit gap, the leader's host is silent", 6 * time.Second, 6 * time.Second, func(b *testing.B, c *harness.Cluster) time.Duration {
			return gap(b, c, (*harness.Node).Pause, func(n *harness.Node) {
				n.Resume()
				n.WaitReady()
			})
		}},
	} {
		var waited []time.Duration
		for range rounds {
			waited = append(waited, r.once(b, c))
		}
		show(r.name, waited, r.must, r.goal)
	}
	moves := takeover(b, c, takeovers)
	slices.Sort(moves)
	show("takeover between nodes", moves, 0, 0)
	p99 := moves[len(moves)*99/100]
	show("of these, 99 of 100 below", []time.Duration{p99}, 100*time.Millisecond, 100*time.Millisecond)
	table.Flush()
	fmt.Fprintf(os.Stdout, "\n%s\n", out.String())
}

func round(d time.Duration) time.Duration {
	if d > time.Second {
		return d.Round(10 * time.Millisecond)
	}
	return d.Round(100 * time.Microsecond)
}

// gap is the longest that a publisher waits for an acknowledgement of what a
// majority keeps for a session, while the leader of the session's shard meets its
// end. The publisher is connected to another node and does one thing at a time.
func gap(b *testing.B, c *harness.Cluster, end, restore func(*harness.Node)) (longest time.Duration) {
	b.Helper()
	const id = "gap-sub"
	sub := harness.Connect(b, c.Nodes[0].MQTT, mqtt.Connect{ClientID: []byte(id), SessionExpiry: 3600})
	sub.Subscribe("gap", 1)
	sub.Disconnect()
	leader := c.Leader(c.Home(id))
	at := c.Nodes[(slices.Index(c.Nodes, leader)+1)%3]
	hello := mqtt.Connect{ClientID: []byte("gap-pub"), CleanStart: true}
	pub := harness.Connect(b, at.MQTT, hello)
	number := uint16(0)
	// once publishes until it is acknowledged, on another connection if need be.
	once := func() {
		began := time.Now()
		for number++; ; {
			pub.Send(&mqtt.Publish{Topic: []byte("gap"), Payload: []byte("x"), QoS: 1, PacketID: number})
			p, err := pub.Next()
			if err == nil && p.Kind == mqtt.PUBACK && p.Ack.Reason < mqtt.Unspecified {
				break
			}
			pub.Drop()
			harness.Eventually(b, "the publisher is back", func() (err error) {
				pub, err = harness.Attempt(b, at.MQTT, hello)
				return err
			})
		}
		longest = max(longest, time.Since(began))
	}
	for range 50 {
		once()
	}
	longest = 0
	ended := make(chan struct{})
	go func() {
		end(leader)
		close(ended)
	}()
	for over := (time.Time{}); over.IsZero() || time.Since(over) < time.Second; {
		once()
		select {
		case <-ended:
			if over.IsZero() {
				over = time.Now()
			}
		default:
		}
	}
	pub.Disconnect()
	restore(leader)
	harness.Within(b, time.Minute, "the cluster is whole", func() error { return c.Whole(3) })
	clean := harness.Connect(b, at.MQTT, mqtt.Connect{ClientID: []byte(id), CleanStart: true})
	clean.Disconnect()
	return longest
}

// takeover is how long CONNECT to CONNACK takes of sessions that are connected to
// another node, each once: who does it over and over is slowed down.
func takeover(b *testing.B, c *harness.Cluster, times int) (took []time.Duration) {
	b.Helper()
	for i := range times {
		hello := mqtt.Connect{ClientID: fmt.Appendf(nil, "nomad-%d", i), SessionExpiry: 3600}
		old := harness.Connect(b, c.Nodes[i%3].MQTT, hello)
		began := time.Now()
		next := harness.Connect(b, c.Nodes[(i+1)%3].MQTT, hello)
		took = append(took, time.Since(began))
		if !next.Connack.SessionPresent {
			b.Fatal("no session present")
		}
		if p, err := old.Next(); err != nil || p.Kind != mqtt.DISCONNECT {
			b.Fatal(errors.Join(errors.New("the old connection is not sent away"), err))
		}
		old.Drop()
		next.Disconnect()
	}
	return took
}
