package raftstore

import (
	"dunlin/proto/mqtt"
	"dunlin/router"
	"dunlin/session"
)

// This file is a session's side of its share groups, whose tables are in other
// shards or in this one: see groups.go.

// share says which message of a group a stored message is, that was given to a
// session of this shard.
type share struct {
	group    router.Filter
	clientID string
	number   uint64
}

// tellGroups tells the groups of a session what it is now.
func (st *state) tellGroups(rec *record) {
	if !rec.Shares() {
		return
	}
	for s := range rec.Subscriptions {
		if !indexed(s.Filter) {
			st.tellGroup(rec, s.Filter, s.Options)
		}
	}
}

func (st *state) tellGroup(rec *record, f router.Filter, o router.Options) {
	o.NoLocal = false
	st.tell(f, rec.clientID, news{
		subscribed: true, stored: rec.Stored(), attached: rec.Attached(), room: rec.Room(), options: o,
	})
}

// asked tells a group what a session is in it.
func (st *state) asked(l *letter) {
	if _, rec := st.sessions.find([]byte(l.clientID)); rec != nil {
		for s := range rec.Subscriptions {
			if s.Filter == l.group {
				st.tellGroup(rec, s.Filter, s.Options)
				return
			}
		}
	}
	st.left(l.group, l.clientID)
}

// left tells a group that a session is not in it.
func (st *state) left(f router.Filter, clientID string) { st.tell(f, clientID, news{}) }

func (st *state) tell(f router.Filter, clientID string, n news) {
	n.asOf = st.index
	st.send(st.groupShard(f), letter{kind: letterMember, group: f, clientID: clientID, news: n})
}

// reclaim gives back what a session that is detached holds of its groups, and
// says how much of QoS 2 it keeps, which has an index up to taken.
func (st *state) reclaim(rec *record, taken uint64) (kept int) {
	return rec.Reclaim(taken, &st.messages, st.giveBack)
}

// giveBack gives back the message of a group at ref, which is let go.
func (st *state) giveBack(ref uint32) {
	m := &st.messages.slots[ref]
	s := m.share
	st.messages.change(ref)
	m.share = nil // it is not done
	st.sendBack(s.group, s.clientID, s.number, m.packed, m.deadline)
	st.messages.Release(ref)
}

func (st *state) sendBack(f router.Filter, clientID string, number uint64, packed []byte, deadline session.Time) {
	st.send(st.groupShard(f), letter{
		kind: letterBack, group: f, clientID: clientID, count: number, packed: packed, deadline: deadline,
	})
}

// given takes a message that a group has for a session, or gives it back at once.
func (st *state) given(l *letter) {
	slot, rec := st.sessions.find([]byte(l.clientID))
	subscribed := rec != nil && rec.Subscribed(l.group)
	if !subscribed {
		st.left(l.group, l.clientID)
	}
	if !subscribed || !rec.Attached() {
		st.sendBack(l.group, l.clientID, l.count, append([]byte(nil), l.packed...), l.deadline)
		return
	}
	if l.options.QoS == 0 {
		if st.fx.leads {
			p := push{retain: l.options.RetainAsPublished, packed: l.packed, deadline: l.deadline, borrowed: true}
			if l.options.ID != 0 {
				p.ids = []uint32{l.options.ID}
			}
			st.fx.push(slot, rec, p)
		}
		st.sendDone(l.group, l.clientID, 1)
		return
	}
	st.recordChanges(slot)
	ref := st.messages.put(l.packed, l.deadline)
	st.messages.slots[ref].share = &share{l.group, rec.clientID, l.count}
	rec.EnqueueShared(ref, mqtt.QoS(l.options.QoS), l.options.RetainAsPublished, l.options.ID, &st.messages)
	st.messages.Release(ref)
	st.advance(slot, rec)
}

// finish tells the groups what sessions are done with since it was last called.
func (st *state) finish() {
	finished := st.messages.finished
	for len(finished) > 0 {
		s, n := finished[0], 1
		for n < len(finished) && finished[n].group == s.group && finished[n].clientID == s.clientID {
			n++
		}
		st.sendDone(s.group, s.clientID, uint64(n))
		finished = finished[n:]
	}
	clear(st.messages.finished)
	st.messages.finished = st.messages.finished[:0]
}

func (st *state) sendDone(f router.Filter, clientID string, n uint64) {
	st.send(st.groupShard(f), letter{kind: letterDone, group: f, clientID: clientID, count: n})
}
