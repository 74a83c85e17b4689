package raftstore

import (
	"encoding/binary"
	"slices"

	"dunlin/session"
)

// wills are those that fired and are not known to be published: the shard's next
// leader sends them again, under the same message ids (E5, P6).
//
// Invariant: numbers rise, up to last.
type wills struct {
	fired []firedWill
	last  uint64
}

// add numbers w and keeps it.
func (t *wills) add(w firedWill) firedWill {
	t.last++
	w.number = t.last
	t.fired = append(t.fired, w)
	return w
}

// sends says whether a will of that origin is not known to be published.
func (t *wills) sends(origin uint64) bool {
	return slices.ContainsFunc(t.fired, func(w firedWill) bool { return w.origin == origin })
}

// published forgets the will of that number, if it is still there.
func (t *wills) published(number uint64) {
	t.fired = slices.DeleteFunc(t.fired, func(w firedWill) bool { return w.number == number })
}

// applyPublished forgets a will whose message is on its way.
func (st *state) applyPublished(body *reader, _ *Result) { st.wills.published(body.uvarint()) }

// snapshot writes the number of the last, then each that is still kept.
func (t *wills) snapshot(w *snapshotWriter) {
	w.b = binary.AppendUvarint(w.b, t.last)
	w.item()
	for i := range t.fired {
		f := &t.fired[i]
		for _, v := range [...]uint64{f.number, f.origin, f.seq} {
			w.b = binary.AppendUvarint(w.b, v)
		}
		w.b = appendBytes(w.b, f.clientID)
		w.b = appendBytes(w.b, f.user)
		w.b = appendBytes(w.b, f.packed)
		w.item()
	}
}

func (rs *restoring) will(r *reader) {
	t := &rs.st.wills
	if rs.first(sectionWills) {
		t.last = r.uvarint()
		return
	}
	f := firedWill{number: r.uvarint(), origin: r.uvarint(), seq: r.uvarint(), clientID: r.string(), user: r.string(), packed: r.clone()}
	var m session.Message
	whole := reader{b: f.packed}
	if whole.message(&m, session.Never); whole.err != nil || f.number > t.last ||
		len(t.fired) > 0 && f.number <= t.fired[len(t.fired)-1].number {
		r.fail()
		return
	}
	t.fired = append(t.fired, f)
}
