package check

import (
	"time"

	"dunlin/e2e/chaos/history"
)

// will (P6): a will is published exactly once when its connection ends other
// than by DISCONNECT 0x00, after its delay or at the session's end, whichever
// comes first; not before, not later than a bound, and not at all when the
// session is resumed in time. Those who certainly subscribed to its topic in
// time are its witnesses.
func will(w *world, o Options) []Violation {
	r := report{rule: "will"}
	for client, cs := range w.clients {
		for i, c := range cs {
			if !c.connect.Will {
				continue
			}
			var next *conn
			if i+1 < len(cs) {
				next = cs[i+1]
			}
			expect := w.willDue(c, next, o)
			for _, l := range w.lives {
				if !l.ordinary(c.connect.Topic) {
					continue // what came all the same is invented
				}
				w.witness(&r, client, c.connect, l, expect)
			}
		}
	}
	return r.sorted()
}

// due says whether a will is published, and between which times.
type due struct {
	must, mustNot   bool
	earliest        time.Duration // it is not published before
	latest          time.Duration // it is published by then, if it must
	subscribedSince time.Duration // a witness has subscribed by then
}

// dying is how long a node may take to end that is killed.
const dying = time.Second

func (w *world) willDue(c, next *conn, o Options) due {
	if c.end == nil && next == nil {
		return due{mustNot: true, subscribedSince: c.connect.Return} // it has not ended
	}
	ended, expiry := c.over(next)
	d := due{subscribedSince: ended.invoke}
	if c.end != nil && c.end.Cause == history.Orderly {
		// Without the server's answer it may have seen a mere loss; and a node that dies
		// ends a connection as one that has heard.
		d.mustNot = c.end.Outcome == history.OK && !w.h.Dead(c.end.Node, c.end.Invoke-dying, c.end.Return)
		d.earliest, d.latest = ended.invoke, history.Never
		if d.mustNot {
			return d
		}
	}
	delay := min(c.connect.WillDelay, expiry)
	d.earliest = ended.invoke + delay
	d.latest = ended.ret + delay + o.WillBound
	d.must = c.end == nil || c.end.Cause != history.Orderly
	switch {
	case next == nil || delay == 0:
	case !next.connect.Present: // the session's end comes before the delay's [MQTT-3.1.3-9]
		d.earliest = min(d.earliest, next.connect.Invoke)
		d.latest = min(d.latest, next.connect.Return+o.WillBound)
	case next.connect.Return < d.earliest: // resumed in time [MQTT-3.1.3-9]
		d.must, d.mustNot = false, true
	case next.connect.Invoke <= d.latest: // resumed about then
		d.must = false
	}
	return d
}

// witness holds what one session saw of a will against what is due.
func (w *world) witness(r *report, client string, connect *history.Event, l *life, d due) {
	count := 0
	for _, e := range l.delivered {
		if e.Payload != connect.Payload || e.Retain {
			continue
		}
		if e.Fresh && !e.Dup {
			count++
		}
		if count == 0 {
			count = 1 // all we have seen of it is a resend
		}
		switch {
		case d.mustNot:
			r.about("false", "the will of connection %d of %s came to %s after %v", connect.Conn, client, l.client, e.Invoke)
		case e.Invoke < d.earliest:
			r.about("early", "the will of connection %d of %s came to %s after %v, before %v", connect.Conn, client, l.client, e.Invoke, d.earliest)
		case d.must && e.Invoke > d.latest && l.heldThrough(e.Conn, d.earliest):
			r.about("late", "the will of connection %d of %s came to %s after %v, due at the latest after %v", connect.Conn, client, l.client, e.Invoke, d.latest)
		}
	}
	if count > 1 {
		r.about("twice", "the will of connection %d of %s came %d times to %s", connect.Conn, client, count, l.client)
	}
	if count == 0 && d.must && l.mustSee(connect, d) {
		r.about("missing", "the will of connection %d of %s never came to %s", connect.Conn, client, l.client)
	}
}

// heldThrough says whether l's connection was there since before at.
func (l *life) heldThrough(number int, at time.Duration) bool {
	for _, c := range l.conns {
		if c.connect.Conn == number {
			return c.connect.Return < at
		}
	}
	return false
}

// mustSee says whether l is a witness of the will: subscribed from the end of
// the connection until it was drained, after the will was due.
func (l *life) mustSee(connect *history.Event, d due) bool {
	for _, drain := range l.drains {
		if drain.Invoke < d.latest {
			continue
		}
		for _, s := range l.subs {
			if s.group == "" && min(s.qos, connect.QoS) > 0 && s.certain(d.subscribedSince, drain.Invoke) && matches(s.filter, connect.Topic) {
				return true
			}
		}
	}
	return false
}
