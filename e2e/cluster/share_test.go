package cluster

import (
	"fmt"
	"testing"
	"time"

	"dunlin/e2e/harness"
	"dunlin/proto/mqtt"
)

// group is a share group with one member on each node of three. The member on
// the last node is the one that dies.
type group struct {
	cluster *harness.Cluster
	pub     *harness.Client
	members []*harness.Client
}

const shared = "$share/g/jobs"

func newGroup(t *testing.T) *group {
	g := &group{cluster: harness.Start(t, harness.Options{Nodes: 3})}
	for _, n := range g.cluster.Nodes {
		m := client(t, n, "member-"+n.Name)
		m.Subscribe(shared, 1)
		g.members = append(g.members, m)
	}
	g.pub = client(t, g.cluster.Nodes[0], "pub")
	return g
}

// publish publishes jobs of these numbers.
func (g *group) publish(q mqtt.QoS, from, to int) {
	for i := from; i < to; i++ {
		g.pub.Publish("jobs", fmt.Sprint(i), q)
	}
}

// take has the living members take jobs from to to between them, and says who
// got how many.
func (g *group) take(t *testing.T, living []*harness.Client, seen map[string]bool, want int) {
	t.Helper()
	harness.Eventually(t, fmt.Sprintf("%d jobs have come", want), func() error {
		for _, m := range living {
			for m.Waiting() {
				seen[string(m.Receive().Payload)] = true
			}
		}
		if len(seen) < want {
			return fmt.Errorf("%d of %d", len(seen), want)
		}
		return nil
	})
}

// TestShareGroupDeath: what a member had not acknowledged when it died goes to
// others, and nothing goes to it any more (P9), whether its client dies or its
// whole node.
func TestShareGroupDeath(t *testing.T) {
	for _, c := range []struct {
		name string
		die  func(*group)
	}{
		{"client", func(g *group) { g.members[2].Drop() }},
		{"client in order", func(g *group) { g.members[2].Disconnect() }},
		{"unsubscribed", func(g *group) { g.members[2].Unsubscribe(shared) }},
		{"node", func(g *group) { g.cluster.Nodes[2].Kill() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			g := newGroup(t)
			living := g.members[:2]
			const jobs = 60
			seen := make(map[string]bool)

			// All members get their share; the one that is to die acknowledges nothing.
			g.publish(1, 0, jobs)
			var held int
			harness.Eventually(t, "each job has come to somebody", func() error {
				for _, m := range living {
					for m.Waiting() {
						seen[string(m.Receive().Payload)] = true
					}
				}
				for g.members[2].Waiting() {
					g.members[2].Expect(mqtt.PUBLISH)
					held++
				}
				if len(seen)+held < jobs {
					return fmt.Errorf("%d and %d held of %d", len(seen), held, jobs)
				}
				return nil
			})
			if held == 0 {
				t.Fatal("the member that is to die got nothing")
			}

			died := time.Now()
			c.die(g)
			if c.name != "unsubscribed" { // what was sent before UNSUBSCRIBE stays in flight there
				g.take(t, living, seen, jobs)
			} else {
				seen = make(map[string]bool)
				for i := range jobs {
					seen[fmt.Sprint(i)] = true
				}
			}

			// A second after the death nothing goes to the dead: jobs of QoS 0 would be
			// lost there.
			<-time.After(time.Until(died.Add(time.Second)))
			g.publish(0, jobs, 2*jobs)
			g.take(t, living, seen, 2*jobs)
			g.publish(1, 2*jobs, 3*jobs)
			g.take(t, living, seen, 3*jobs)
		})
	}
}

// TestShareGroupSpread: members on all nodes get jobs, whichever node they are
// published on, and each job comes once.
func TestShareGroupSpread(t *testing.T) {
	t.Parallel()
	g := newGroup(t)
	const jobs = 90
	for i, n := range g.cluster.Nodes {
		pub := client(t, n, fmt.Sprintf("pub-%d", i))
		for j := range jobs / 3 {
			pub.Publish("jobs", fmt.Sprint(i, j), mqtt.QoS(j%2))
		}
	}
	seen := make(map[string]int)
	got := make([]int, len(g.members))
	harness.Eventually(t, "all jobs have come", func() error {
		for i, m := range g.members {
			for m.Waiting() {
				seen[string(m.Receive().Payload)]++
				got[i]++
			}
		}
		if len(seen) < jobs {
			return fmt.Errorf("%d of %d", len(seen), jobs)
		}
		return nil
	})
	for job, n := range seen {
		if n > 1 {
			t.Errorf("job %s came %d times", job, n)
		}
	}
	for i, n := range got {
		if n == 0 {
			t.Errorf("member %d got nothing", i)
		}
	}
}
