package broker

import (
	"dunlin/node/limit"
	"dunlin/proto/mqtt"
	"dunlin/session"
)

// A client that sends faster than it may is not read from until what it has sent is paid
// for: its packets wait in its socket, and what it does there nobody else feels (case 57).
// That is looked at every tick, so that no connection has a timer; a second's worth at once
// is allowed, which is some ticks, so that nothing is lost by it.
//
// What counts is what a client does of its own accord: each packet, but for
// acknowledgements of what it was sent, whose number is ours, and PUBREL, whose PUBLISH has
// counted. One for an identifier that nobody knows does count (case 27).

// tooFast holds c, or ends it, if it sends faster than it may.
func (w *worker) tooFast(c *conn) bool {
	a, now := w.conns.account(c), w.loop.Now()
	switch w.Flow.Excess(a, now) {
	case limit.NoExcess:
		return false
	case limit.MessageExcess:
		w.counters.Limited[LimitMessageRate]++
	case limit.ByteExcess:
		w.counters.Limited[LimitByteRate]++
	}
	if w.Flow.Hold(a, now) {
		w.counters.Limited[LimitRatePatience]++
		w.end(c, mqtt.MessageRateTooHigh)
		return true
	}
	w.hold(c, holdRate)
	w.hasty = append(w.hasty, c.id)
	return true
}

// charge counts a packet of c that came to verb.
func (w *worker) charge(c *conn, kind mqtt.Kind, verb session.Verb, size int) {
	switch kind {
	case mqtt.PUBACK, mqtt.PUBREC, mqtt.PUBREL, mqtt.PUBCOMP:
		if verb != session.Nothing {
			return
		}
	}
	w.Flow.Charge(w.conns.account(c), size, w.loop.Now())
}

// resumeHasty reads again from those that have waited for long enough.
func (w *worker) resumeHasty() {
	now, left := w.loop.Now(), w.hasty[:0]
	for _, id := range w.hasty {
		switch c := w.conn(id); {
		case c == nil:
		case w.Flow.Excess(w.conns.account(c), now) != limit.NoExcess:
			left = append(left, id)
		default:
			w.release(c, holdRate)
		}
	}
	w.hasty = left
}
