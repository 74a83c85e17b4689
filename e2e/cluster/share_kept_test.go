package cluster

import (
	"errors"
	"fmt"
	"testing"

	"dunlin/e2e/harness"
	"dunlin/proto/mqtt"
)

// crew is the members of a share group of which some keep their sessions: each
// reads what comes to it.
type crew []*reader

// newCrew has a member on each of nodes.
func newCrew(t *testing.T, c *harness.Cluster, hello ...mqtt.Connect) (all crew) {
	t.Helper()
	for i, h := range hello {
		m := &reader{t: t, conn: connect(t, c.Nodes[i:], h), open: map[uint16]bool{}}
		m.conn.Subscribe(shared, 2)
		all = append(all, m)
	}
	return all
}

// take has the members take what is there, and says how many different jobs are
// missing that came neither to them nor to the others.
func (all crew) take(jobs int, others ...*reader) error {
	seen := map[string]bool{}
	for _, m := range all {
		for m.conn.Waiting() {
			m.take()
		}
	}
	for _, m := range append(all[:len(all):len(all)], others...) {
		for _, job := range m.got {
			seen[job] = true
		}
	}
	if len(seen) < jobs {
		return fmt.Errorf("%d of %d", len(seen), jobs)
	}
	return nil
}

// until takes until all are there.
func (all crew) until(jobs int, others ...*reader) {
	all[0].t.Helper()
	harness.Eventually(all[0].t, fmt.Sprintf("%d jobs have come", jobs), func() error { return all.take(jobs, others...) })
}

// checkShared holds what came to all members against jobs that were published: each
// to one of them, of QoS 2 once (P9).
func checkShared(jobs int, members ...*reader) (findings []string) {
	count := map[string]int{}
	for _, m := range members {
		for _, job := range m.got {
			count[job]++
		}
	}
	for i := range jobs {
		switch job, q := numbered(i); {
		case count[job] == 0:
			findings = append(findings, job+" came to nobody")
		case count[job] > 1 && q == 2:
			findings = append(findings, fmt.Sprintf("%s came %d times", job, count[job]))
		}
	}
	return findings
}

func TestPlantedShared(t *testing.T) {
	a, b := &reader{got: []string{"1:0", "2:1"}}, &reader{got: []string{"1:0"}}
	if f := checkShared(2, a, b); len(f) != 0 {
		t.Errorf("found %q", f)
	}
	if f := checkShared(3, a, b); len(f) != 1 {
		t.Errorf("found %q in a loss", f)
	}
	b.got = append(b.got, "2:1")
	if f := checkShared(2, a, b); len(f) != 1 {
		t.Errorf("found %q in a double", f)
	}
}

// TestKeptShareGroupMemberDies: what a member had when it died goes to others, but
// for what of QoS 2 was sent to it, which it gets when it is back (P9,
// [MQTT-4.8.2-4]).
func TestKeptShareGroupMemberDies(t *testing.T) {
	for _, v := range []struct {
		name string
		die  func(c *harness.Cluster, victim *reader)
	}{
		{"client", func(_ *harness.Cluster, victim *reader) { victim.conn.Drop() }},
		{"node", func(c *harness.Cluster, _ *reader) { c.Nodes[0].Kill() }},
	} {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			const before, after = 60, 90
			c := start(t, harness.Options{Nodes: 3})
			all := newCrew(t, c, keeping("victim"), keeping("heir"), mqtt.Connect{ClientID: []byte("guest"), CleanStart: true})
			victim, living := all[0], all[1:]
			pub := newPublisher(t, "pub", c.Nodes[2], c.Nodes[1])
			publish := func(from, to int) {
				for i := from; i < to; i++ {
					job, q := numbered(i)
					pub.publish("jobs", job, q, nil)
				}
			}
			publish(0, before)
			harness.Eventually(t, "each job has come to somebody", func() error {
				for victim.conn.Waiting() { // which acknowledges nothing
					p := victim.conn.Expect(mqtt.PUBLISH).Publish
					victim.receive(&p)
				}
				return living.take(before, victim)
			})
			held := map[string]bool{}
			for _, job := range victim.got {
				held[job] = true
			}
			v.die(c, victim)
			publish(before, after)
			handed := func() map[string]bool {
				jobs := map[string]bool{}
				for _, m := range living {
					for _, job := range m.got {
						jobs[job] = true
					}
				}
				return jobs
			}
			harness.Eventually(t, "what the member had of QoS 1 has gone to others", func() error {
				_ = living.take(0)
				for job := range held {
					if job[0] == '1' && !handed()[job] {
						return errors.New(job)
					}
				}
				return nil
			})
			for job := range handed() {
				if held[job] && job[0] == '2' {
					t.Errorf("%s, which was sent to the member, went to another", job)
				}
			}
			victim.conn = resume(t, c.Nodes[1:], keeping("victim"))
			all.until(after)
			for len(victim.open) > 0 {
				victim.take()
			}
			for _, finding := range checkShared(after, all...) {
				t.Error(finding)
			}
			if !c.Nodes[0].Running() {
				c.Nodes[0].Restart()
			}
			c.WaitAgree(3)
		})
	}
}

// TestKeptShareGroupSurvives: what waits in a group without anybody connected
// survives nodes, leaders, and all of them at once (P1, P9).
func TestKeptShareGroupSurvives(t *testing.T) {
	t.Parallel()
	c := start(t, harness.Options{Nodes: 3})
	all := newCrew(t, c, keeping("a"), keeping("b"))
	pub := newPublisher(t, "pub", c.Nodes...)
	published := 0
	publish := func(n int) {
		for range n {
			job, q := numbered(published)
			pub.publish("jobs", job, q, nil)
			published++
		}
	}
	publish(10)
	all.until(published)
	for _, m := range all {
		m.conn.Drop()
	}
	publish(20)
	for _, n := range c.Nodes {
		n.Kill()
		publish(10)
		n.Restart()
	}
	for _, n := range c.Nodes {
		n.Kill()
	}
	for _, n := range c.Nodes {
		n.Start()
	}
	c.WaitReady()
	for i, m := range all {
		m.conn = resume(t, c.Nodes[i:], keeping([]string{"a", "b"}[i]))
	}
	all.until(published)
	for _, finding := range checkShared(published, all...) {
		t.Error(finding)
	}
	for _, m := range all {
		if len(m.got) == 0 {
			t.Errorf("%s got nothing", m.conn.ID)
		}
	}
	c.WaitAgree(3)
}
