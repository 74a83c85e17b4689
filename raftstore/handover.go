package raftstore

import "dunlin/session"

// handoverPatience is how long a former owner has to hand over (E2).
const handoverPatience session.Time = 50e6

// maxWaitingClaims bounds the claims of one client identifier that wait for one
// another; beyond it the oldest of those not yet under way is refused (case 36).
const maxWaitingClaims = 8

// handovers holds the claims whose client identifier is owned by a connection
// that was asked to hand over, and behind them later claims of the same
// identifier. The owner's own commands go on meanwhile: its last batch comes
// before its answer, and so before the claim.
type handovers struct {
	open  map[string]*handover
	queue []*handover // asked, in order of deadline; some have answered
	ready []*handover // answered, or out of patience
}

// handover is one client identifier on its way to its next owner.
type handover struct {
	clientID string
	claims   []waitingClaim // the first one is next
	deadline session.Time
	settled  bool
}

type waitingClaim struct {
	body []byte
	done func(Result)
}

func newHandovers() handovers { return handovers{open: make(map[string]*handover)} }

// mustEvict says that the claim in body waits: its identifier is being handed
// over, or is owned by a connection, which is asked to.
func (sh *shard) mustEvict(body []byte, done func(Result)) bool {
	r := reader{b: body}
	c := r.claim()
	h := sh.handovers.open[string(c.clientID)]
	_, rivals := sh.rival(&c)
	var why error
	switch {
	case sh.guests.bars(&c):
		why = ErrNotYours
	case sh.quota.exceeds(sh.st.sessions, &c):
		sh.metrics.overQuota.Inc()
		why = ErrQuota // before anybody is evicted for it
	case h == nil && !rivals:
		return false
	case c.sole:
		why = ErrFenced
	}
	if why != nil {
		if done != nil {
			done(Result{Err: why})
		}
		return true
	}
	if sh.contention.refuses(c.clientID, sh.clock()) {
		sh.metrics.contended.Inc()
		if done != nil {
			done(Result{Err: ErrContended})
		}
		return true
	}
	w := waitingClaim{body: append([]byte(nil), body...), done: done}
	if h == nil {
		sh.handOver(string(c.clientID), []waitingClaim{w})
		return true
	}
	if len(h.claims) == maxWaitingClaims {
		sh.metrics.contended.Inc()
		w.refuse(ErrContended)
		return true
	}
	h.claims = append(h.claims, w)
	return true
}

// rival is the connection that must hand over before c commits. A claim that
// Apply will refuse disturbs nobody (E6), nor does one that is asked for again and
// was applied.
func (sh *shard) rival(c *claim) (at endedConn, ok bool) {
	self := sh.store.self()
	if conn, _, ok := sh.guests.holder(c.clientID, c.user); ok {
		return endedConn{node: self, conn: conn}, c.node != self || c.conn != conn
	}
	_, rec := sh.st.sessions.find(c.clientID)
	if rec == nil || !rec.Attached() || rec.user != string(c.user) {
		return at, false
	}
	if c.node != 0 && rec.node == c.node && rec.conn == c.conn {
		return at, false
	}
	return endedConn{node: rec.node, conn: rec.conn, epoch: rec.Epoch()}, true
}

// handOver has the first of claims go on as soon as the identifier's owner has
// handed over, at once if there is none.
func (sh *shard) handOver(clientID string, claims []waitingClaim) {
	hs := &sh.handovers
	h := &handover{clientID: clientID, claims: claims, deadline: sh.clock() + handoverPatience}
	hs.open[clientID] = h
	r := reader{b: claims[0].body}
	c := r.claim()
	at, ok := sh.rival(&c)
	if !ok {
		hs.settle(h)
		return
	}
	hs.queue = append(hs.queue, h)
	sh.world.Evict(at.node, at.conn, clientID, at.epoch, func() {
		sh.call(func() { hs.settle(h) })
	})
}

// release gives the claims that go on, for the next entry.
func (hs *handovers) release() (claims []waitingClaim, from []*handover) {
	from, hs.ready = hs.ready, nil
	for _, h := range from {
		claims = append(claims, h.claims[0])
	}
	return claims, from
}

// nextHandovers turns to the claims that waited for those just released.
func (sh *shard) nextHandovers(released []*handover) {
	for _, h := range released {
		delete(sh.handovers.open, h.clientID)
		if rest := h.claims[1:]; len(rest) > 0 {
			sh.handOver(h.clientID, rest)
		}
	}
}

// settle has h's first claim go on; an owner's answer and its deadline may both
// come.
func (hs *handovers) settle(h *handover) {
	if !h.settled && hs.open[h.clientID] == h {
		h.settled = true
		hs.ready = append(hs.ready, h)
	}
}

// next is when the first handover runs out of patience, or session.Never.
func (hs *handovers) next() session.Time {
	for len(hs.queue) > 0 && hs.queue[0].settled {
		hs.queue = hs.queue[1:]
	}
	if len(hs.queue) == 0 {
		return session.Never
	}
	return hs.queue[0].deadline
}

// expire settles what ran out of patience.
func (hs *handovers) expire(now session.Time) {
	for at := hs.next(); at != session.Never && at <= now; at = hs.next() {
		hs.settle(hs.queue[0])
	}
}

// abandon refuses all that still wait.
func (hs *handovers) abandon(why error) {
	for _, h := range hs.open {
		for _, w := range h.claims {
			w.refuse(why)
		}
	}
	*hs = newHandovers()
}

func (w *waitingClaim) refuse(err error) {
	if w.done != nil {
		w.done(Result{Err: err})
	}
}
