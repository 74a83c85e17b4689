package limit

import (
	"sync/atomic"
	"time"
)

// rate is how often something may happen, kept by buckets: a token each interval, and as
// many at once as come within burst. The zero value sets no bound.
type rate struct{ interval, burst int64 } // nanoseconds

// perSecond is n in a second, and a burst's worth of them at once, but one at least.
func perSecond(n int, burst time.Duration) rate {
	if n <= 0 {
		return rate{}
	}
	interval := max(int64(time.Second)/int64(n), 1)
	return rate{interval, max(int64(burst), interval)}
}

// A bucket is the time at which it would be full again, which says all there is to say of
// a bucket of tokens: one that is full, like the zero value, is in the past.
type bucket int64

// has says whether the bucket has n tokens.
func (b bucket) has(r rate, n, now int64) bool { return max(int64(b), now)+n*r.interval-now <= r.burst }

// without is the bucket with a token less.
func (b bucket) without(r rate, now int64) bucket { return bucket(max(int64(b), now) + r.interval) }

// isFull says that nothing is to be remembered of it.
func (b bucket) isFull(now int64) bool { return int64(b) <= now }

// sharedBucket is one for any goroutine.
type sharedBucket struct {
	r  rate
	at atomic.Int64 // a bucket
}

// take takes a token, if there is one.
func (s *sharedBucket) take(now int64) bool {
	for s.r.interval > 0 {
		b := bucket(s.at.Load())
		if !b.has(s.r, 1, now) {
			return false
		}
		if s.at.CompareAndSwap(int64(b), int64(b.without(s.r, now))) {
			break
		}
	}
	return true
}
