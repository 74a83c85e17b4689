package bench

// A row is a line of the table of targets. Its numbers are microseconds, as they
// stand there: those of the floor were measured with the same generator's
// forerunner, and only their ratios are used.
type row struct {
	name     string
	scenario string  // of loads
	relay    string  // topology of the floor
	nodes    int     // of two, publishers are on the first and subscribers on the last; of three, they are everywhere
	target   target  // the zero value: none
	latency  *target // of the median, in a row that has a rate
}

// target is what a row shall cost.
type target struct{ floor, must, goal float64 }

var rows = []row{
	{"fan-in 50 -> 1, QoS 0", "fan-in", "every", 1, target{0.21, 1.2, 0.6}, nil},
	{"fan-out 1 -> 100, QoS 0", "fan-out", "every", 1, target{0.16, 0.7, 0.35}, nil},
	{"1:1, QoS 0", "pairs-0", "pairs", 1, target{0.28, 1.5, 0.7}, nil},
	{"1:1, QoS 1, window 20", "pairs-1", "pairs", 1, target{0.72, 3, 1.8}, nil},
	{"1:1, QoS 2", "pairs-2", "pairs", 1, target{1.5, 6, 3.2}, nil},
	{"share group, QoS 1, 50 -> 10", "share-1", "share", 1, target{0.57, 3, 1.8}, nil},
	{"1:1, QoS 1, 5,000/s, one a write", "rate-1", "pairs", 1, target{40, 60, 42}, &target{40, 100, 60}},
	{"node to node, QoS 0", "pairs-0", "pairs", 2, target{0.28, 4, 2}, nil},
	{"node to node, QoS 1, ephemeral", "pairs-1", "pairs", 2, target{0.72, 10, 6}, nil},
	{"connect and claim, 64 at once", "connects-64", "pairs", 1, target{33, 60, 40}, nil},
	{"connect and claim, one after the other", "connects", "pairs", 1, target{33, 60, 40}, nil},
	{"subscribe and unsubscribe", "subscribes", "pairs", 1, target{}, nil},
	{"three nodes, QoS 1 to a persistent session", "durable-1", "pairs", 3, target{0.72, 40, 20}, nil},
	{"three nodes, persistent, 2,000/s, one a write", "durable-rate-1", "pairs", 3, target{40, 200, 100}, &target{40, 5000, 2000}},
	{"three nodes, connect and claim", "connects", "pairs", 3, target{}, nil},
	{"three nodes, connect and claim, 64 at once", "connects-64", "pairs", 3, target{}, nil},
	{"three nodes, subscribe and unsubscribe", "subscribes", "pairs", 3, target{}, nil},
	{"three nodes, subscribe, session kept", "durable-subscribes", "pairs", 3, target{}, nil},
}

// loads are what the rows have dunlin bench do.
var loads = map[string]string{
	"fan-in":             "fanin -c 50 -t load/all --flat-out -F 64 --batch 32",
	"fan-out":            "fanout -c 100 -t load/all --flat-out -F 64 --batch 32",
	"pairs-0":            "p2p -c 50 -t load/%i --flat-out -F 64 --batch 32",
	"pairs-1":            "p2p -c 50 -t load/%i -q 1 --flat-out -F 20 --batch 20",
	"pairs-2":            "p2p -c 50 -t load/%i -q 2 --flat-out -F 20 --batch 20",
	"share-1":            "sharesub -c 50 --subscribers 10 -t load/all -q 1 --flat-out -F 20 --batch 20",
	"rate-1":             "p2p -c 50 -t load/%i -q 1 --rate 5000 -F 1000 --latency-from-write",
	"durable-1":          "p2p -c 50 -t load/%i -q 1 --clean=false --flat-out -F 20 --batch 20",
	"durable-rate-1":     "p2p -c 50 -t load/%i -q 1 --clean=false --rate 2000 -F 1000 --latency-from-write",
	"connects":           "conn -c 1 --churn",
	"connects-64":        "conn -c 64 --churn",
	"connects-many":      "conn -c 2000 --churn --pending 64",
	"subscribes":         "sub -c 64 --churn -t load/%i/%n/+ -q 1",
	"durable-subscribes": "sub -c 64 --churn -t load/%i/%n/+ -q 1 --clean=false",
}

// must and goal are the target in multiples of the floor.
func (t target) mustTimes() float64 { return t.must / t.floor }
func (t target) goalTimes() float64 { return t.goal / t.floor }

// verdict says what a multiple of the floor reaches.
func (t target) verdict(times float64) string {
	switch {
	case t == target{}:
		return "-"
	case times <= t.goalTimes():
		return "goal"
	case times <= t.mustTimes():
		return "must"
	}
	return "MISSED"
}
