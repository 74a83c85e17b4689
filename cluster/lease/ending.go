package lease

import (
	"time"

	"dunlin/raftstore/meta"
)

// fate is what a state of meta tells about the leases of a generation.
type fate uint8

const (
	// lasts: voters may grant it leases, or it may yet be admitted.
	lasts fate = iota
	// running: voters that know this state grant it no more; the latest lease that
	// was granted may run.
	running
	// over: no lease is held in it, now or ever. It released them, was never
	// admitted, or the node has begun a later one, which it does only after it
	// has acknowledged for the last time in this one.
	over
)

// fateOf is monotonic: a later state gives the same or a later fate.
func fateOf(s *meta.State, h holder) fate {
	n, ok := s.Nodes[h.Node]
	switch {
	case !ok && h.Node > s.Numbered:
		return lasts // the state is behind
	case !ok:
		return running // retired
	case n.Generation < h.Generation:
		return lasts // the state is behind
	case n.Generation > h.Generation:
		return over
	case !n.Revoked:
		return lasts
	case n.Released || !n.Admitted:
		return over
	default:
		return running
	}
}

// ending waits for the end of a generation whose fate is running. A majority of
// voters must have said that they grant it no more, and since when; whatever any
// majority granted before was asked for before the latest of these times, and ends a
// term later.
type ending struct {
	quorum
	last time.Time // the latest of these times, by this node's clock
	over time.Time // by this node's clock; zero while a majority is missing
}

// confirm notes that a voter of q grants no more, and did so last at that time at
// the latest.
func (e *ending) confirm(voter string, last time.Time, wait time.Duration) {
	e.add(voter)
	if last.After(e.last) {
		e.last = last
	}
	if e.over.IsZero() && e.reached() {
		e.over = e.last.Add(wait)
	}
}

// passed says that the latest lease is over.
func (e *ending) passed(now time.Time) bool { return !e.over.IsZero() && !now.Before(e.over) }
