package session

import (
	"fmt"

	"dunlin/router"
)

// Check verifies the invariants in Durable's comment, by number.
func (d *Durable) Check(b Bodies) error {
	if err := d.out.check(b); err != nil {
		return err
	}
	ids, last := map[uint16]bool{}, uint64(0)
	for _, in := range d.awaiting() {
		if ids[in.id] || in.seq <= last || in.seq > d.seq {
			return fmt.Errorf("session: invariant 6: inbound %d with number %d", in.id, in.seq)
		}
		ids[in.id], last = true, in.seq
	}
	filters := map[string]bool{}
	for s := range d.Subscriptions {
		if f := s.Filter.String(); filters[f] {
			return fmt.Errorf("session: invariant 7: filter %q twice", f)
		} else {
			filters[f] = true
		}
	}
	replayed := map[router.Filter]bool{}
	for r := range d.Replays {
		if !filters[r.Filter.String()] || replayed[r.Filter] {
			return fmt.Errorf("session: invariant 10: replay of %q", r.Filter)
		}
		replayed[r.Filter] = true
	}
	return nil
}

func (q *outbound) check(b Bodies) error {
	if q == nil {
		return nil
	}
	if q.window.len > maxSpan || q.base == 0 {
		return fmt.Errorf("session: invariant 1: window of %d from %d", q.window.len, q.base)
	}
	if q.window.len > 0 && q.window.at(0).flags&flagDone != 0 {
		return fmt.Errorf("session: invariant 2: index %d is done", q.base)
	}
	unacked, lists, bytes, held := uint32(0), 0, uint64(0), uint64(0)
	for i := range q.window.len {
		e := *q.window.at(i)
		if e.flags&flagDone == 0 {
			unacked++
		}
		if (e.ref == none) != (e.flags&(flagDone|flagReceived) != 0) {
			return fmt.Errorf("session: invariant 4: index %d, flags %b, message %d", q.base+uint64(i), e.flags, e.ref)
		}
		if e.flags&flagListed != 0 {
			lists++
		}
		if e.ref != none {
			held += uint64(b.Size(e.ref))
		}
	}
	if unacked != q.unacked {
		return fmt.Errorf("session: invariant 3: %d unacknowledged, counted %d", unacked, q.unacked)
	}
	if held != q.held {
		return fmt.Errorf("session: invariant 9: the window holds %d bytes, counted %d", held, q.held)
	}
	for i := range q.waiting.len {
		e := *q.waiting.at(i)
		if e.ref == none || e.flags&(flagDone|flagReceived) != 0 {
			return fmt.Errorf("session: invariant 5: waiting entry %d, flags %b", i, e.flags)
		}
		if e.flags&flagListed != 0 {
			lists++
		}
		bytes += uint64(b.Size(e.ref))
	}
	if bytes != q.queued {
		return fmt.Errorf("session: invariant 5: %d bytes wait, counted %d", bytes, q.queued)
	}
	if lists != len(q.lists) {
		return fmt.Errorf("session: invariant 8: %d entries, %d lists", lists, len(q.lists))
	}
	return nil
}

// References calls yield with the message of each queue entry that holds one.
func (d *Durable) References(yield func(ref uint32) bool) {
	if d.out == nil {
		return
	}
	for _, r := range [...]*ring{&d.out.window, &d.out.waiting} {
		for i := range r.len {
			if ref := r.at(i).ref; ref != none && !yield(ref) {
				return
			}
		}
	}
}
