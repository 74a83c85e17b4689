package raftstore

import "sync"

// maxInboxBytes is how much may wait for a shard before QoS 0 messages are
// dropped. What is committed waits without a bound of its own: its publishers
// wait for their acknowledgements, no more than Receive Maximum each.
const maxInboxBytes = 8 << 20

// inbox is what has been submitted and not yet taken.
type inbox struct {
	sync.Mutex
	items    []item
	bodies   []byte
	pressing bool // something of the shard's own is there
	closed   bool
}

// full says that there is enough for an entry.
func (in *inbox) full() bool {
	return len(in.items) >= maxEntryCommands || len(in.bodies) >= maxEntryBytes
}

// batch is what was taken at once. It is used again when all of it was proposed
// and applied.
type batch struct {
	items  []item
	bodies []byte
	next   int // first item that was not proposed
	open   int // proposals of it under way
}

// body is the command's own bytes.
func (b *batch) body(it *item) []byte {
	if b == nil {
		return nil
	}
	return b.bodies[it.from:it.to]
}

// item is a command in the inbox: its body is bodies[from:to]. Those of the
// shard's own have a function instead.
type item struct {
	kind     kind
	waits    bool // for a handover, outside the entry
	from, to int
	done     func(Result)
	own      func()
	ask      *ask   // instead of done, for what came in a frame
	number   uint64 // of the proposer's, if it has one
}

// give hands the item's result to who waits for it.
func (it *item) give(r *Result) {
	switch {
	case it.ask != nil:
		it.ask.add(*r)
	case it.done != nil:
		it.done(*r)
	}
}

// waiter is give for a claim that goes on later, and fails the item for errMoved.
func (it *item) waiter() func(Result) {
	a := it.ask
	if a == nil {
		return it.done
	}
	return func(r Result) {
		if r.Err == errMoved {
			a.fail()
			return
		}
		a.add(r)
	}
}

// fail says that nothing is known of the item, since the shard moved.
func (it *item) fail() {
	switch {
	case it.own != nil:
		it.own()
	case it.ask != nil:
		it.ask.fail()
	case it.done != nil:
		it.done(Result{Err: ErrUnknown})
	}
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
	rouse := len(in.items) == 1 || in.full()
	in.Unlock()
	if rouse {
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
	in.items, in.pressing = append(in.items, item{own: f}), true
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
	sh.pages.close()
	sh.rouse()
}

// take swaps the inbox for what the goroutine has worked off, if it has. What
// stays in the inbox rouses nobody again. While an entry is under way the next one is
// left to grow until it is full; that it was applied rouses the goroutine.
func (sh *shard) take() (closed bool) {
	in := &sh.inbox
	in.Lock()
	defer in.Unlock()
	sh.behind = sh.batch.next < len(sh.batch.items)
	grows := len(sh.flight) > 0 && !in.full() && !in.pressing && !in.closed
	if sh.behind || grows || len(in.items) == 0 {
		return in.closed
	}
	in.pressing = false
	b := &batch{}
	if n := len(sh.spare); n > 0 {
		b = sh.spare[n-1]
		sh.spare = sh.spare[:n-1]
	}
	in.items, b.items = b.items, in.items
	in.bodies, b.bodies = b.bodies, in.bodies
	sh.batch = b
	return in.closed
}

// reuse takes back a batch of which nothing is left to do.
func (sh *shard) reuse(b *batch) {
	if b.open > 0 || b.next < len(b.items) {
		return
	}
	b.items, b.next = recycle(b.items), 0
	if cap(b.bodies) > 8*maxEntryBytes {
		b.bodies = nil
	}
	b.bodies = b.bodies[:0]
	if b != sh.batch {
		sh.spare = append(sh.spare, b)
	}
}
