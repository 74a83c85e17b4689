package session

import (
	"strings"

	"dunlin/proto/mqtt"
	"dunlin/router"
)

// Shares says whether any of the subscriptions may be to a share group; it says
// so of some that are not.
func (d *Durable) Shares() bool { return strings.Contains(d.subs, "$share/") }

// Subscribed says whether f is among the subscriptions.
func (d *Durable) Subscribed(f router.Filter) bool {
	_, to := d.findFilter(f.String())
	return to > 0
}

// Room is how many messages of one share group the session takes at once: what
// its client does, half the committed window.
func (d *Durable) Room() uint16 { return max(d.inflight/2, 1) }

// EnqueueShared appends a message of QoS 1 or 2 that a share group gives the
// session, whose own bounds do not count for it: the group keeps to Room. id is
// the subscription identifier, 0 for none. The caller then calls Next.
func (d *Durable) EnqueueShared(ref uint32, qos mqtt.QoS, retain bool, id uint32, b Bodies) {
	if d.out == nil {
		d.out = &outbound{base: 1}
	}
	e := entry{ref: ref, id: id, flags: flagShared}
	if qos == 2 {
		e.flags |= flagQoS2
	}
	if retain {
		e.flags |= flagRetain
	}
	d.out.add(e, b)
}

// Reclaim takes out what goes back to share groups when a member's connection is
// over, in the session's order: of QoS 1 what was not acknowledged, of QoS 2 what
// is not in the committed window, or there beyond the index taken, the last that came
// to the connection (P9). Each message is yield's to release. sent counts those of
// QoS 2 that may have been sent and are not received.
func (d *Durable) Reclaim(taken uint64, b Bodies, yield func(ref uint32)) (sent int) {
	q := d.out
	if q == nil {
		return 0
	}
	for i := range q.window.len {
		e := q.window.at(i)
		switch {
		case e.flags&flagShared == 0 || e.ref == none:
		case e.flags&flagQoS2 != 0 && q.base+uint64(i) <= taken:
			sent++
		default:
			q.held -= uint64(b.Size(e.ref))
			yield(e.ref)
			q.settle(e)
		}
	}
	q.advance()
	kept := uint32(0)
	for i := range q.waiting.len {
		e := *q.waiting.at(i)
		if e.flags&flagShared != 0 {
			q.queued -= uint64(b.Size(e.ref))
			yield(e.ref)
			continue
		}
		*q.waiting.at(kept) = e
		kept++
	}
	q.waiting.cut(kept)
	return sent
}

// KeepShared makes what share groups gave the session's own.
func (d *Durable) KeepShared() {
	if d.out == nil {
		return
	}
	for _, r := range [...]*ring{&d.out.window, &d.out.waiting} {
		for i := range r.len {
			r.at(i).flags &^= flagShared
		}
	}
}

// GiveBack takes the message at index out, if a share group gave it and nothing
// is known of its arrival. It is the caller's to release.
func (d *Durable) GiveBack(index uint64, b Bodies) (ref uint32, ok bool) {
	q := d.out
	e := q.inWindow(index)
	if e == nil || e.flags&flagShared == 0 || e.ref == none {
		return 0, false
	}
	ref = e.ref
	q.held -= uint64(b.Size(ref))
	q.settle(e)
	q.advance()
	return ref, true
}
