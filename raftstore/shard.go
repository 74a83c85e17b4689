package raftstore

import (
	"log/slog"
	"time"

	"dunlin/router"
	"dunlin/session"
)

// shard drives one state machine: it gathers what is submitted, puts it into
// log entries, applies them and does what follows, all on one goroutine.
//
// In this release the log is the entry in hand: a shard has one replica, in
// memory, and what is proposed is committed. commit is where a log goes.
type shard struct {
	id      router.ShardID
	store   *Store
	owner   Owner
	outlet  Outlet
	routes  *router.Table
	clock   func() session.Time
	log     *slog.Logger
	metrics *metrics

	inbox inbox
	wake  chan struct{} // something is in inbox, or it closed

	// Of the goroutine.
	st        *state
	handovers handovers
	batch     []item
	bodies    []byte
	entry     []byte
	results   []Result
	scratch   []Delivery
	commit    func(entry []byte) // hook of the tests, before the entry is applied

	warned session.Time // when it last said that the shard is full

	// base is the node's time at shard time 0; constant while the shard leads.
	base session.Time
}

// An entry is cut at this many commands or bytes, so that no replica is busy
// with one for long.
const (
	maxEntryCommands = 1024
	maxEntryBytes    = 256 << 10
)

func newShard(id router.ShardID, o *Options, owner Owner, outlet Outlet, s *Store, m *metrics) *shard {
	sh := &shard{
		id: id, store: s, owner: owner, outlet: outlet, routes: o.Routes, clock: o.Clock, log: o.Logger, metrics: m,
		wake: make(chan struct{}, 1), st: newState(id), handovers: newHandovers(),
	}
	sh.st.fx.leads = true
	sh.base = o.Clock() - sh.st.now
	sh.submit(o.Limits, nil)
	return sh
}

func (sh *shard) run() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		closed := sh.take()
		sh.handovers.expire(sh.clock())
		sh.work()
		if closed {
			sh.handovers.abandon()
			return
		}
		timer.Reset(sh.untilDue())
		select {
		case <-sh.wake:
		case <-timer.C:
		}
	}
}

// untilDue is how long the shard may sleep.
func (sh *shard) untilDue() time.Duration {
	wait := time.Hour
	now := sh.clock()
	if due := sh.st.nextDue(); due != session.Never {
		wait = min(wait, time.Duration(due-(now-sh.base)))
	}
	if due := sh.handovers.next(); due != session.Never {
		wait = min(wait, time.Duration(due-now))
	}
	return max(wait, 0)
}

// work does the batch, in entries, and after it the claims that handovers let
// go on.
func (sh *shard) work() {
	for from := 0; from < len(sh.batch); {
		to, bytes := from, 0
		for to < len(sh.batch) && to-from < maxEntryCommands && bytes < maxEntryBytes {
			it := &sh.batch[to]
			bytes += it.to - it.from
			to++
		}
		sh.step(sh.batch[from:to])
		from = to
	}
	for len(sh.handovers.ready) > 0 {
		sh.step(nil)
	}
	if due := sh.st.nextDue(); due != session.Never && due <= sh.clock()-sh.base {
		sh.step(nil)
	}
}

// step makes one entry of items and applies it; then come, in this order, the
// routes, so that SUBACK can wait for them; the results; and pushes, so that a
// client that publishes to itself is answered before it receives. Only what was
// committed before an UNSUBSCRIBE goes before its answer.
func (sh *shard) step(items []item) {
	st := sh.st
	st.fx.clock = sh.clock()
	before := session.Epoch(st.epochs)
	released, settled := sh.handovers.release()
	commands := sh.gather(released, items)
	if sh.commit != nil {
		sh.commit(sh.entry)
	}
	sh.results = st.apply(sh.entry, recycle(sh.results))
	for i := range items {
		if items[i].kind == kindTransient {
			st.transient(reader{b: sh.body(&items[i])})
		}
	}
	sh.check()

	version := sh.route()
	first := session.Epoch(1)
	sh.answer(released, items, version, func() {
		sh.push(first, before)
		first = before + 1
	})
	// Connections claimed in this entry have learned of it by its result.
	sh.push(first, session.Epoch(st.epochs))
	sh.finish()
	sh.metrics.observe(sh, commands)
	sh.warn()
	st.fx.reset()
	sh.nextHandovers(settled)
}

// gather makes the entry, the claims first whose handover is over, and says how
// many commands are in it.
func (sh *shard) gather(released []waitingClaim, items []item) (commands int) {
	sh.entry = appendEntryHead(sh.entry[:0], sh.st.fx.clock-sh.base)
	for _, c := range released {
		sh.entry = appendCommand(sh.entry, kindClaim, c.body)
		commands++
	}
	for i := range items {
		it := &items[i]
		switch body := sh.body(it); {
		case it.own != nil:
			it.own()
		case it.kind == kindTransient:
		case it.kind == kindRefused:
			sh.st.fx.drop(dropOverload, 1)
		case it.kind == kindClaim && sh.mustEvict(body, it.done):
			it.waits = true
		default:
			sh.entry = appendCommand(sh.entry, it.kind, body)
			commands++
		}
	}
	return commands
}

// answer calls back the submitters, in order, and pushNow before the first
// UNSUBSCRIBE among them.
func (sh *shard) answer(released []waitingClaim, items []item, version uint64, pushNow func()) {
	next, pushed := 0, false
	result := func() *Result {
		next++
		return &sh.results[next-1]
	}
	for _, c := range released {
		give(c.done, result(), version)
	}
	for i := range items {
		it := &items[i]
		if it.kind == kindUnsubscribe && !pushed {
			pushNow()
			pushed = true
		}
		switch {
		case it.own != nil || it.waits:
		case it.kind == kindTransient:
			give(it.done, &Result{Index: sh.st.index}, version)
		case it.kind == kindRefused:
			give(it.done, &Result{Index: sh.st.index, Dropped: 1}, version)
		default:
			give(it.done, result(), version)
		}
	}
}

func give(done func(Result), r *Result, version uint64) {
	if done != nil {
		r.Routes = version
		done(*r)
	}
}
