package raftstore

import (
	"strings"
	"testing"

	"dunlin/session"
)

// plants are bugs that the model must find: a checker that never failed proves
// nothing.
var plants = []struct {
	name  string
	kind  kind
	apply func(good func(*state, *reader, *Result), st *state, body *reader, res *Result)
}{
	{"the epoch is not checked", kindDetach, func(good func(*state, *reader, *Result), st *state, body *reader, res *Result) {
		whole := *body
		clientID, _ := body.owner()
		if _, rec := st.sessions.find(clientID); rec != nil {
			whole = reader{b: append(appendOwner(nil, string(clientID), rec.Epoch()), body.b...)}
		}
		good(st, &whole, res)
	}},
	{"packet identifiers are forgotten at a takeover", kindClaim, func(good func(*state, *reader, *Result), st *state, body *reader, res *Result) {
		c := *body
		clientID := c.bytes()
		good(st, body, res)
		if _, rec := st.sessions.find(clientID); rec != nil {
			for _, id := range rec.Inbound(nil) {
				rec.Release(id)
			}
		}
	}},
	{"a will is skipped", kindDetach, func(good func(*state, *reader, *Result), st *state, body *reader, res *Result) {
		r := *body
		clientID, e := r.owner()
		d := r.detach()
		d.ClientID, d.Epoch, d.Fire = string(clientID), e, false
		_, b := d.encode(nil, nil)
		*body = reader{b: b}
		good(st, body, res)
	}},
	{"a second copy is taken", kindEnqueue, func(good func(*state, *reader, *Result), st *state, body *reader, res *Result) {
		st.publishers = newPublishers()
		good(st, body, res)
	}},
	{"an acknowledgement is lost", kindAcks, func(good func(*state, *reader, *Result), st *state, body *reader, res *Result) {
		r := *body
		r.byte()
		clientID, e := r.owner()
		if _, rec := st.sessions.find(clientID); rec != nil && rec.Owns(e) && rec.HasPublished() {
			r.uvarint()
			if len(r.b) == 0 {
				body.b = nil
			}
		}
		good(st, body, res)
	}},
	{"a message is lost in a full window", kindEnqueue, func(good func(*state, *reader, *Result), st *state, body *reader, res *Result) {
		good(st, body, res)
		for slot, rec := range st.sessions.each {
			if rec.Attached() {
				rec.Ack(st.index%7, false, &st.messages)
				st.advance(slot, rec)
			}
		}
	}},
	{"a message is kept beyond its expiry", kindEnqueue, func(good func(*state, *reader, *Result), st *state, body *reader, res *Result) {
		now := st.now
		st.now += session.Seconds(2)
		good(st, body, res)
		st.now = now
	}},
	{"a letter is taken again", kindLetter, func(good func(*state, *reader, *Result), st *state, body *reader, res *Result) {
		r, again := *body, *body
		from := r.shardID()
		good(st, body, res)
		if res.Err == nil && !res.Known {
			st.mail.taken[from]--
			good(st, &again, res)
		}
	}},
	{"a message comes back to its group twice", kindLetter, func(good func(*state, *reader, *Result), st *state, body *reader, res *Result) {
		r := *body
		r.shardID()
		r.uvarint()
		l := r.letter()
		good(st, body, res)
		if g := st.groups.of[l.group.String()]; l.kind == letterBack && g != nil && g.queues {
			l.packed, l.deadline = r.b, session.Never
			ref := st.messages.put(l.packed, l.deadline)
			st.messages.keep(ref)
			g.insert(waitingMessage{l.count, ref})
			g.bytes += messageSize(l.packed)
			st.settle(g, nil)
		}
	}},
	{"a member that leaves loses what it had", kindDetach, func(good func(*state, *reader, *Result), st *state, body *reader, res *Result) {
		r := *body
		clientID, e := r.owner()
		if _, rec := st.sessions.find(clientID); rec != nil && rec.Owns(e) {
			rec.Reclaim(allTaken, &st.messages, st.messages.Release)
		}
		good(st, body, res)
	}},
	{"what was sent with QoS 2 goes to another member", kindDetach, func(good func(*state, *reader, *Result), st *state, body *reader, res *Result) {
		r := *body
		clientID, e := r.owner()
		if _, rec := st.sessions.find(clientID); rec != nil && rec.Owns(e) {
			for index := range uint64(500) {
				if ref, ok := rec.GiveBack(index, &st.messages); ok {
					st.giveBack(ref)
				}
			}
		}
		good(st, body, res)
	}},
	{"a member is given more than it has room for", kindLetter, func(good func(*state, *reader, *Result), st *state, body *reader, res *Result) {
		for _, g := range st.groups.of {
			for _, m := range g.members {
				if m.given > 1 {
					g.finished(m.clientID, 1)
				}
			}
		}
		good(st, body, res)
	}},
	{"replicas part", kindRetain, func(good func(*state, *reader, *Result), st *state, body *reader, res *Result) {
		if st.fx.leads {
			st.epochs++
		}
		good(st, body, res)
	}},
}

func TestModelFindsPlantedBugs(t *testing.T) {
	for _, p := range plants {
		t.Run(p.name, func(t *testing.T) {
			good := applies[p.kind]
			applies[p.kind] = func(st *state, body *reader, res *Result) { p.apply(good, st, body, res) }
			defer func() { applies[p.kind] = good }()
			for seed := range uint64(20) {
				if err := runModel(seed, 400, ""); err != nil {
					t.Logf("seed %d: %s", seed, strings.TrimSpace(err.Error()))
					return
				}
			}
			t.Error("the model did not notice")
		})
	}
}
