package session

import "fmt"

// check verifies Live's invariants, and panics on the number of one that is
// broken. The invariants build tag has it called after each step.
//
//  1. Places taken of the Receive Maximum do not exceed it, nor the publishes
//     that may hold one.
//  2. Of the answers that wait due are ready, the oldest, and the one after them
//     is not; all in recs that were not given are routed in ids but for repeats,
//     and the other way round.
//  3. ids counts its entries and finds each of them.
//  4. inflight, as its comment says; its number does not exceed sendMax but by
//     resumed releases.
//  5. What a delivery in flight keeps is a record, with a handle, before unsent.
//  6. outbox, as its comment says; every waiting record can be read.
//  7. The queue is within its bounds, unless the session is persistent.
//  8. What waits in the queue does so for the window or the socket.
//  9. Aliases are within their maxima, each of ours has one topic.
func (l *Live) check() {
	must := func(ok bool, number int, what string) {
		if !ok {
			panic(fmt.Sprintf("session: invariant %d broken: %s: %+v", number, what, *l))
		}
	}
	if a := l.aliases; a != nil {
		must(len(a.in) <= int(l.aliasMax) && len(a.out) <= int(l.sendAliasMax), 9, "maxima")
		seen := make(map[uint16]bool)
		for _, alias := range a.out {
			must(alias >= 1 && int(alias) <= len(a.out) && !seen[alias], 9, "own alias")
			seen[alias] = true
		}
	}
	t := l.traffic
	if t == nil {
		return
	}

	must(t.used <= l.receiveMax, 1, "maximum")
	must(int(t.used) <= int(t.acks.n)+t.ids.n, 1, "holders")

	for _, a := range []*answers{&t.acks, &t.recs} {
		must(int(a.n) <= len(a.ring) && len(a.ring)&(len(a.ring)-1) == 0, 2, "ring")
		must(a.due <= a.n, 2, "more due than wait")
		for i := range a.due {
			must(*a.at(a.head + i)&answerReady != 0, 2, "due is not ready")
		}
		must(a.due == a.n || *a.at(a.head + a.due)&answerReady == 0, 2, "ready is not due")
	}
	open := 0
	for i := range t.recs.n {
		if e := *t.recs.at(t.recs.head + i); e&answerReady == 0 {
			open++
			must(t.ids.get(uint16(e)) == routed, 2, "waits but is not routed")
		}
	}
	n := 0
	for i, e := range t.ids.slots {
		if e == 0 {
			continue
		}
		n++
		must(t.ids.slot(uint16(e)) == i, 3, "identifier not found")
		if stage(e>>16) == routed {
			open--
		}
	}
	must(n == t.ids.n, 3, "count")
	// Answers given to a publish that still waits for its turn leave it routed.
	for i := range t.recs.n {
		if e := *t.recs.at(t.recs.head + i); e&(answerReady|answerVoid) == answerReady && t.ids.get(uint16(e)) == routed {
			open++
		}
	}
	must(open == 0, 2, "routed but does not wait")

	f, o := &t.inflight, &t.outbox
	must(f.first <= f.end && f.end-f.first <= idSpan, 4, "span")
	must(f.end-f.first <= uint64(len(f.states)), 4, "ring")
	must(f.kept == nil || len(f.kept) == len(f.states), 4, "kept")
	n = 0
	keptBytes, releases := 0, 0
	for i := f.first; i < f.end; i++ {
		pos, kept := f.keptAt(i)
		s := *f.at(i)
		if s == landed {
			must(!kept, 4, "landed but kept")
			continue
		}
		n++
		if s == released {
			releases++
		}
		must(i > f.first || s != landed, 4, "first has landed")
		if kept {
			must(pos >= o.base+uint64(o.head) && pos < o.unsent, 5, "position")
			r := o.at(pos)
			must(r.handle() != 0 && !r.dead(), 5, "record")
			keptBytes += r.size()
		}
	}
	must(n == f.n && (n > 0 || f.first == f.end), 4, "count")
	must(n <= int(l.sendMax) || n-releases <= int(l.sendMax), 4, "window")
	if n > 0 {
		must(*f.at(f.first) != landed, 4, "first has landed")
	}

	must(o.base+uint64(o.head) <= o.unsent && o.unsent <= o.end(), 6, "unsent")
	kept := 0
	waiting, bytes := 0, 0 // of waiting records
	given, ours := 0, 0    // waiting ones and bytes of those whose number the store bounds
	for pos := o.base + uint64(o.head); pos < o.end(); {
		r := o.at(pos)
		must(pos > o.base+uint64(o.head) || !r.dead(), 6, "oldest is dead")
		if pos >= o.unsent {
			must(!r.dead(), 6, "waiting record is dead")
			waiting++
			var v view
			v.read(r)
			must(v.QoS == 1 || v.QoS == 2, 6, "QoS")
			bytes += r.size()
			if r.index() != 0 {
				given++
			}
		} else if !r.dead() {
			keptBytes -= r.size()
			kept += r.size()
		}
		if r.index() != 0 && !r.dead() {
			ours += r.size()
		}
		pos += uint64(r.size())
	}
	must(waiting == o.waiting && bytes == o.waitingBytes && kept == o.keptBytes, 6, "count")
	must(keptBytes == 0, 5, "record kept for nobody")

	if !l.is(persistent) {
		must(waiting-given <= max(l.maxQueueMessages, 0) && o.bytes()-ours <= max(l.maxQueueBytes, 0), 7, "bound")
	}
	if waiting > 0 && !l.is(stalled) {
		var v view
		v.read(o.at(o.unsent))
		must(!l.room(&v.Delivery), 8, "room but waits")
	}
}
