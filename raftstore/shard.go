package raftstore

import (
	"log/slog"
	"sync"
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

// maxInboxBytes is how much may wait for a shard before QoS 0 messages are
// dropped. What is committed waits without a bound of its own: its publishers
// wait for their acknowledgements, no more than Receive Maximum each.
const maxInboxBytes = 8 << 20

// inbox is what has been submitted and not yet taken.
type inbox struct {
	sync.Mutex
	items  []item
	bodies []byte
	closed bool
}

// item is a command in the inbox: its body is bodies[from:to]. Those of the
// shard's own have a function instead.
type item struct {
	kind     kind
	skip     bool // not in the entry: waits for a handover
	from, to int
	done     func(Result)
	own      func()
}

func newShard(id router.ShardID, o *Options, owner Owner, s *Store, m *metrics) *shard {
	sh := &shard{
		id: id, store: s, owner: owner, routes: o.Routes, clock: o.Clock, log: o.Logger, metrics: m,
		wake: make(chan struct{}, 1), st: newState(id), handovers: newHandovers(),
	}
	sh.st.fx.leads = true
	sh.base = o.Clock() - sh.st.now
	sh.submit(o.Limits, nil)
	return sh
}

// submit encodes cmd into the inbox.
func (sh *shard) submit(cmd Command, done func(Result)) {
	in := &sh.inbox
	in.Lock()
	if in.closed {
		in.Unlock()
		if done != nil {
			go done(Result{Err: ErrClosed})
		}
		return
	}
	from := len(in.bodies)
	k, b := cmd.encode(in.bodies, sh.clock)
	if k == kindTransient && len(b) > maxInboxBytes {
		k, b = kindRefused, b[:from]
	}
	in.bodies = b
	in.items = append(in.items, item{kind: k, from: from, to: len(b), done: done})
	first := len(in.items) == 1
	in.Unlock()
	if first {
		sh.rouse()
	}
}

// call has f run on the shard's goroutine, between two entries. It says whether
// it will.
func (sh *shard) call(f func()) bool {
	in := &sh.inbox
	in.Lock()
	defer in.Unlock()
	if in.closed {
		return false
	}
	in.items = append(in.items, item{own: f})
	sh.rouse()
	return true
}

func (sh *shard) rouse() {
	select {
	case sh.wake <- struct{}{}:
	default:
	}
}

func (sh *shard) close() {
	sh.inbox.Lock()
	sh.inbox.closed = true
	sh.inbox.Unlock()
	sh.rouse()
}

// take swaps the inbox for what the goroutine has worked off.
func (sh *shard) take() (closed bool) {
	in := &sh.inbox
	in.Lock()
	defer in.Unlock()
	in.items, sh.batch = recycle(sh.batch), in.items
	if cap(sh.bodies) > 4*maxEntryBytes {
		sh.bodies = nil
	}
	in.bodies, sh.bodies = sh.bodies[:0], in.bodies
	return in.closed
}

func (sh *shard) run() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		closed := sh.take()
		sh.work()
		if closed {
			sh.handovers.abandon()
			return
		}
		timer.Reset(sh.untilDue())
		select {
		case <-sh.wake:
		case <-timer.C:
			sh.handovers.expire(sh.clock())
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
// routes, so that SUBACK can wait for them; pushes, so that what was committed
// before an UNSUBSCRIBE goes before its answer; the results, in order; and what
// concerns connections that learn of their claim only by its result.
func (sh *shard) step(items []item) {
	clock := sh.clock()
	st, fx := sh.st, &sh.st.fx
	fx.clock = clock
	epoch := session.Epoch(st.epochs)

	sh.entry = appendEntryHead(sh.entry[:0], clock-sh.base)
	released, settled := sh.handovers.release()
	for _, c := range released {
		sh.entry = appendCommand(sh.entry, kindClaim, c.body)
	}
	commands := len(released)
	for i := range items {
		it := &items[i]
		body := sh.bodies[it.from:it.to]
		switch {
		case it.own != nil:
			it.own()
		case it.kind == kindTransient:
		case it.kind == kindRefused:
			fx.drop(dropOverload, 1)
		case it.kind == kindClaim && sh.mustEvict(body, it.done):
			it.skip = true
		default:
			sh.entry = appendCommand(sh.entry, it.kind, body)
			commands++
		}
	}
	if sh.commit != nil {
		sh.commit(sh.entry)
	}
	sh.results = st.apply(sh.entry, recycle(sh.results))
	for i := range items {
		if items[i].kind == kindTransient {
			st.transient(reader{b: sh.bodies[items[i].from:items[i].to]})
		}
	}
	sh.check()

	version := sh.route()
	sh.push(func(e session.Epoch) bool { return e <= epoch })
	results := sh.results
	for _, c := range released {
		sh.answer(c.done, &results[0], version)
		results = results[1:]
	}
	for i := range items {
		it := &items[i]
		switch {
		case it.own != nil || it.skip:
		case it.kind == kindTransient:
			sh.answer(it.done, &Result{Index: st.index}, version)
		case it.kind == kindRefused:
			sh.answer(it.done, &Result{Index: st.index, Dropped: 1}, version)
		default:
			sh.answer(it.done, &results[0], version)
			results = results[1:]
		}
	}
	sh.push(func(e session.Epoch) bool { return e > epoch })
	sh.finish()
	sh.metrics.observe(sh, commands)
	sh.warn()
	fx.reset()
	sh.nextHandovers(settled)
}

func (sh *shard) answer(done func(Result), r *Result, version uint64) {
	if done != nil {
		r.Routes = version
		done(*r)
	}
}

// route brings the shard's changes into the node's table.
func (sh *shard) route() (version uint64) {
	if sh.routes == nil {
		return 0
	}
	for _, c := range sh.st.fx.routes {
		if c.add {
			sh.routes.SubscribeShard(c.filter, sh.id)
		} else {
			sh.routes.UnsubscribeShard(c.filter, sh.id)
		}
	}
	return sh.routes.Version()
}

// push hands each session's deliveries to its owner, for the epochs that are
// wanted.
func (sh *shard) push(wanted func(session.Epoch) bool) {
	fx := &sh.st.fx
	var m session.Message
	var last []byte // what m was parsed from
	for _, n := range fx.first {
		head := &fx.pushes[n]
		if !wanted(head.epoch) {
			continue
		}
		ds := sh.scratch[:0]
		for ; n >= 0; n = fx.pushes[n].next {
			p := &fx.pushes[n]
			if last == nil || &last[0] != &p.packed[0] {
				parseStored(p.packed, p.deadline, sh.st.now, fx.clock, &m)
				last = p.packed
			}
			ds = append(ds, Delivery{Index: p.index, Message: m, QoS: p.qos, Retain: p.retain, IDs: p.ids})
		}
		sh.owner.Push(head.conn, head.epoch, ds)
		sh.scratch = recycle(ds)
	}
}

// finish does what else the entry gave the leader to do.
func (sh *shard) finish() {
	fx := &sh.st.fx
	for _, e := range fx.ended {
		sh.owner.Ended(e.conn, e.epoch, e.reason)
	}
	for _, w := range fx.wills {
		var m session.Message
		parseStored(w.packed, session.Never, sh.st.now, fx.clock, &m)
		m.Origin, m.Seq = w.origin, w.seq
		sh.owner.Publish(&m, w.clientID, w.user)
	}
	for _, origin := range fx.origins {
		for _, other := range sh.store.shards {
			other.submit(forget{origin}, nil)
		}
	}
}

// warnEvery is the least time between two warnings of one shard.
const warnEvery session.Time = 60e9

// warn tells the operator that messages are dropped because the shard is full;
// those that one session's own bound costs are counted only.
func (sh *shard) warn() {
	fx := &sh.st.fx
	if fx.dropped[dropShardFull] == 0 || sh.warned != session.Never && fx.clock-sh.warned < warnEvery {
		return
	}
	sh.warned = fx.clock
	sh.log.Warn("shard holds all the queued messages it may: new ones are dropped",
		"shard", sh.id, "bytes", sh.st.messages.bytes, "limit", sh.st.limits.QueuedBytes)
}

// transient pushes a QoS 0 message to the connected sessions that want it.
func (st *state) transient(body reader) {
	from := body.bytes()
	var m session.Message
	packed := body.message(&m, st.fx.clock)
	if body.err != nil {
		panic("raftstore: transient message: " + body.err.Error())
	}
	e := enqueuing{m: &m, packed: packed, deadline: session.Never}
	var none Result
	for _, w := range st.subscriptions.match(m.Topic, st.publisher(from)) {
		st.enqueue(w.slot, &e, 0, m.Retain && w.retain, w.ids, &none)
	}
}

// retained reads the latest published view.
func (sh *shard) retained(f router.Filter, cursor string, now session.Time, yield func(*session.Message, uint64) bool) {
	view, at := sh.st.retained.view.Load(), now-sh.base
	var m session.Message
	give := func(r *retainedMessage) bool {
		if r.deadline != session.Never && r.deadline <= at {
			return true
		}
		parseStored(r.packed, r.deadline, at, now, &m)
		return yield(&m, r.index)
	}
	if f.IsExact() {
		if r, ok := view.Get(retainedMessage{topic: f.Pattern()}); ok && compareTopics(cursor, r.topic) < 0 {
			give(&r)
		}
		return
	}
	s := newSeek(f)
	from := s.first
	if cursor != "" && compareTopics(cursor+"/", from) > 0 {
		from = cursor + "/" // the least topic after cursor
	}
	for more := true; more; {
		more = false
		view.AscendGreaterOrEqual(retainedMessage{topic: from}, func(r retainedMessage) bool {
			matches, next, done := s.next(r.topic)
			if matches {
				return give(&r)
			}
			from, more = next, !done
			return false
		})
	}
}
