package chaos

import (
	"time"

	"dunlin/e2e/chaos/fault"
	"dunlin/e2e/chaos/lan"
)

// Some lengths of time.
const (
	ms     = time.Millisecond
	second = time.Second
)

func lasting(least, most time.Duration) [2]time.Duration { return [2]time.Duration{least, most} }

var three = []int{1, 2, 3}

// smoke is what every test run does: all kinds of ephemeral clients on three
// nodes, over links with some delay.
var smoke = scenario{
	name: "smoke", nodes: 3, rest: lasting(100*ms, 300*ms),
	crew: func(r *rig) crew {
		return r.mixed(mix{at: three, every: 10 * ms, churn: true, group: true, probes: true})
	},
	attacks: []attack{
		weather("delay", lasting(second, second), lan.Rule{Delay: 5 * ms, Jitter: 5 * ms}),
		weather("loss", lasting(second, second), lan.Rule{Loss: 0.02, Duplicate: 0.02}),
	},
	probes: []string{"probe-n1", "probe-n2", "probe-n3"}, bound: 3 * second,
}

// ephemeral are the scenarios that hold without replicas: sessions that end with
// their connection, and others that never leave their node.
var ephemeral = []scenario{
	{
		name: "delay", nodes: 3, quiet: true, rest: lasting(0, second),
		crew: func(r *rig) crew {
			return r.mixed(mix{at: three, every: 5 * ms, churn: true, group: true, probes: true})
		},
		attacks: []attack{
			weather("delay", lasting(second, 4*second), lan.Rule{Delay: 20 * ms, Jitter: 20 * ms}),
			weather("jitter", lasting(second, 4*second), lan.Rule{Jitter: 50 * ms}),
			weather("reorder", lasting(second, 4*second), lan.Rule{Delay: 3 * ms, Reorder: 0.1}),
		},
		probes: []string{"probe-n1", "probe-n2", "probe-n3"}, bound: 5 * second,
	},
	{
		name: "bad links", nodes: 3, rest: lasting(0, second),
		crew: func(r *rig) crew {
			return r.mixed(mix{at: three, every: 5 * ms, churn: true, group: true, probes: true})
		},
		attacks: []attack{
			weather("loss 1 %", lasting(second, 4*second), lan.Rule{Loss: 0.01}),
			weather("loss 5 %", lasting(second, 4*second), lan.Rule{Loss: 0.05, Delay: 2 * ms}),
			weather("loss 20 %", lasting(second, 4*second), lan.Rule{Loss: 0.20}),
			weather("duplicates", lasting(second, 4*second), lan.Rule{Duplicate: 0.2, Reorder: 0.1, Delay: 2 * ms}),
			weather("slow", lasting(second, 4*second), lan.Rule{Rate: 200_000}),
		},
		probes: []string{"probe-n1", "probe-n2", "probe-n3"}, bound: 10 * second,
	},
	{
		// Shorter than it takes to declare a node dead: for more, leases are needed (E4).
		name: "cut streams", nodes: 3, rest: lasting(second, 3*second),
		crew: func(r *rig) crew { return r.mixed(mix{at: three, every: 5 * ms, group: true, probes: true}) },
		attacks: []attack{
			cut("one way", lasting(100*ms, 1500*ms), oneWay),
			cut("mute", lasting(100*ms, 1500*ms), mute),
			cut("alone", lasting(100*ms, 1500*ms), alone),
			cut("ring", lasting(100*ms, 1500*ms), ring),
			cut("flap", lasting(50*ms, 200*ms), halves),
			exile(lasting(100*ms, 1500*ms)),
		},
		probes: []string{"probe-n1", "probe-n2", "probe-n3"}, bound: 20 * second,
	},
	{
		name: "bystander dies", nodes: 3, rest: lasting(second, 3*second),
		crew: func(r *rig) crew {
			return r.mixed(mix{at: []int{1, 2}, every: 5 * ms, churn: true, group: true, probes: true})
		},
		attacks: []attack{
			kill(lasting(100*ms, 3*second), 3),
			stop(lasting(100*ms, 2*second), 3),
			freeze(lasting(100*ms, 8*second), 3),
		},
		probes: []string{"probe-n1", "probe-n2"}, bound: 10 * second,
	},
	{
		// Without a share group: one with persistent members is kept only by replicas.
		name: "sessions of one node", nodes: 3, rest: lasting(0, second),
		crew: func(r *rig) crew {
			return r.mixed(mix{
				at: []int{1}, expiry: time.Hour, every: 5 * ms, move: 2 * second, mid: 0.005,
				wills: true, retained: true, rivals: true, probes: true,
			})
		},
		attacks: []attack{freeze(lasting(100*ms, second), 1)},
		probes:  []string{"probe-n1"}, bound: 5 * second,
	},
}

// everything is the crew that needs replicas: persistent sessions that move
// between all nodes, also in the middle of a handshake.
func everything(r *rig) crew {
	return r.mixed(mix{
		at: three, roam: true, expiry: time.Hour, every: 10 * ms, move: 5 * second, mid: 0.002,
		churn: true, group: true, wills: true, retained: true, rivals: true, probes: true,
	})
}

var allProbes = []string{"probe-n1", "probe-n2", "probe-n3"}

// snapshotting has shards take snapshots every few seconds of a run.
var snapshotting = []string{"--snapshot-log-size", "256KB"}

// killed is the smoke scenario of replicated shards.
var killed = scenario{
	name: "a node is killed", bound: 10 * second, rest: lasting(second, 2*second),
	attacks: []attack{kill(lasting(100*ms, 2*second))},
}

// replicated are the scenarios of nodes that die, with all they have.
var replicated = []scenario{
	{
		name: "kill", bound: 15 * second, rest: lasting(second, 4*second),
		attacks: []attack{kill(lasting(100*ms, 4*second)), killAll(lasting(100*ms, second)), stop(lasting(100*ms, second))},
	},
	{
		name: "pause", bound: 20 * second, rest: lasting(second, 4*second),
		attacks: []attack{freeze(lasting(100*ms, 20*second))},
	},
	{
		name: "partition", bound: 25 * second, rest: lasting(2*second, 6*second),
		attacks: []attack{
			cut("halves", lasting(second, 15*second), halves), cut("alone", lasting(second, 15*second), alone),
			cut("one way", lasting(second, 15*second), oneWay), cut("mute", lasting(second, 15*second), mute),
			cut("ring", lasting(second, 15*second), ring), cut("flap", lasting(50*ms, 300*ms), halves),
			exile(lasting(second, 10*second)),
		},
	},
	{
		name: "loss", bound: 15 * second, rest: lasting(0, second),
		attacks: []attack{
			weather("loss 5 %", lasting(5*second, 20*second), lan.Rule{Loss: 0.05, Delay: ms, Jitter: 2 * ms}),
			weather("slow", lasting(2*second, 8*second), lan.Rule{Rate: 500_000}),
		},
	},
	{
		name: "power", disks: true, bound: 20 * second, rest: lasting(4*second, 8*second),
		attacks: []attack{power(true, lasting(100*ms, second)), power(false, lasting(100*ms, 4*second))},
	},
	{
		name: "disk", bound: 25 * second, rest: lasting(2*second, 5*second),
		attacks: []attack{
			syncs("slow disk", lasting(2*second, 10*second), slowDisk),
			syncs("hung disk", lasting(5*second, 30*second), hungDisk),
			syncs("broken disk", lasting(2*second, 5*second), brokenDisk),
		},
	},
	{
		name: "clock", clock: true, bound: 10 * second, rest: lasting(second, 3*second),
		attacks: []attack{turn(lasting(second, 4*second)), kill(lasting(100*ms, second), 2, 3)},
	},
	{
		name: "corruption", bound: 20 * second, rest: lasting(3*second, 6*second),
		attacks: []attack{
			spoil(fault.BitFlip, lasting(100*ms, 2*second)), spoil(fault.Truncation, lasting(100*ms, 2*second)),
			spoil(fault.Missing, lasting(100*ms, 2*second)), stale(lasting(100*ms, 2*second)),
		},
	},
	{
		name: "membership", nodes: 4, bound: 25 * second, rest: lasting(2*second, 5*second),
		attacks: []attack{leave(lasting(100*ms, 2*second)), replace(lasting(100*ms, 2*second)), kill(lasting(100*ms, second))},
	},
	{
		name: "shortage", bound: 20 * second, rest: lasting(2*second, 4*second),
		attacks: []attack{
			short("little processor", lasting(2*second, 10*second), littleCPU),
			short("little memory", lasting(2*second, 6*second), littleMemory),
			short("no descriptors", lasting(2*second, 6*second), noFiles),
		},
	},
}

// long is the run whose figures stand in the documents: of each a part of the
// time that TestLong is given.
var long = []struct {
	scenario
	part float64
}{
	{scenario{name: "kill -9 of a node", bound: 15 * second, rest: lasting(second, 4*second), attacks: []attack{kill(lasting(100*ms, 4*second))}}, 1},
	{scenario{name: "pause", bound: 20 * second, rest: lasting(second, 4*second), attacks: []attack{freeze(lasting(100*ms, 20*second))}}, 0.5},
	{scenario{name: "partition", bound: 25 * second, rest: lasting(2*second, 6*second), attacks: []attack{
		cut("halves", lasting(second, 15*second), halves), cut("one way", lasting(second, 15*second), oneWay),
		cut("ring", lasting(second, 15*second), ring),
	}}, 0.5},
	{scenario{name: "5 % loss", bound: 15 * second, rest: lasting(0, second), attacks: []attack{
		weather("loss 5 %", lasting(30*second, 60*second), lan.Rule{Loss: 0.05}),
	}}, 0.5},
	{scenario{name: "power loss of all", disks: true, bound: 20 * second, rest: lasting(4*second, 8*second), attacks: []attack{
		power(true, lasting(100*ms, second)),
	}}, 0.5},
	{scenario{name: "slow disk", bound: 20 * second, rest: lasting(second, 4*second), attacks: []attack{
		syncs("slow disk", lasting(5*second, 20*second), slowDisk),
	}}, 0.5},
}

// whole is s with the crew that needs replicas, on three nodes unless it has more.
func (s scenario) whole() scenario {
	s.nodes, s.replicated, s.args, s.crew, s.probes = max(s.nodes, 3), true, snapshotting, everything, allProbes
	return s
}
