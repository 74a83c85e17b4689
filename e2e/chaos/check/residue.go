package check

import (
	"slices"
	"time"
)

// Sample is what a node holds at a time.
type Sample struct {
	Node       string
	Goroutines int
	Files      int    // open descriptors
	Heap       uint64 // bytes
	Disk       uint64 // bytes under its data directory
}

// Slack is how much more than its base a node may hold after an abuse: a part of
// the base and something for what comes and goes by itself.
type Slack struct {
	Part       float64
	Goroutines int
	Files      int
	Heap, Disk uint64
}

// DefaultSlack is that of a node without load.
func DefaultSlack() Slack {
	return Slack{Part: 0.25, Goroutines: 20, Files: 20, Heap: 16 << 20, Disk: 64 << 20}
}

// Residue (P10): after an abuse a node holds what it held before.
func Residue(base, held Sample, s Slack) []Violation {
	r := report{rule: "residue"}
	compare := func(what string, before, after, slack float64) {
		if after > before*(1+s.Part)+slack {
			r.add("%s had %.0f %s and has %.0f", held.Node, before, what, after)
		}
	}
	compare("goroutines", float64(base.Goroutines), float64(held.Goroutines), float64(s.Goroutines))
	compare("descriptors", float64(base.Files), float64(held.Files), float64(s.Files))
	compare("bytes of heap", float64(base.Heap), float64(held.Heap), float64(s.Heap))
	compare("bytes on disk", float64(base.Disk), float64(held.Disk), float64(s.Disk))
	return r.sorted()
}

// Others (P10): the slowest hundredth of what other clients waited for stays
// within bound while one abuses the node.
func Others(latencies []time.Duration, bound time.Duration) []Violation {
	r := report{rule: "residue: others"}
	if len(latencies) == 0 {
		r.add("nothing was measured")
		return r.found
	}
	sorted := slices.Sorted(slices.Values(latencies))
	if p99 := sorted[len(sorted)*99/100]; p99 > bound {
		r.add("p99 of %d operations is %v, bound %v", len(sorted), p99, bound)
	}
	return r.found
}
