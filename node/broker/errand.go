package broker

import (
	"dunlin/node/auth"
	"dunlin/session"
)

// errand is a message of the store's own, a will, on its way: this node brings it to
// everyone who wants it, and tells the store when that is done. As long as it
// cannot be known, the errand is run again, under the same message id, by which whoever has it
// refuses another copy (E5); if this node cannot, the shard's next leader has
// another run it. A node that is isolated gives up its errands: when it is back, the
// will may have been published by another long ago, and its id be forgotten. What
// it still leads then is published again (raftstore.Store.PublishAgain).
type errand struct {
	packed         []byte
	received       session.Time // when the store gave it
	clientID, user string
	done           func()

	isolations uint32       // of the node, when the store gave it
	pause      session.Time // before it is run again
	due        session.Time
}

const (
	// maxAbroad is how many errands of a worker are under way at once: a dead node
	// may leave as many wills as it had connections.
	maxAbroad = 256

	turnErrands = 64 // that set out in one turn

	errandPause    session.Time = 250e6
	maxErrandPause session.Time = 8e9
)

// Publish is called by the store with a will that is due: see raftstore.Messenger.
// Whether its client may still publish there is asked again (case 42).
func (b *Broker) Publish(m *session.Message, clientID, user string, done func()) {
	now := b.Clock()
	b.workers[m.Topic.Hash()%uint64(len(b.workers))].loop.Post(&errand{
		packed: m.Append(nil, now), received: now, clientID: clientID, user: user, done: done, pause: errandPause,
		isolations: b.isolations.Load(),
	})
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
		}
	}
}

func (w *worker) run(e *errand) {
	m := &w.message
	if _, err := m.Parse(e.packed, e.received); err != nil {
		panic("broker: message of the store does not parse: " + err.Error())
	}
	identity := auth.Identity{ClientID: e.clientID, User: e.user}
	if !w.Access.Unrestricted() && !w.Access.MayPublish(&identity, m.Topic) {
		w.counters.PublishDenied++
		e.done()
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
		return
	}
	if !unknown && w.mayAnswer() {
		e.done()
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
