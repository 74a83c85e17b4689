package raftstore

import (
	"bytes"
	"sync"
	"time"

	"dunlin/router"
	"dunlin/session"
)

// lane brings the commands that this node has for one shard to whichever node
// leads it, numbered (R2). What has no answer stays, and goes again, under the
// same numbers, when the shard moved, whether or not the leader before has said
// anything, or the way there broke: a retry neither doubles nor reorders. Claims go each on their own, beside the others.
//
// Invariants: numbers of frames are consecutive, those of open the last; the
// first asked of queue are under way.
type lane struct {
	store *Store
	shard *shard

	mu struct {
		sync.Mutex
		next       uint64 // number of the next command
		open       *frame // being filled
		queue      []*frame
		asked      int
		turn       uint64              // asks of an earlier one are void
		claims     map[*frame]struct{} // first is the claim's own number
		claimed    uint64              // number of the latest claim
		reads      map[*retainedRead]struct{}
		bytes      int // of commands without an answer
		delivering bool
		closed     bool
		scratch    []byte
		due        session.Time // when timer fires; Never if it does not
		rests      bool         // an ask came to nothing: nothing is asked until retry, or each of thousands of commands would ask all again
	}
	timer *time.Timer
}

const (
	maxFrames      = 4                     // of a lane under way
	maxAskedAgain  = 256                   // claims that are asked again at once
	maxLaneBytes   = 4 * maxInboxBytes     // beyond it new messages are refused
	laneRetry      = 25 * time.Millisecond // after a leader was not found, or moved
	laneLate       = 20 * time.Millisecond // what a command may wait for company that is Late; half as much again at most
	laneLook       = time.Second           // how often it is looked whether another node leads than was asked
	outcomeTimeout = 5 * time.Second       // when a publish becomes unknown (R6)
)

func newLane(s *Store, sh *shard) *lane {
	l := &lane{store: s, shard: sh}
	l.mu.next, l.mu.open, l.mu.claims = 1, &frame{first: 1}, make(map[*frame]struct{})
	l.mu.reads = make(map[*retainedRead]struct{})
	l.timer = time.AfterFunc(time.Hour, l.retry)
	return l
}

// submit takes a command on its way.
func (l *lane) submit(cmd Command, done func(Result)) {
	if done == nil {
		done = func(Result) {}
	}
	if c, ok := cmd.(Claim); ok {
		generation := l.store.rep.Generation()
		l.mu.Lock()
		l.mu.claimed++
		c.by = claimant{
			node: l.store.rep.Node, start: l.store.rep.Start, number: l.mu.claimed, low: l.mu.claimed, generation: generation,
		}
		for f := range l.mu.claims {
			c.by.low = min(c.by.low, f.first)
		}
		l.submitLocked(c, done)
		return
	}
	l.mu.Lock()
	l.submitLocked(cmd, done)
}

// submitLocked unlocks mu.
func (l *lane) submitLocked(cmd Command, done func(Result)) {
	if l.mu.closed {
		l.mu.Unlock()
		done(Result{Err: ErrClosed})
		return
	}
	k, body := cmd.encode(l.mu.scratch[:0], l.shard.clock)
	if l.mu.scratch = body[:0]; cap(body) > maxEntryBytes {
		l.mu.scratch = nil // a lane that is quiet from now on keeps no large message
	}
	if l.mu.bytes > maxLaneBytes && k.refusable() || l.mu.bytes > maxInboxBytes && k == kindTransient {
		l.mu.Unlock()
		done(Result{Err: ErrUnknown, Dropped: 1})
		return
	}
	now := l.shard.clock()
	if len(l.mu.open.calls) > 0 && now-l.mu.open.opened >= frameSpan {
		l.sealLocked(now)
	}
	f := l.mu.open
	if k == kindClaim {
		f = &frame{first: l.mu.claimed, since: now}
		l.mu.claims[f] = struct{}{}
	}
	switch {
	case !late(cmd):
		l.mu.open.late = session.Never
	case len(f.calls) == 0:
		// All lanes wake at once, and share frames and syncs on their way.
		f.late = now + session.Time(laneLate)
		f.late += session.Time(laneLate/2) - f.late%session.Time(laneLate/2)
		l.wakeLocked(time.Duration(f.late - now))
	}
	l.mu.bytes -= f.size
	f.add(k, body, done, now)
	l.mu.bytes += f.size
	switch {
	case k == kindClaim:
		l.pumpLocked() // what the node said before, of the same client perhaps
		if !l.mu.rests {
			l.askLocked(f)
		}
		l.wakeLocked(laneLook)
	case k.numbered():
		l.mu.next++
		fallthrough
	default:
		l.pumpLocked()
	}
	l.mu.Unlock()
}

// wakeLocked has retry called after d, if it would not be before.
func (l *lane) wakeLocked(d time.Duration) {
	if due := l.shard.clock() + session.Time(d); l.mu.due == session.Never || due < l.mu.due {
		l.mu.due = due
		l.timer.Reset(d)
	}
}

// refusable are the messages that a shard without a leader must not gather for
// ever; what a session needs to end is always taken.
func (k kind) refusable() bool { return k == kindEnqueue || k == kindEnqueueFor || k == kindRetain }

// late says whether a command may wait for others.
func late(cmd Command) bool {
	switch c := cmd.(type) {
	case Acks:
		return c.Late
	case Detach:
		return c.Late
	case forget:
		return true
	}
	return false
}

// pumpLocked asks the leader what there is to ask.
func (l *lane) pumpLocked() {
	for {
		if f := l.mu.open; len(f.calls) > 0 {
			goes := !l.mu.rests && l.mu.asked == len(l.mu.queue) && l.mu.asked < maxFrames && (f.late == session.Never || f.late <= l.shard.clock())
			if goes || len(f.calls) >= maxEntryCommands || len(f.commands) >= maxEntryBytes {
				l.sealLocked(l.shard.clock())
			}
		}
		if l.mu.rests || l.mu.asked == len(l.mu.queue) || l.mu.asked == maxFrames {
			return
		}
		if !l.askLocked(l.mu.queue[l.mu.asked]) {
			return
		}
		l.mu.asked++
	}
}

// sealLocked ends the frame that is being filled.
func (l *lane) sealLocked(now session.Time) {
	l.mu.open.since = now
	l.mu.queue = append(l.mu.queue, l.mu.open)
	l.mu.open = &frame{first: l.mu.next}
	l.wakeLocked(laneLook)
}

// askLocked sends a frame to the leader, if one is known; else it goes later.
func (l *lane) askLocked(f *frame) bool {
	s := source{node: l.store.rep.Node, start: l.store.rep.Start, low: l.mu.next}
	if len(l.mu.queue) > 0 {
		s.low = l.mu.queue[0].first
	} else {
		s.low = l.mu.open.first
	}
	f.age(l.shard.clock())
	l.mu.turn++
	turn := l.mu.turn
	f.asked, f.at = turn, l.store.rep.Node
	if l.shard.accept(s, f, func(results []Result, whole bool) { l.answered(f, turn, results, whole) }) {
		return true
	}
	at, ok := l.leaderLocked()
	if !ok {
		f.asked = 0
		return false
	}
	f.at = at
	_, claim := l.mu.claims[f]
	l.store.rep.Leaders.Ask(at, l.shard.id, f.encode(s), func(answer []byte, err error) {
		if claim {
			answer = bytes.Clone(answer) // the window that it found keeps it: see Claimed
		}
		r := reader{b: answer}
		results, whole := r.answer(l.shard.clock())
		l.answered(f, turn, results, whole && err == nil)
	})
	return true
}

// leaderLocked is the other node that is thought to lead; if none is, it is asked
// for again.
func (l *lane) leaderLocked() (at Node, ok bool) {
	if at, ok = l.store.rep.Leaders.Leader(l.shard.id); ok && at != l.store.rep.Node {
		return at, true
	}
	l.wakeLocked(laneRetry)
	return 0, false
}

// answered takes what the leader said to a frame.
func (l *lane) answered(f *frame, turn uint64, results []Result, whole bool) {
	l.mu.Lock()
	if f.asked != turn || l.mu.closed {
		l.mu.Unlock()
		return
	}
	for i := range results {
		whole = whole && results[i].Err != errTurn
	}
	_, claim := l.mu.claims[f]
	switch {
	case !whole || len(results) != len(f.calls):
		f.asked, f.again = 0, true
		if !claim {
			l.backLocked()
			l.mu.rests = true
		}
		l.wakeLocked(laneRetry)
		l.mu.Unlock()
		return
	case claim:
		delete(l.mu.claims, f)
		l.mu.bytes -= f.size
		l.mu.Unlock()
		f.calls[0](results[0])
		return
	}
	f.results = results
	if !l.mu.delivering {
		l.mu.delivering = true
		l.deliverLocked()
		l.mu.delivering = false
	}
	l.pumpLocked()
	l.mu.Unlock()
}

// backLocked has everything without an answer asked again, from the first on.
func (l *lane) backLocked() {
	for _, f := range l.mu.queue[:l.mu.asked] {
		f.asked, f.again, f.results = 0, true, nil
	}
	l.mu.asked = 0
}

// deliverLocked hands out the answers of the first frames, in order.
func (l *lane) deliverLocked() {
	for len(l.mu.queue) > 0 && l.mu.queue[0].results != nil {
		f := l.mu.queue[0]
		l.mu.queue[0] = nil
		l.mu.queue = l.mu.queue[1:]
		l.mu.asked--
		l.mu.bytes -= f.size
		l.mu.Unlock()
		for i, done := range f.calls {
			if done != nil {
				done(f.results[i])
			}
		}
		l.mu.Lock()
	}
}

// retry asks again what was not asked or failed, and gives up to wait for what is
// too old, which stays on its way all the same (R6).
func (l *lane) retry() {
	l.mu.Lock()
	if l.mu.closed {
		l.mu.Unlock()
		return
	}
	l.mu.due, l.mu.rests = session.Never, false
	l.movedLocked()
	l.pumpLocked()
	now := l.shard.clock()
	if f := l.mu.open; len(f.calls) > 0 && now-f.opened >= frameSpan {
		l.sealLocked(now) // or what is in it would have no time that runs out
	}
	asked := 0
	for f := range l.mu.claims {
		if f.asked != 0 {
			continue
		}
		if asked++; asked > maxAskedAgain {
			l.wakeLocked(laneRetry)
			break
		}
		l.askLocked(f)
	}
	overdue := l.retryReadsLocked()
	var late []func(Result)
	for _, f := range l.mu.queue {
		if f.results != nil || now-f.since < session.Time(outcomeTimeout) {
			continue
		}
		for i, done := range f.calls {
			if done != nil {
				late = append(late, done)
				f.calls[i] = nil
			}
		}
	}
	if len(l.mu.queue)+len(l.mu.claims)+len(l.mu.reads) > 0 {
		l.wakeLocked(laneLook)
	}
	if f := l.mu.open; f.late != session.Never && f.late > now {
		l.wakeLocked(time.Duration(f.late - now)) // what is overdue goes behind what is under way
	}
	l.mu.Unlock()
	for _, done := range late {
		done(Result{Err: ErrUnknown})
	}
	for _, r := range overdue {
		r.done(RetainedPage{}, ErrUnknown)
	}
}

// movedLocked takes back what was asked of a node that is not thought to lead any
// more: it may be silent, and its stream unbroken. If it answers yet, that is void.
func (l *lane) movedLocked() {
	leads, ok := l.store.rep.Leaders.Leader(l.shard.id)
	if !ok {
		return
	}
	// What this node itself was asked it answers when it leads no more.
	moved := func(at Node) bool { return at != leads && at != l.store.rep.Node }
	for _, f := range l.mu.queue[:l.mu.asked] {
		if f.results == nil && moved(f.at) {
			l.backLocked()
			break
		}
	}
	for f := range l.mu.claims {
		if f.asked != 0 && moved(f.at) {
			f.asked, f.again = 0, true
		}
	}
	for r := range l.mu.reads {
		if r.asked != 0 && moved(r.at) {
			r.asked = 0
		}
	}
}

// close fails what has no answer.
func (l *lane) close() {
	l.mu.Lock()
	l.mu.closed = true
	l.timer.Stop()
	frames := append(l.mu.queue, l.mu.open)
	for f := range l.mu.claims {
		frames = append(frames, f)
	}
	reads := l.mu.reads
	l.mu.queue, l.mu.asked, l.mu.open, l.mu.claims, l.mu.reads = nil, 0, &frame{}, nil, nil
	l.mu.Unlock()
	for r := range reads {
		r.done(RetainedPage{}, ErrClosed)
	}
	for _, f := range frames {
		for _, done := range f.calls {
			if done != nil {
				done(Result{Err: ErrClosed})
			}
		}
	}
}

// Leaders finds the leaders of shards on other nodes and speaks to them.
type Leaders interface {
	// Leader is the node that is thought to lead sh.
	Leader(sh router.ShardID) (at Node, ok bool)
	// Ask brings a frame to Store.Serve at another node, and what that answers, or
	// an error, to reply: once, and not before Ask has returned. Frames that one
	// node has for one shard arrive in order, if they arrive. frame is the
	// callee's; answer is borrowed until reply returns.
	Ask(at Node, sh router.ShardID, frame []byte, reply func(answer []byte, err error))
}

// Serve takes a frame of another node's for shard sh, which this node leads;
// reply is called once, with the answer, on any goroutine. frame is borrowed
// until Serve returns.
func (s *Store) Serve(sh router.ShardID, b []byte, reply func(answer []byte)) {
	if int(sh) < len(s.shards) {
		if len(b) > 1 && b[0] == frameVersion && b[1] == frameRead {
			s.serveRead(s.shards[sh], reader{b: b[2:]}, reply)
			return
		}
		r := reader{b: b}
		from, f := r.frame()
		if r.err == nil && s.shards[sh].accept(from, &f, func(results []Result, whole bool) {
			reply(appendAnswer(nil, results, whole))
		}) {
			return
		}
	}
	reply(appendAnswer(nil, nil, false))
}
