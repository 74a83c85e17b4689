package broker

import (
	"sync"

	"dunlin/node/auth"
	"dunlin/session"
)

// errand is a message of the store's own, a will, on its way: this node brings it to
// everyone who wants it, and tells the store when that is done. As long as it
// cannot be known, the errand is run again, under the same message id, by which whoever has it
// refuses another copy (E5); if this node cannot, the shard's next leader has
// another run it. A node that is isolated gives up its errands: when it is back, the
// will may have been published by another long ago, and its id be forgotten. What
// it still leads then is published again (raftstore.Store.PublishAgain). What the store
// gives again that is here is one errand.
//
// A worker holds a bounded number of them, and bytes; the rest stays in the store, which
// goes on when there is room (PublishMore).
type errand struct {
	name           errandName
	packed         []byte
	received       session.Time // when the store gave it
	clientID, user string
	done           func()

	isolations uint32       // of the node, when the store gave it
	pause      session.Time // before it is run again
	due        session.Time
}

// errandName is the message id of a will.
type errandName struct{ origin, seq uint64 }

const (
	// What a worker holds of errands; one goes however large.
	maxErrands     = 4 << 10
	maxErrandBytes = 16 << 20

	// maxAbroad is how many errands of a worker are under way at once: a dead node
	// may leave as many wills as it had connections.
	maxAbroad = 256

	turnErrands = 64 // that set out in one turn

	errandPause    session.Time = 250e6
	maxErrandPause session.Time = 8e9
)

// Publish is called by the store with a will that is due: see raftstore.Messenger.
// Whether its client may still publish there is asked again (case 42).
func (b *Broker) Publish(m *session.Message, clientID, user string, done func()) bool {
	now := b.Clock()
	w := b.workers[m.Topic.Hash()%uint64(len(b.workers))]
	e := &errand{
		name: errandName{m.Origin, m.Seq}, packed: m.Append(nil, now), received: now,
		clientID: clientID, user: user, done: done, pause: errandPause, isolations: b.isolations.Load(),
	}
	if !w.errandRoom.take(len(e.packed)) {
		return false
	}
	w.loop.Post(e)
	return true
}

// errandRoom is what a worker holds of errands, those posted to it included.
type errandRoom struct {
	mu      sync.Mutex
	count   int
	bytes   int
	refused uint64
	short   bool // one was refused since there last was room
}

func (r *errandRoom) take(bytes int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.count >= maxErrands || r.count > 0 && r.bytes+bytes > maxErrandBytes {
		r.refused++
		r.short = true
		return false
	}
	r.count++
	r.bytes += bytes
	return true
}

// give gives room back, and says whether somebody waits who should be told.
func (r *errandRoom) give(bytes int) (tell bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count--
	r.bytes -= bytes
	if r.short && r.count <= maxErrands/2 && r.bytes <= maxErrandBytes/2 {
		r.short = false
		return true
	}
	return false
}

func (r *errandRoom) held() (count int, refused uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count, r.refused
}

// takeErrand takes what Publish has posted.
func (w *worker) takeErrand(e *errand) {
	if was := w.errandOf[e.name]; was != nil && was.isolations == e.isolations && e.name.origin != 0 {
		was.done = e.done // the store may be another leader's by now
		w.finish(e)
		return
	}
	w.errandOf[e.name] = e
	w.errands = append(w.errands, e)
}

// finish ends an errand: it was carried out, or is given up.
func (w *worker) finish(e *errand) {
	if w.errandOf[e.name] == e {
		delete(w.errandOf, e.name)
	}
	if w.errandRoom.give(len(e.packed)) {
		w.shards.PublishMore()
	}
}

// runErrands has those set out that wait, as long as not too many are under way.
// Without a lease none does: it would miss who need not wait for this node (E4).
func (w *worker) runErrands() {
	for n := 0; len(w.errands) > 0 && w.abroad < maxAbroad && n < turnErrands && w.mayAnswer(); n++ {
		e := w.errands[0]
		w.errands[0] = nil
		w.errands = w.errands[1:]
		if e.isolations == w.isolations.Load() {
			w.run(e)
		} else {
			w.finish(e)
		}
	}
}

// willIdentity is for whom a will speaks: the store knows no more of it than this.
func willIdentity(clientID, user string) auth.Identity {
	id := auth.Identity{ClientID: clientID}
	if user != "" {
		id.Principal = auth.NewPrincipal(user)
	}
	return id
}

func (w *worker) run(e *errand) {
	m := &w.message
	if _, err := m.Parse(e.packed, e.received); err != nil {
		panic("broker: message of the store does not parse: " + err.Error())
	}
	id := willIdentity(e.clientID, e.user)
	if !w.mayPublish(&id, m.Topic, m.QoS, m.Retain) {
		w.counters.PublishDenied++
		e.done()
		w.finish(e)
		return
	}
	w.abroad++
	from := publisher{clientID: e.clientID, errand: e}
	if m.Retain {
		w.commitRetained(from, m)
		return
	}
	w.route(&from, m, none)
}

// arrived ends a run of an errand. It counts only if the node could have
// acknowledged it: if the routes that it took were those of everybody.
func (w *worker) arrived(e *errand, unknown bool) {
	w.abroad--
	if e.isolations != w.isolations.Load() {
		w.finish(e)
		return
	}
	if !unknown && w.mayAnswer() {
		e.done()
		w.finish(e)
		return
	}
	e.due = w.now() + e.pause
	e.pause = min(2*e.pause, maxErrandPause)
	w.unfinished = append(w.unfinished, e)
}

// takeUpErrands has errands run again whose pause is over.
func (w *worker) takeUpErrands() {
	kept := w.unfinished[:0]
	for _, e := range w.unfinished {
		if e.due > w.now() {
			kept = append(kept, e)
			continue
		}
		w.errands = append(w.errands, e)
	}
	clear(w.unfinished[len(kept):])
	w.unfinished = kept
}
