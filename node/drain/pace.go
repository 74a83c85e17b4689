package drain

import "time"

// Pace bounds how many clients go in any second, wherever that second begins: a bucket of
// tokens, of which one is added in each interval, and which is so much smaller than the rate
// that what it holds and what is added make no more than the rate together. Whoever is late
// may catch up on a fiftieth of a second, and no more.
//
// It has one user.
type Pace struct {
	interval time.Duration // in which a token is added
	most     int           // tokens that it holds
	full     time.Time     // when it has as many; those it has now follow from that
}

// NewPace is one of at most rate in a second, which is positive. It begins empty.
func NewPace(rate int, now time.Time) *Pace {
	most := max(rate/50, 1)
	added := time.Duration(rate - most + 1) // in a second
	p := &Pace{interval: (time.Second + added - 1) / added, most: most}
	p.full = now.Add(time.Duration(most) * p.interval)
	return p
}

// Most is how many may go at once.
func (p *Pace) Most() int { return p.most }

// Wait is how long it takes until n may go, who are no more than Most.
func (p *Pace) Wait(n int, now time.Time) time.Duration {
	lacking := p.full.Sub(now) - time.Duration(p.most-n)*p.interval
	return max(lacking, 0)
}

// Take says whether n may go now, and counts them as gone if so.
func (p *Pace) Take(n int, now time.Time) bool {
	if p.Wait(n, now) > 0 {
		return false
	}
	if p.full.Before(now) {
		p.full = now
	}
	p.full = p.full.Add(time.Duration(n) * p.interval)
	return true
}
