package load

import "slices"

// spread is how streams of messages meet subscribers.
type spread byte

const (
	pairs  spread = iota // stream i goes to subscriber i alone
	every                // each stream goes to every subscriber
	shared               // each message goes to one of the subscribers
)

// ledger follows numbered messages to subscribers and finds what came twice or out of
// order. What never came is for the caller to know, by what was sent: every message
// is in fresh once, however late it came.
//
// Subscribers are numbered as in the whole run. A ledger is for a range of them;
// those of a share group must be in one.
type ledger struct {
	spread  spread
	first   int // subscriber
	streams int
	next    []uint64 // by subscriber and stream, by stream if shared: the lowest number above all that came
	gaps    map[int][]gap
	open    int // gaps in all
	rings   []ring

	fresh      uint64 // messages that came for the first time
	duplicates uint64
	reordered  uint64
}

// gap is numbers that were passed over, from low up to but without high.
type gap struct{ low, high uint64 }

// maxGaps bounds what a ledger remembers of numbers passed over. What of them comes
// after it is full counts as come twice.
const maxGaps = 1 << 18

func newLedger(s spread, first, subscribers, streams int) *ledger {
	l := &ledger{spread: s, first: first, streams: streams, gaps: map[int][]gap{}}
	switch s {
	case pairs:
		l.next = make([]uint64, subscribers)
	case every:
		l.next = make([]uint64, subscribers*streams)
	case shared:
		l.rings = make([]ring, streams)
	}
	return l
}

// deliver notes that a message came to a subscriber. passed is how many messages of
// the stream need not be waited for any more: the message and those before it that
// were passed over; 0 if it was one of them, or came twice. ok is false if it was
// none of this subscriber's.
func (l *ledger) deliver(subscriber, stream int, n uint64) (passed int, ok bool) {
	if stream >= l.streams {
		return 0, false
	}
	at := subscriber - l.first
	switch l.spread {
	case pairs:
		if stream != subscriber {
			return 0, false
		}
	case every:
		at = at*l.streams + stream
	case shared:
		if !l.rings[stream].take(n) {
			l.duplicates++
			return 0, true
		}
		l.fresh++
		return 1, true
	}
	next := l.next[at]
	if n < next {
		l.late(at, n)
		return 0, true
	}
	if n > next && l.open < maxGaps {
		l.gaps[at] = append(l.gaps[at], gap{next, n})
		l.open++
	}
	l.next[at] = n + 1
	l.fresh++
	return int(n + 1 - next), true
}

// late notes a message whose number is below one that came.
func (l *ledger) late(at int, n uint64) {
	gs := l.gaps[at]
	i, _ := slices.BinarySearchFunc(gs, n, func(g gap, n uint64) int {
		if g.high <= n {
			return -1
		}
		return 1
	})
	if i == len(gs) || n < gs[i].low {
		l.duplicates++
		return
	}
	l.fresh++
	l.reordered++
	switch g := gs[i]; {
	case g.high-g.low == 1:
		gs = slices.Delete(gs, i, i+1)
		l.open--
	case n == g.low:
		gs[i].low++
	case n == g.high-1:
		gs[i].high--
	default:
		gs[i].low = n + 1
		gs = slices.Insert(gs, i, gap{g.low, n})
		l.open++
	}
	if len(gs) == 0 {
		delete(l.gaps, at)
	} else {
		l.gaps[at] = gs
	}
}

// ring is which of a stream's messages came, in whatever order: all below base, and
// of those above it the ones whose bit is set.
type ring struct {
	base uint64
	came [ringSize / 64]uint64
}

// ringSize is how far one of the messages of a share group may be ahead of another.
// One that is passed over by more counts as come twice when it comes.
const ringSize = 4096

// take says whether n comes for the first time.
func (r *ring) take(n uint64) bool {
	if n == r.base && !r.has(n+1) { // as it mostly is
		r.base++
		return true
	}
	if n < r.base {
		return false
	}
	for n >= r.base+ringSize {
		r.advance()
	}
	if r.has(n) {
		return false
	}
	r.came[n%ringSize/64] |= 1 << (n % 64)
	for r.has(r.base) {
		r.advance()
	}
	return true
}

func (r *ring) has(n uint64) bool { return r.came[n%ringSize/64]&(1<<(n%64)) != 0 }

func (r *ring) advance() {
	r.came[r.base%ringSize/64] &^= 1 << (r.base % 64)
	r.base++
}
