package check

import (
	"cmp"
	"slices"
)

// State is the hash of one replica's state after an entry (D6).
type State struct {
	Node  string
	Shard int
	Index uint64
	Hash  uint64
}

// Entry is one committed entry of one replica's log.
type Entry struct {
	Node  string
	Shard int
	Index uint64
	Term  uint64
	Hash  uint64 // of type and bytes
}

// Replicas: the states of a shard are equal at equal index on all nodes, and so
// are the committed entries of its logs; what one log has in its middle no other
// lacks in its.
func Replicas(states []State, logs []Entry) []Violation {
	r := report{rule: "replicas"}
	type at struct {
		shard int
		index uint64
	}
	first := make(map[at]State)
	for _, s := range states {
		k := at{s.Shard, s.Index}
		if f, ok := first[k]; !ok {
			first[k] = s
		} else if f.Hash != s.Hash {
			r.about("state", "shard %d at %d: %s has %x, %s has %x", s.Shard, s.Index, f.Node, f.Hash, s.Node, s.Hash)
		}
	}
	entries := make(map[at]Entry)
	for _, e := range logs {
		k := at{e.Shard, e.Index}
		if f, ok := entries[k]; !ok {
			entries[k] = e
		} else if f.Hash != e.Hash || f.Term != e.Term {
			r.about("log", "shard %d entry %d: %s has %x of term %d, %s has %x of term %d", e.Shard, e.Index, f.Node, f.Hash, f.Term, e.Node, e.Hash, e.Term)
		}
	}
	holes(&r, logs)
	return r.sorted()
}

// holes reports logs that miss an index between two that they have.
func holes(r *report, logs []Entry) {
	logs = slices.Clone(logs)
	slices.SortFunc(logs, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(a.Shard, b.Shard), cmp.Compare(a.Node, b.Node), cmp.Compare(a.Index, b.Index))
	})
	for i := 1; i < len(logs); i++ {
		a, b := logs[i-1], logs[i]
		if a.Shard == b.Shard && a.Node == b.Node && b.Index > a.Index+1 {
			r.about("hole", "shard %d on %s has no entry between %d and %d", a.Shard, a.Node, a.Index, b.Index)
		}
	}
}
