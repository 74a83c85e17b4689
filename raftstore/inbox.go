package raftstore

import "sync"

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
	waits    bool // for a handover, outside the entry
	from, to int
	done     func(Result)
	own      func()
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

// body is the command's own bytes, valid until the next take.
func (sh *shard) body(it *item) []byte { return sh.bodies[it.from:it.to] }
