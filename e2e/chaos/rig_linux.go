package chaos

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
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
	seedFlag       = flag.Uint64("chaos.seed", 0, "seed of a run; 0: a new one")
	durationFlag   = flag.Duration("chaos.duration", 0, "how long the faults of each scenario go on; 0: the smoke scenario only")
	replicatedFlag = flag.Bool("chaos.replicated", false, "run the scenarios that need replicated shards too")
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
	heals   []time.Duration
	serving []check.Window
}

// newRig starts a cluster for s.
func newRig(t testing.TB, s scenario) *rig {
	t.Helper()
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64N(1 << 32)
	}
	t.Logf("seed %d", seed)
	r := &rig{t: t, seed: seed, rnd: rand.New(rand.NewPCG(seed, 0)), rec: history.NewRecorder(seed)}
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
	return r
}

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

// dead says whether a node was killed between two times.
func (r *rig) dead(node string, from, to time.Duration) bool {
	return slices.ContainsFunc(r.rec.History().Faults, func(f history.Fault) bool {
		return f.Node == node && (f.Kind == "kill" || f.Kind == "power") && f.At >= from && f.At <= to
	})
}

// judge hands the history to the checkers and keeps it if they find anything.
func (r *rig) judge(s scenario) {
	r.t.Helper()
	h := r.rec.History()
	o := check.DefaultOptions()
	o.QoS0 = s.quiet
	o.Dead = r.dead
	found := check.History(h, o)
	found = append(found, check.Progress(h, s.probes, r.heals, r.serving, s.bound)...)
	counts := make(map[history.Op]int)
	for i := range h.Events {
		counts[h.Events[i].Op]++
	}
	passed, dropped := r.lan.Counts()
	r.t.Logf("%d faults; events %v; %.2f %% of claims and retained operations unknown; %d packets passed, %d dropped",
		len(h.Faults), counts, 100*check.UnknownShare(h), passed, dropped)
	for i, v := range found {
		if i == 20 {
			r.t.Errorf("and %d more", len(found)-i)
			break
		}
		r.t.Error(v)
	}
	if r.t.Failed() {
		r.keep(h)
	}
}

// keep writes the history to a folder that outlives the test.
func (r *rig) keep(h *history.History) {
	dir, err := os.MkdirTemp("", "dunlin-chaos-run-")
	if err == nil {
		err = h.Write(dir)
	}
	r.t.Logf("history and fault log in %s (%v); the same schedule again with -chaos.seed=%d", dir, err, r.seed)
}
