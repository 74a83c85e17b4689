package raftstore

import (
	"fmt"

	"dunlin/router"
	"dunlin/session"
)

// state is a shard's state machine: a handful of tables that change only by
// apply, which is a function of the entries alone (D6). What a leader has to do
// besides goes into effects.
type state struct {
	shard  router.ShardID
	now    session.Time // shard time: only moves forward, through the log (T2)
	index  uint64       // commands applied
	epochs uint64       // the latest given; no two claims of a shard share one
	wall   uint64       // latest wall clock of a leader, Unix seconds: for an outage of all (T2)
	digest uint64       // of all that was done: equal on every replica at equal index (D6)
	limits Limits
	shards int // of the cluster, for the life of the data; whoever makes a state says so

	sessions   *sessions
	messages   messages
	retained   *retained
	publishers publishers
	wills      wills
	proposers  proposers
	endings    endings
	groups     groups
	mail       mail

	subscriptions subscriptions // follows from sessions
	deadlines     deadlines     // follows from sessions

	views  []*frozen // snapshots under way
	guests *guests   // of this node, whom a claim ends; nil for none. No part of the state
	fx     effects
}

// Shard time begins at firstTime, since 0 means never. No shard lives to see
// lastTime, half of what fits: sums of a time and any expiry stay in range.
const (
	firstTime session.Time = 1
	lastTime  session.Time = 1 << 62
)

// epochBits are those of an epoch below the shard's number. Two shards give no
// epoch alike, so that what one says to a connection is not taken for what
// another says, not even where the connection's handle is of an earlier start.
const epochBits = 40

func newState(sh router.ShardID) *state {
	return &state{
		shard: sh, now: firstTime, epochs: uint64(sh) << epochBits,
		shards: 1, groups: newGroups(),
		sessions: newSessions(), retained: newRetained(), publishers: newPublishers(), proposers: newProposers(),
		subscriptions: newSubscriptions(),
	}
}

// applies has the function of each command. What a function does may depend on
// the state and the body, on nothing else.
var applies = [...]func(st *state, body *reader, res *Result){
	kindLimits:      (*state).applyLimits,
	kindClaim:       (*state).applyClaim,
	kindDetach:      (*state).applyDetach,
	kindSubscribe:   (*state).applySubscribe,
	kindUnsubscribe: (*state).applyUnsubscribe,
	kindEnqueue:     (*state).applyEnqueue,
	kindEnqueueFor:  (*state).applyEnqueueFor,
	kindAcks:        (*state).applyAcks,
	kindReceive:     (*state).applyReceive,
	kindRelease:     (*state).applyRelease,
	kindRetain:      (*state).applyRetain,
	kindDelete:      (*state).applyDelete,
	kindForget:      (*state).applyForget,
	kindPublished:   (*state).applyPublished,
	kindLost:        (*state).applyLost,
	kindReplaying:   (*state).applyReplaying,
	kindMember:      (*state).applyMember,
	kindShare:       (*state).applyShare,
	kindLetter:      (*state).applyLetter,
	kindDelivered:   (*state).applyDelivered,
}

// apply applies one log entry: first time moves and what is due by then is done,
// then the commands in order, whose results are appended to res. An entry that
// cannot be read, or names an unknown command, panics: a replica that went on
// would part from the others.
func (st *state) apply(entry []byte, res []Result) []Result {
	h, r := openEntry(entry)
	if r.err != nil {
		panic(fmt.Sprintf("raftstore: shard %d: entry after command %d: %v", st.shard, st.index, r.err))
	}
	st.now, st.wall = max(st.now, h.time), max(st.wall, h.wall)
	st.expire()
	st.finish()
	st.proposers.current = nil
	for len(r.b) > 0 {
		k, body := r.command()
		if k == kindFrom {
			if st.from(&body); body.err != nil {
				panic(fmt.Sprintf("raftstore: shard %d: proposer after command %d: %v", st.shard, st.index, body.err))
			}
			st.finish()
			continue
		}
		if int(k) >= len(applies) || applies[k] == nil {
			panic(fmt.Sprintf("raftstore: shard %d: unknown command %d after command %d: a later release wrote it, or it is damaged", st.shard, k, st.index))
		}
		st.index++
		res = append(res, Result{Index: st.index})
		st.do(k, &body, &res[len(res)-1])
		if r.err != nil || body.err != nil {
			panic(fmt.Sprintf("raftstore: shard %d: command %d of kind %d: %v: a later release wrote it, or it is damaged", st.shard, st.index, k, errMalformed))
		}
	}
	st.sessions.tidy()
	st.retained.publish(st.index)
	st.digestTables()
	return res
}

// do does one command, if it is its turn.
func (st *state) do(k kind, body *reader, res *Result) {
	numbered := st.proposers.current != nil && k.numbered()
	if numbered && !st.proposers.take(res) {
		return
	}
	applies[k](st, body, res)
	st.finish()
	st.digestResult(k, res)
	if numbered {
		st.proposers.took(res)
	}
}

// maxExpirePerEntry bounds the deadlines that one entry deals with; a leader
// sends the next at once while any is left.
const maxExpirePerEntry = 1024

// expire does what is due.
func (st *state) expire() {
	for range maxExpirePerEntry {
		slot, at := st.deadlines.next()
		if at == session.Never || at > st.now {
			break
		}
		st.recordChanges(slot)
		rec := st.sessions.at(slot)
		will, ended, dropped := rec.Expire(st.now, &st.messages)
		st.fx.drop(dropExpired, dropped)
		if will != nil {
			st.fire(rec, will)
		}
		if ended {
			st.end(slot, rec, allTaken)
			continue
		}
		st.deadlines.set(slot, rec.Due())
	}
	for removed := 0; removed < maxExpirePerEntry; {
		if at := st.retained.next(); at == session.Never || at > st.now {
			break
		}
		// What was replaced before its time counts for nothing: a replica that was
		// restored since knows nothing of it (D6).
		if st.retained.expire() {
			removed++
		}
	}
	for range maxExpirePerEntry {
		if at := st.publishers.next(); at == session.Never || at > st.now {
			break
		}
		if origin, ok := st.publishers.due(st.now, st.wills.sends); ok {
			st.fx.forget(origin)
		}
	}
}

// nextDue is when expire has something to do next, or session.Never.
func (st *state) nextDue() session.Time { return st.nextDueBut(0) }

// nextEntry is when what is due is worth an entry of its own, or session.Never.
func (st *state) nextEntry() session.Time { return st.nextDueBut(forgetPatience) }

// forgetPatience is how long publishers that may be forgotten wait for others: each by
// itself would cost an entry here, and then one in every shard.
var forgetPatience = session.Seconds(10)

// nextDueBut is nextDue, but for publishers, whose time is later by that.
func (st *state) nextDueBut(forget session.Time) session.Time {
	_, due := st.deadlines.next()
	departed := st.publishers.next()
	if departed != session.Never {
		departed += forget
	}
	for _, t := range [...]session.Time{st.retained.next(), departed} {
		if due == session.Never || t != session.Never && t < due {
			due = t
		}
	}
	return due
}

func (st *state) applyLimits(body *reader, _ *Result) { st.limits = body.limits() }
