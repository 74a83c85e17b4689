package chaos

import (
	"testing"
	"time"

	"dunlin/e2e/chaos/check"
	"dunlin/e2e/chaos/client"
)

// scenario is a cluster, its clients and its faults.
type scenario struct {
	name       string
	nodes      int
	members    int      // of the nodes' places, how many have one of the cluster's; 0: all
	args       []string // of dunlin serve
	disks      bool     // data directories on disks that can lose their power
	clock      bool     // node 1 has a clock that can be turned
	replicated bool     // holds only when shards have replicas
	quiet      bool     // nothing dies and no stream breaks: QoS 0 is delivered too
	crew       func(r *rig) crew
	attacks    []attack
	rest       [2]time.Duration // between two attacks
	probes     []string         // clients that publish to one node each
	bound      time.Duration    // of their recovery
}

// crew is the clients of a scenario.
type crew struct {
	clients []*client.Client
	others  []interface{ Stop() } // readers and rivals
}

// calm is how long nothing has come when a session counts as drained.
const calm = 1500 * time.Millisecond

// patience is how long the clients may take to settle after healing.
const patience = 90 * time.Second

// run runs s with faults for so long. With a pace, clients take that many times
// longer between two messages.
func (s scenario) run(t *testing.T, d time.Duration, pace float64) figures {
	r := newRig(t, s)
	r.pace = pace
	all := s.crew(r)
	r.wait("settle before the faults", all.clients, (*client.Client).Settled)
	r.base = r.held()
	r.watch()
	r.began = r.rec.Now()
	r.harass(s.attacks, s.rest, d)
	r.ended = r.rec.Now()
	r.recover()
	var found []check.Violation
	var since time.Duration // all is well
	if len(s.probes) > 0 {
		r.pause(s.bound) // they go on for as long as they may take
		since = r.rec.Now()
		r.pause(calm)
		found = r.quick(s.probes, since)
	}
	for _, o := range all.others {
		o.Stop()
	}
	if len(s.probes) > 0 {
		found = append(found, check.Reads(r.rec.History(), since)...)
	}
	for _, c := range all.clients {
		c.Mute()
	}
	r.wait("settle after the faults", all.clients, (*client.Client).Settled)
	r.wait("be drained", all.clients, func(c *client.Client) bool { return c.Drain(calm) })
	found = append(found, r.inside(s)...)
	for _, c := range all.clients {
		c.Stop()
	}
	return r.judge(s, found)
}

// wait polls until each client has done what is asked of it.
func (r *rig) wait(what string, cs []*client.Client, done func(*client.Client) bool) {
	r.t.Helper()
	end := time.Now().Add(patience)
	for _, c := range cs {
		for !done(c) {
			if time.Now().After(end) {
				r.t.Errorf("progress: client %s does not %s within %v", c.ID, what, patience)
				break
			}
			r.pause(20 * time.Millisecond)
		}
	}
}
