package raftstore

import (
	"math"

	"dunlin/proto/mqtt"
	"dunlin/session"
)

// applyClaim gives a client identifier to a new connection, under an epoch above
// all that the shard gave before (E1).
func (st *state) applyClaim(body *reader, res *Result) {
	c := body.claim()
	if body.err != nil {
		return
	}
	again := false
	if c.node != 0 {
		p := st.begin(c.node, c.start)
		if p.start > c.start {
			res.Err = ErrFenced // of an earlier start, whose connections are gone
			return
		}
		again = !p.claims.take(c.number, c.low)
		if !again && p.generation > c.generation {
			res.Err = ErrFenced // of an earlier generation, likewise
			return
		}
		p.generation = max(p.generation, c.generation)
	}
	// Not before: begin may end the session that is asked for.
	slot, rec := st.sessions.find(c.clientID)
	if again {
		if rec != nil && rec.Attached() && rec.node == c.node && rec.conn == c.conn {
			st.claimed(slot, rec, res)
		} else {
			res.Err = ErrFenced
		}
		return
	}
	if rec != nil && rec.user != string(c.user) {
		res.Err = ErrNotYours // E6, case 38: it is not touched
		return
	}
	if rec != nil && c.sole {
		res.Err = ErrFenced
		return
	}
	if rec != nil && rec.Shares() && st.mail.full() {
		res.Err = ErrQuota
		return
	}
	if rec != nil {
		st.recordChanges(slot)
	}
	if rec != nil && rec.Attached() {
		st.disconnect(rec, mqtt.SessionTakenOver)
	}
	if rec != nil && (c.clean || !rec.Stored()) {
		st.end(slot, rec, allTaken) // E3 [MQTT-3.1.2-4]
		rec = nil
	}
	if rec == nil {
		if st.sessions.ids.used >= st.limits.Sessions {
			res.Err = ErrQuota // case 34
			return
		}
		st.recordChanges(st.sessions.nextSlot())
		slot, rec = st.sessions.add(string(c.clientID), string(c.user), st.origin(st.epochs+1))
	}
	if c.terms.MaxQueueMessages == 0 {
		c.terms.MaxQueueMessages = clamp32(uint64(st.limits.QueueMessages))
	}
	if c.terms.MaxQueueBytes == 0 {
		c.terms.MaxQueueBytes = clamp32(uint64(st.limits.QueueBytes))
	}
	if c.terms.InflightBytes == 0 {
		c.terms.InflightBytes = clamp32(uint64(st.limits.InflightBytes))
	}
	st.epochs++
	rec.node, rec.conn = c.node, c.conn
	begins := rec.Epoch() == 0
	if will := rec.Attach(session.Epoch(st.epochs), c.terms); will != nil {
		st.fire(rec, will)
	}
	if begins {
		st.sessions.begun(rec)
	}
	if st.guests != nil {
		st.guests.supersede(c.clientID, c.node, c.conn)
	}
	st.claimed(slot, rec, res)
	st.tellGroups(rec)
	st.advance(slot, rec)
}

// origin is the publisher identity of the incarnation that begins with an epoch.
func (st *state) origin(first uint64) uint64 { return 1<<epochBits + first }

// claimed answers a claim. The session was present unless its incarnation began
// with this epoch.
func (st *state) claimed(slot uint32, rec *record, res *Result) {
	res.Claim.Epoch = rec.Epoch()
	res.Claim.Origin = rec.Origin()
	res.Claim.Next = rec.NextIndex()
	res.Claim.Present = rec.Origin() != st.origin(uint64(rec.Epoch()))
	if res.Claim.Present && st.fx.leads {
		st.resume(slot, rec, &res.Claim)
	}
}

// resume tells the new owner what the session holds (S3).
func (st *state) resume(slot uint32, rec *record, c *Claimed) {
	c.Inbound = rec.Inbound(nil)
	for s := range rec.Subscriptions {
		c.Subscriptions = append(c.Subscriptions, s)
	}
	for r := range rec.Replays {
		c.Replays = append(c.Replays, r)
	}
	for o := range rec.Window {
		r := Resumed{Received: o.Received, Delivery: Delivery{Index: o.Index, QoS: o.QoS, Retain: o.Retain, IDs: o.IDs}}
		if !o.Received {
			packed := st.messages.body(o.Ref)
			if packed == nil {
				c.cold = slot + 1
				return
			}
			parseStored(packed, st.messages.slots[o.Ref].deadline, st.now, st.fx.clock, &r.Message)
		}
		c.Window = append(c.Window, r)
	}
}

// owned finds the session that a write under epoch e is for, or refuses it: the
// fence of E1.
func (st *state) owned(body *reader, res *Result) (slot uint32, rec *record) {
	clientID, e := body.owner()
	slot, rec = st.sessions.find(clientID)
	if rec == nil || !rec.Owns(e) {
		res.Err = ErrFenced
		return 0, nil
	}
	st.recordChanges(slot)
	return slot, rec
}

// applyDetach ends a connection's ownership; with expiry 0 the session with it.
func (st *state) applyDetach(body *reader, res *Result) {
	slot, rec := st.owned(body, res)
	d := body.detach()
	if rec == nil {
		return
	}
	if !d.HasExpiry {
		d.Expiry = rec.Expiry()
	}
	if !d.HasTaken {
		d.Taken = allTaken
	}
	st.detach(slot, rec, d)
}

// allTaken is for a connection of which nobody says what came to it: all of its
// window may have.
const allTaken = math.MaxUint64

// detach ends the ownership of rec as d says, whose Expiry and Taken count.
func (st *state) detach(slot uint32, rec *record, d Detach) {
	st.recordChanges(slot)
	will, ended := rec.Detach(d.Fire, d.Expiry, st.now)
	if ended {
		st.end(slot, rec, d.Taken)
		return
	}
	if will != nil {
		st.fire(rec, will)
	}
	st.tellGroups(rec)
	st.reclaim(rec, allTaken) // the session keeps its window
	st.deadlines.set(slot, rec.Due())
}

// applyDelete ends a session whoever owns it.
func (st *state) applyDelete(body *reader, res *Result) {
	slot, rec := st.sessions.find(body.bytes())
	if rec == nil {
		return
	}
	res.Known = true
	if rec.Attached() {
		st.disconnect(rec, mqtt.AdministrativeAction)
	}
	st.end(slot, rec, allTaken)
}

// end removes a session with all that it holds; a will that it still had fires. What
// share groups gave it beyond the index taken goes back to them, whatever its QoS.
func (st *state) end(slot uint32, rec *record, taken uint64) {
	st.recordChanges(slot)
	for s := range rec.Subscriptions {
		if indexed(s.Filter) {
			st.subscriptions.remove(s.Filter, slot)
		} else {
			st.left(s.Filter, rec.clientID)
		}
	}
	st.fx.drop(dropShareEnded, st.reclaim(rec, taken))
	st.sessions.ends(rec)
	if will := rec.End(&st.messages); will != nil {
		st.fire(rec, will)
	}
	if rec.HasPublished() {
		st.publishers.depart(rec.Origin(), st.now)
	}
	st.deadlines.set(slot, session.Never)
	st.sessions.remove(slot)
}

// fire publishes a will. The session that had it holds it no more, and the
// message is numbered like the session's own, so that a repeat is recognised
// (E5).
func (st *state) fire(rec *record, w *session.Will) {
	will := st.wills.add(firedWill{
		packed: w.Packed, origin: rec.Origin(), seq: rec.NextSeq(), clientID: rec.clientID, user: rec.user,
	})
	if st.fx.leads {
		st.fx.wills = append(st.fx.wills, will)
	}
}
