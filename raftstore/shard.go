package raftstore

import (
	"bytes"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"dunlin/proto/mqtt"
	"dunlin/router"
	"dunlin/session"
)

// shard is one state machine with all that feeds it and follows from it. It
// gathers what is submitted into log entries, has a driver commit them, applies
// what was committed and, if it leads, does what follows: all on one goroutine,
// which alone touches the state.
type shard struct {
	id      router.ShardID
	store   *Store
	world   world
	routes  Routes // nil for none
	clock   func() session.Time
	broken  func(error)
	log     *slog.Logger
	metrics *metrics
	limits  Limits // this node's, for the shards it leads
	driver  driver

	inbox   inbox
	wake    chan struct{} // something is in inbox, or it closed
	guests  guests
	reading atomic.Pointer[retained] // the table that readers look into
	leading atomic.Bool              // commands of other nodes are taken
	pages   pages                    // readers of it
	base    atomic.Int64             // the node's time at shard time 0, as far as is known here

	// Of the goroutine.
	st         *state
	handovers  handovers
	cold       cold
	couriers   couriers
	contention contention
	quota      quota
	batch      *batch
	behind     bool // the inbox was left as it is
	spare      []*batch
	flight     []*proposal // proposed and not yet applied, in order
	proposals  []*proposal // for reuse
	proposed   session.Time
	made       uint64 // number of the latest entry that a replica here made
	began      bool   // to lead: an entry is to tell the others what time it is
	results    []Result
	scratch    []Delivery
	again      []repush     // nodes to which is pushed again, while they have no room
	pacing     bool         // goOnPushing will be called
	unsent     uint64       // number of the first will that the messenger had no room for, 0 for none
	warned     session.Time // when it last said that the shard is full
}

// driver makes a log of a shard's entries. All calls come from the shard's
// goroutine and do not block; the driver has it call applied for each entry that
// was committed, in the order of the log.
type driver interface {
	room() bool // whether another entry may be proposed now
	head(p *proposal) entryHead
	propose(p *proposal) // takes p.entry to the log
	events() <-chan func()
}

// proposal is an entry on its way through the log, and who waits for it.
type proposal struct {
	number   uint64 // among those of this start; 0 where nobody asks
	entry    []byte
	batch    *batch
	items    []item // of batch
	released []waitingClaim
	settled  []*handover
	users    []string // of the stored sessions that begin in it, where these are counted
	commands int
}

// give hands the entry over to be kept, in little more memory than it takes: there was room
// in it for what then is not logged, or was once, and the log bounds what it keeps by what
// entries take (P10).
func (p *proposal) give() []byte {
	entry := p.entry
	if cap(entry) <= len(entry)+len(entry)/4+maxSpareRoom {
		p.entry = nil
		return entry
	}
	p.entry = entry[:0] // for the next one
	return bytes.Clone(entry)
}

// maxSpareRoom is what is not worth a copy of a short entry.
const maxSpareRoom = 64

// An entry is cut at this many commands or bytes, so that no replica is busy
// with one for long.
const (
	maxEntryCommands = 256
	maxEntryBytes    = 128 << 10
)

func newShard(id router.ShardID, o *Options, w world, s *Store, m *metrics) *shard {
	sh := &shard{
		id: id, store: s, world: w, clock: o.Clock, broken: o.Broken, log: o.Logger, metrics: m, limits: o.Limits,
		wake: make(chan struct{}, 1), handovers: newHandovers(), contention: newContention(o.MaxTakeovers), quota: quota{most: o.UserSessions}, batch: &batch{},
	}
	sh.pages.running = &s.running
	sh.guests.init(s.self(), func(conn router.Subscriber) { w.Ended(s.self(), conn, 0, mqtt.SessionTakenOver) })
	if o.Routes != nil {
		sh.routes = &tableRoutes{node: o.Routes}
	}
	sh.adopt(newState(id))
	return sh
}

// adopt makes st the shard's state.
func (sh *shard) adopt(st *state) {
	if sh.st != nil {
		sh.st.messages.scratch.close()
	}
	if st.messages.scratch == nil {
		st.messages.scratch = sh.store.scratches.open()
	}
	sh.st = st
	st.guests = &sh.guests
	sh.guests.adopt(st.sessions)
	st.shards = len(sh.store.shards)
	sh.reading.Store(st.retained)
}

// lead begins to do what follows from entries; shard time goes on from now. For
// reign see Routes.
func (sh *shard) lead(now session.Time, reign uint64) {
	sh.st.fx.leads = true
	sh.base.Store(int64(sh.clock() - now))
	if sh.st.limits != sh.limits {
		sh.submit(sh.limits, nil)
	}
	if sh.routes != nil {
		table := sh.st.subscriptions.table
		table.KeepChanges(keptChanges)
		sh.routes.LeadShard(sh.id, reign, table)
		sh.routes.ShardApplied(sh.id, sh.st.index)
	}
}

// now is shard time, as far as it is known here.
func (sh *shard) now() session.Time { return sh.clock() - session.Time(sh.base.Load()) }

func (sh *shard) run() {
	defer sh.tellBroken()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		closed := sh.take()
		sh.handovers.expire(sh.clock())
		sh.work()
		if closed {
			sh.handovers.abandon(ErrClosed)
			sh.cold.abandon(ErrClosed)
			sh.st.messages.scratch.close()
			return
		}
		sh.spill()
		if sh.behind && sh.batch.next == len(sh.batch.items) {
			continue // for what came before there was room for this
		}
		timer.Reset(sh.untilDue())
		select {
		case <-sh.wake:
		case <-timer.C:
		case event := <-sh.driver.events():
			event()
		case c := <-sh.chores():
			sh.spilled(c)
		}
	}
}

// tellBroken has the node end for a panic of the shard's goroutine.
func (sh *shard) tellBroken() {
	v := recover()
	if v == nil {
		return
	}
	err, ok := v.(error)
	if !ok {
		err = fmt.Errorf("%v", v)
	}
	if sh.broken != nil {
		at := ""
		if r, ok := sh.driver.(*replica); ok {
			at = fmt.Sprintf(" at entry %d", r.index)
		}
		sh.broken(fmt.Errorf("shard %d%s: %w\n%s", sh.id, at, err, debug.Stack()))
	}
	panic(v)
}

// untilDue is how long the shard may sleep.
func (sh *shard) untilDue() time.Duration {
	wait := time.Hour
	if due := sh.nextStep(); due != session.Never {
		wait = min(wait, time.Duration(due-sh.now()))
	}
	if due := sh.handovers.next(); due != session.Never {
		wait = min(wait, time.Duration(due-sh.clock()))
	}
	return max(wait, 0)
}

// maxSilence is how long a shard in which something will be due goes without an
// entry: what a node that was just started may be late by, if it leads next (T2).
const maxSilence = session.Time(10 * time.Second)

// nextStep is the shard time at which an entry is wanted without anybody's
// asking, or session.Never: also while there is no room for one. What is due by the time of an entry that is under
// way needs no other.
func (sh *shard) nextStep() session.Time {
	due := sh.st.nextEntry()
	switch {
	case !sh.st.fx.leads || due == session.Never || !sh.driver.room(), len(sh.flight) > 0 && due <= sh.proposed:
		return session.Never
	}
	return min(due, max(sh.st.now, sh.proposed)+maxSilence)
}

// work proposes what waits, in entries, then the claims that handovers let go
// on, then what is due.
func (sh *shard) work() {
	if !sh.st.fx.leads {
		sh.refuse()
		return
	}
	for b := sh.batch; b.next < len(b.items) && sh.driver.room(); {
		to, bytes := b.next, 0
		for to < len(b.items) && to-b.next < maxEntryCommands && bytes < maxEntryBytes {
			bytes += b.items[to].to - b.items[to].from
			to++
		}
		items := b.items[b.next:to]
		b.next = to
		sh.propose(b, items)
	}
	for (len(sh.handovers.ready) > 0 || sh.began) && sh.driver.room() {
		sh.began = false
		sh.propose(nil, nil)
	}
	if due := sh.nextStep(); due != session.Never && due <= sh.now() {
		sh.propose(nil, nil)
	}
}

// propose makes one entry of items and of the claims whose handover is over.
func (sh *shard) propose(b *batch, items []item) {
	p := sh.newProposal()
	p.batch, p.items = b, items
	if b != nil {
		b.open++
	}
	p.released, p.settled = sh.handovers.release()
	sh.keepQuota(p)
	sh.proposed = max(sh.now(), sh.st.now)
	if p.commands = sh.gather(p); b != nil && p.commands == 0 && !p.answers() {
		sh.release(p) // nothing but the shard's own
		return
	}
	sh.flight = append(sh.flight, p)
	sh.driver.propose(p)
}

// answers says whether somebody waits who has no command in the entry.
func (p *proposal) answers() bool {
	for i := range p.items {
		if it := &p.items[i]; it.own == nil && !it.waits {
			return true
		}
	}
	return false
}

// stopLeading gives up what this node was to do as the shard's leader: whoever
// waits for an answer hears that the shard moved.
func (sh *shard) stopLeading() {
	if sh.routes != nil && sh.st.fx.leads {
		sh.routes.EndShard(sh.id)
		sh.st.subscriptions.table.KeepChanges(0)
	}
	sh.st.fx.leads, sh.began, sh.again = false, false, nil
	sh.guests.admit(false)
	sh.quota.end(sh.st.sessions)
	sh.couriers.begin()
	for _, p := range sh.flight {
		for _, c := range p.released {
			if c.done != nil {
				c.done(Result{Err: errMoved})
			}
		}
		for i := range p.items {
			if it := &p.items[i]; it.own == nil && !it.waits {
				it.fail()
			}
		}
		if p.batch != nil {
			p.batch.open--
			sh.reuse(p.batch)
		}
	}
	clear(sh.flight)
	sh.flight = sh.flight[:0]
	sh.handovers.abandon(errMoved)
	sh.cold.abandon(errMoved)
	sh.refuse()
}

// refuse answers what waits in a shard that this node does not lead.
func (sh *shard) refuse() {
	for b := sh.batch; b.next < len(b.items); b.next++ {
		b.items[b.next].fail()
	}
}

// startLeading begins to do what follows from entries, after the first one of
// this node's term was applied, and does again what the leader before may have
// left undone (see DESIGN.md, What a new leader does again). now is shard time,
// and first that entry's place in the log.
func (sh *shard) startLeading(now session.Time, first uint64) {
	sh.lead(now, first)
	sh.began = true
	sh.pushAllAgain()
	for i := range sh.st.endings {
		sh.end(&sh.st.endings[i].endedConn)
	}
	sh.publishFrom(0)
	sh.post()
}

func (sh *shard) newProposal() *proposal {
	if n := len(sh.proposals); n > 0 {
		p := sh.proposals[n-1]
		sh.proposals = sh.proposals[:n-1]
		return p
	}
	return &proposal{}
}

// applied applies an entry that was committed. Where this shard proposed it, p,
// the head of flight, says who waits for it, and then come, in this order, the
// routes, so that SUBACK can wait for them; the results; and pushes, so that a
// client that publishes to itself is answered before it receives. Only what was
// committed before an UNSUBSCRIBE goes before its answer.
func (sh *shard) applied(entry []byte, p *proposal) {
	st := sh.st
	leads := st.fx.leads
	st.fx.leads = leads && p != nil
	st.fx.clock = sh.clock()
	before := session.Epoch(st.epochs)
	sh.results = st.apply(entry, recycle(sh.results))
	if st.fx.leads {
		sh.flight = append(sh.flight[:0], sh.flight[1:]...)
		sh.quota.applied(p)
		for i := range p.items {
			if p.items[i].kind == kindTransient {
				st.transient(reader{b: p.batch.body(&p.items[i])})
			}
		}
	}
	sh.check()
	if st.fx.leads {
		if sh.routes != nil {
			sh.routes.ShardApplied(sh.id, st.index)
		}
		first := session.Epoch(1)
		sh.answer(p, func() {
			sh.push(first, before)
			first = before + 1
		})
		// Connections claimed in this entry have learned of it by its result.
		sh.push(first, session.Epoch(st.epochs))
		sh.finish()
		sh.warn()
		sh.metrics.led(sh, p.commands)
		sh.nextHandovers(p.settled)
		sh.release(p)
	}
	sh.metrics.observe(sh, len(sh.results))
	st.fx.reset()
	st.fx.leads = leads
}

// release gives back what p held.
func (sh *shard) release(p *proposal) {
	if b := p.batch; b != nil {
		b.open--
		sh.reuse(b)
	}
	entry := p.entry
	if cap(entry) > 4*maxEntryBytes {
		entry = nil
	}
	*p = proposal{entry: entry[:0]}
	sh.proposals = append(sh.proposals, p)
}

// gather makes the entry, the claims first whose handover is over, and says how
// many commands are in it.
func (sh *shard) gather(p *proposal) (commands int) {
	if cap(p.entry) == 0 && len(p.items) > 0 {
		size := 64
		for i := range p.items {
			if it := &p.items[i]; it.kind < kindTransientFirst {
				size += it.to - it.from + 8
			}
		}
		p.entry = make([]byte, 0, size)
	}
	p.entry = appendEntryHead(p.entry[:0], sh.driver.head(p))
	for _, c := range p.released {
		p.entry = appendCommand(p.entry, kindClaim, c.body)
		commands++
	}
	var whose attribution
	for i := range p.items {
		it := &p.items[i]
		switch body := p.batch.body(it); {
		case it.own != nil:
			it.own()
		case it.kind == kindTransient, it.kind == kindConfirm:
		case it.kind == kindRefused:
			sh.st.fx.drop(dropOverload, 1)
		case it.kind == kindClaim && sh.mustEvict(body, it.waiter()):
			it.waits = true
		case it.kind == kindClaim && sh.overQuota(body, it.waiter(), p):
			it.waits = true
		default:
			if it.kind.numbered() {
				p.entry = whose.append(p.entry, it)
			}
			p.entry = appendCommand(p.entry, it.kind, body)
			commands++
		}
	}
	return commands
}

// attribution is whose commands an entry has come to.
type attribution struct {
	source source
	next   uint64 // number of the next command
}

// append says in the entry whose command it is, where that does not follow.
func (a *attribution) append(b []byte, it *item) []byte {
	var s source
	if it.ask != nil {
		s = it.ask.source
	}
	if s != a.source || it.number != a.next {
		a.source, a.next = s, it.number
		b = appendCommand(b, kindFrom, s.encode(nil, it.number))
	}
	if it.ask != nil {
		a.next++
	}
	return b
}

// answer calls back the submitters, in order, and pushNow before the first
// UNSUBSCRIBE among them.
func (sh *shard) answer(p *proposal, pushNow func()) {
	next, pushed := 0, false
	result := func() *Result {
		next++
		return &sh.results[next-1]
	}
	for _, c := range p.released {
		if r := result(); r.Claim.cold > 0 {
			sh.cold.claim(r.Claim.cold-1, r, c.done)
		} else if c.done != nil {
			c.done(*r)
		}
	}
	for i := range p.items {
		it := &p.items[i]
		if it.kind == kindUnsubscribe && !pushed {
			pushNow()
			pushed = true
		}
		switch {
		case it.own != nil || it.waits:
		case it.kind == kindTransient, it.kind == kindConfirm:
			it.give(&Result{Index: sh.st.index})
		case it.kind == kindRefused:
			it.give(&Result{Index: sh.st.index, Dropped: 1})
		default:
			if r := result(); r.Claim.cold > 0 {
				sh.cold.claim(r.Claim.cold-1, r, it.waiter())
			} else {
				it.give(r)
			}
		}
	}
}
