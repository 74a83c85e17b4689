package router

import "github.com/cespare/xxhash/v2"

// Sum describes a set of routes, so that two tables can be compared: those of a
// node or a shard as it has them, and as another node holds them. Equal sets have
// equal sums, in whatever order they came.
type Sum struct {
	Exact, Wildcards, Groups int
	Hash                     uint64 // of all filters
	Members                  uint64 // hash of how many are in which group; not of a shard's groups
}

func (s *Sum) exact(fp uint64)         { s.Exact++; s.Hash += spread(fp) }
func (s *Sum) wildcard(pattern string) { s.Wildcards++; s.Hash += spread(xxhash.Sum64String(pattern)) }

func (s *Sum) group(filter string, members uint32) {
	h := spread(xxhash.Sum64String(filter))
	s.Groups++
	s.Hash += h
	s.Members += spread(h + uint64(members))
}

// spread makes of a hash another whose sums tell sets apart.
func spread(h uint64) uint64 {
	h ^= h >> 32
	h *= 0x9E3779B97F4A7C15
	h ^= h >> 29
	h *= 0xBF58476D1CE4E5B9
	return h ^ h>>32
}

// Sums describes the routes of each node and shard in the table, and this node's
// own under 0. It takes no lock: what changes meanwhile may be in a sum or not, so
// that a sum is of a version only if that was the same before and after.
func (tb *Table) Sums() map[NodeID]Sum {
	sums := make(map[NodeID]*Sum)
	of := func(n NodeID) *Sum {
		s := sums[n]
		if s == nil {
			s = new(Sum)
			sums[n] = s
		}
		return s
	}
	for fp := range tb.mu.own.all {
		of(0).exact(fp)
	}
	for fp, n := range tb.remote.all {
		of(n).exact(fp)
	}
	for p, e := range tb.wild.all {
		pattern := string(p)
		if e.isOwn() {
			of(0).wildcard(pattern)
		}
		for _, n := range e.nodes() {
			of(n).wildcard(pattern)
		}
	}
	for e := range tb.groups.all {
		e.group().sums(of)
	}
	out := make(map[NodeID]Sum, len(sums))
	for n, s := range sums {
		out[n] = *s
	}
	return out
}

// nodes are the other nodes and shards among e's parties.
func (e *entry) nodes() []NodeID {
	switch e.kind {
	case kindNode:
		return []NodeID{NodeID(e.party)}
	case kindMany:
		return e.set().allNodes()
	}
	return nil
}

func (g *Group) sums(of func(NodeID) *Sum) {
	if n := g.own(); n > 0 {
		of(0).group(g.filter.text, n)
	}
	for _, s := range *g.remote.Load() {
		of(s.node).group(g.filter.text, s.count)
	}
	if q := NodeID(g.queue.Load()); q != 0 {
		of(q).group(g.filter.text, 0)
	}
}
