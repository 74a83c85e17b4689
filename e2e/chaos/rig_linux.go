package chaos

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"dunlin/e2e/chaos/check"
	"dunlin/e2e/chaos/client"
	"dunlin/e2e/chaos/fault"
	"dunlin/e2e/chaos/history"
	"dunlin/e2e/chaos/lan"
	"dunlin/e2e/harness"
)

var (
	seedFlag     = flag.Uint64("chaos.seed", 0, "seed of a run; 0: a new one")
	durationFlag = flag.Duration("chaos.duration", 0, "how long the faults of each scenario go on; 0: the smoke scenarios only")
	longFlag     = flag.Duration("chaos.long", 0, "how long nodes are killed in TestLong, and twice as long as anything else there goes on; 0: not at all")
)

// rig is a cluster under test: its nodes, numbered from 1 as the ports of the
// LAN, and the history of what happens to it.
type rig struct {
	t       testing.TB
	seed    uint64
	rnd     *rand.Rand // the nemesis's
	lan     *lan.LAN
	ca      *harness.CA
	cluster *harness.Cluster
	nodes   []client.Node
	disks   *fault.Disks // nil unless the scenario cuts their power
	clock   *fault.Clock // nil unless the scenario turns it
	rec     *history.Recorder
	pace    float64       // what the times between a client's messages are multiplied by
	began   time.Duration // when the faults did, and when they ended
	ended   time.Duration
	heals   []time.Duration
	spared  []string      // by the attack at hand
	grace   time.Duration // how much longer than majorityBound the attack at hand may stop them
	serving []check.Window
	feed    *feed
	base    check.Sample
}

// newRig starts a cluster for s.
func newRig(t testing.TB, s scenario) *rig {
	t.Helper()
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64N(1 << 32)
	}
	t.Logf("seed %d", seed)
	r := &rig{t: t, seed: seed, rnd: rand.New(rand.NewPCG(seed, 0)), rec: history.NewRecorder(seed), pace: 1}
	t.Cleanup(r.keep)
	var err error
	if r.lan, err = lan.Open(s.nodes, seed); errors.Is(err, lan.ErrUnavailable) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.lan.Close(); err != nil {
			t.Error(err)
		}
	})
	if s.disks {
		if r.disks, err = fault.Mount(s.nodes, 256<<20); errors.Is(err, fault.ErrUnavailable) {
			t.Skip(err)
		} else if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := r.disks.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	r.ca = harness.NewCA(t)
	r.cluster = harness.Lay(t, harness.Options{
		Nodes: cmp.Or(s.members, s.nodes),
		Args:  append([]string{"--allow-anonymous"}, s.args...),
		Place: func(i int) harness.Place {
			at := harness.Place{Host: r.lan.Host(i + 1), Within: r.lan.Within(i + 1)}
			at.Args = r.ca.Args(fmt.Sprint("n", i+1), at.Host)
			if r.disks != nil {
				at.Dir = r.disks.Dir(i)
			}
			return at
		},
	})
	if s.clock {
		if r.clock, err = fault.BuildClock(harness.Root(t), "./cmd/dunlin", t.TempDir()); errors.Is(err, fault.ErrUnavailable) {
			t.Skip(err)
		} else if err != nil {
			t.Fatal(err)
		}
		r.cluster.Nodes[0].Bin = r.clock.Bin
	}
	t.Cleanup(r.heal) // nodes are stopped in order over a network that works
	for _, n := range r.cluster.Nodes {
		r.nodes = append(r.nodes, client.Node{Name: n.Name, Addr: n.MQTT})
		n.Start()
	}
	r.cluster.WaitReady()
	if s.replicated {
		r.cluster.NeedReplicas()
	}
	return r
}

// paced is how long a client takes between two messages that are d apart in a
// short run.
func (r *rig) paced(d time.Duration) time.Duration { return time.Duration(float64(d) * r.pace) }

// watch begins to look at the nodes from inside.
func (r *rig) watch() {
	nodes := make(map[string]watched)
	for _, n := range r.cluster.Nodes {
		nodes[n.Name] = n
	}
	r.feed = watch(nodes, time.Second)
}

// held is what all nodes hold together: where leaders and connections are moves
// between them.
func (r *rig) held() check.Sample {
	all := check.Sample{Node: "the cluster"}
	for _, n := range r.cluster.Nodes {
		h := n.Held()
		all.Goroutines += h.Goroutines
		all.Files += h.Files
		all.Heap += h.Heap
		all.Disk += h.Disk
	}
	return all
}

// slack is what a cluster may hold beyond its base after a run: what clients have
// left retained and queued, goroutines of Raft's that come and go, and logs
// between two snapshots.
var slack = check.Slack{Part: 0.25, Goroutines: 100, Files: 60, Heap: 64 << 20, Disk: 512 << 20}

// inside is what was seen of the nodes beside what clients saw: their replicas
// agree in the end, epochs rose, and they hold no more than before.
func (r *rig) inside(s scenario) (found []check.Violation) {
	if s.replicated {
		r.cluster.WaitAgree(3)
		r.pause(2 * time.Second) // the feed sees it
	}
	found, compared := r.feed.end()
	held := r.held()
	r.t.Logf("%d states of replicas compared; held before %+v, after %+v", compared, r.base, held)
	return append(found, check.Residue(r.base, held, slack)...)
}

// quick holds what probes waited for since all was well to a bound (P10).
func (r *rig) quick(probes []string, since time.Duration) []check.Violation {
	var waited []time.Duration
	h := r.rec.History()
	for i := range h.Events {
		e := &h.Events[i]
		if e.Op == history.Publish && e.Outcome == history.OK && e.Invoke > since && slices.Contains(probes, e.Client) {
			waited = append(waited, e.Return-e.Invoke)
		}
	}
	return check.Others(waited, quickBound)
}

// quickBound is far beyond what a publish takes, for a machine that is shared.
const quickBound = 2 * time.Second

// heal ends every fault of the network and of processes, and waits until the
// nodes are ready.
func (r *rig) heal() {
	for from := range r.lan.Ports() {
		for to := range r.lan.Ports() {
			r.lan.Set(from, to, lan.Rule{})
		}
	}
	for _, n := range r.cluster.Nodes {
		if n.Running() {
			n.Resume()
		}
	}
}

// recover heals, starts what is not running, and notes when all was well.
func (r *rig) recover() {
	r.heal()
	for _, n := range r.cluster.Nodes {
		if !n.Running() {
			n.Start()
		}
	}
	r.cluster.WaitReady()
	r.rec.Fault("heal", "", "all")
	r.heals = append(r.heals, r.rec.Now())
}

// judge hands the history to the checkers and sums it up. Found is what was found
// otherwise.
func (r *rig) judge(s scenario, found []check.Violation) figures {
	r.t.Helper()
	h := r.rec.History()
	o := check.DefaultOptions()
	o.QoS0 = s.quiet
	found = append(found, check.History(h, o)...)
	found = append(found, check.Progress(h, s.probes, r.heals, r.serving, s.bound)...)
	f := sum(h, found, s.probes, r.began, r.ended)
	f.scenario = s.name
	passed, dropped := r.lan.Counts()
	var table strings.Builder
	printFigures(&table, []figures{f})
	r.t.Logf("%d packets passed, %d dropped\n%s", passed, dropped, table.String())
	tell(r.t, found)
	return f
}

// keep writes the history of a run that failed to a folder that outlives the test.
func (r *rig) keep() {
	if !r.t.Failed() {
		return
	}
	dir, err := os.MkdirTemp("", "dunlin-chaos-run-")
	if err == nil {
		err = r.rec.History().Write(dir)
	}
	r.t.Logf("history and fault log in %s (%v); the same schedule again with -chaos.seed=%d", dir, err, r.seed)
}
