package raftstore

import "testing"

// P10: what a shard remembers of publishers whose sessions have ended goes, and the memory too.
func TestPublishersGiveMemoryBack(t *testing.T) {
	p := newPublishers()
	for origin := range uint64(50_000) {
		p.accept(origin, 1, 1)
	}
	for origin := range uint64(49_000) {
		p.forget(origin)
	}
	if p.most > 10_000 {
		t.Errorf("the map of %d publishers has had %d", len(p.seen), p.most)
	}
	for origin := range uint64(50_000) {
		if fresh := p.accept(origin, 1, 1); fresh != (origin < 49_000) {
			t.Fatalf("message of publisher %d is new: %v", origin, fresh)
		}
	}
}

// memory that finds them in it are bounded (P10).
