package broker

import (
	"maps"
	"slices"
	"sync"

	"dunlin/session"
)

// accepted remembers which QoS 2 messages of persistent publishers were given to
// live subscribers, so that a publisher's resend reaches none of them twice (R2).
// Each loop has one for its connections, and judges a message when it comes there:
// then of two copies that come by different ways, each in order, the first of each
// message are in order too (P7). One more is the node's, for share groups. They are
// kept until the publisher's session ends.
type accepted struct {
	mu      sync.Mutex
	origins map[uint64]*received // by Message.Origin
	most    int                  // that were in it since it was made: a map gives no memory back
}

// received is what was accepted of one publisher: every sequence number below low,
// and those in above, which are in ascending order. Their number is bounded by the
// publisher's Receive Maximum, since low follows what it has released.
type received struct {
	low   uint64
	above []uint64
}

// first says whether m is new here, and remembers it. Messages without an origin
// always are.
func (a *accepted) first(m *session.Message) bool {
	if m.Origin == 0 {
		return true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	r := a.origins[m.Origin]
	if r == nil {
		if a.origins == nil {
			a.origins = make(map[uint64]*received)
		}
		r = &received{}
		a.origins[m.Origin] = r
		a.most = max(a.most, len(a.origins))
	}
	if m.Low > r.low {
		r.low = m.Low
		i, _ := slices.BinarySearch(r.above, r.low)
		r.above = slices.Delete(r.above, 0, i)
	}
	if m.Seq < r.low {
		return false
	}
	i, seen := slices.BinarySearch(r.above, m.Seq)
	if !seen {
		r.above = slices.Insert(r.above, i, m.Seq)
	}
	return !seen
}

// forget drops the memory of a publisher whose session has ended.
func (a *accepted) forget(origin uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.origins, origin)
	if a.most > fewOrigins && len(a.origins) <= a.most/8 {
		origins := make(map[uint64]*received, len(a.origins))
		maps.Copy(origins, a.origins)
		a.origins, a.most = origins, len(origins)
	}
}

// fewOrigins are those for whom no smaller map is made.
const fewOrigins = 1024

// forget drops the node's memory of a publisher whose session has ended.
func (b *Broker) forget(origin uint64) {
	b.accepted.forget(origin)
	for _, w := range b.workers {
		w.heard.forget(origin)
	}
}

// judgement is what a loop has found of the message at hand.
type judgement byte

const (
	unjudged judgement = iota
	firstCopy
	laterCopy
)

// isFirst says whether the message at hand is the first of its copies to come to
// this loop, which it remembers: once for all subscribers that it is for.
func (w *worker) isFirst(m *session.Message, j *judgement) bool {
	if *j == unjudged {
		if *j = laterCopy; w.heard.first(m) {
			*j = firstCopy
		}
	}
	return *j == firstCopy
}
