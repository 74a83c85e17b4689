package load

import "slices"

// progress follows the messages of one publisher to their subscribers.
type progress struct {
	copies int
	shared bool
	sent   uint64
	// done is the lowest number of which not all copies have come; came counts
	// those of the numbers from done on, as a ring.
	done uint64
	came []uint16
	next []uint64 // the number that each subscriber gets next, if not shared

	delivered int // copies that came in time
	late      int
}

// ring is at least twice any window, a power of two.
const ring = 4096

func newProgress(s Scenario) *progress {
	return &progress{
		copies: s.copies(),
		shared: s.Spread == Share,
		came:   make([]uint16, ring),
		next:   make([]uint64, s.Subscribers),
	}
}

// deliver notes that message n came to a subscriber.
func (p *progress) deliver(n uint64, subscriber int) {
	if p.shared {
		if n < p.done || n >= p.sent || p.came[n%ring] > 0 {
			p.late++
			return
		}
	} else {
		if n < p.next[subscriber] || n >= p.sent {
			p.late++
			return
		}
		p.next[subscriber] = n + 1
	}
	p.delivered++
	p.came[n%ring]++
	for p.done < p.sent && int(p.came[p.done%ring]) == p.copies {
		p.came[p.done%ring] = 0
		p.done++
	}
}

// underway is the number of messages of which copies are still to come.
func (p *progress) underway() int { return int(p.sent - p.done) }

// missing is the number of copies that have not come.
func (p *progress) missing() int { return int(p.sent)*p.copies - p.delivered }

// latencies are samples in nanoseconds.
type latencies []int64

// quantile is the value below which the share q of the samples lie.
func (l latencies) quantile(q float64) int64 {
	if len(l) == 0 {
		return 0
	}
	slices.Sort(l)
	return l[min(int(q*float64(len(l))), len(l)-1)]
}
