package cluster

import "sync"

// outbox holds the frames on their way to one peer: the sending half of a
// conversation. All callers of Forward share it; one goroutine at a time, that
// of the Forward stream, writes what is there.
//
// A reliable frame stays until it is confirmed. Its sequence numbers it within
// the conversation, from 1, and is the same on every stream that carries it. A
// conversation ends when the receiving half says that it does not know it: then
// what was written is lost, as with a death, and what was not starts the next.
//
// Invariants, see check:
//  1. The window holds the sequences head to next-1, each confirmed at most once.
//  2. head is unconfirmed, if the window is not empty.
//  3. written < next; what is above written has never been given to a stream.
//  4. The reliable frames in queue rise by one each and end with next-1.
type outbox struct {
	maxUnreliable int // bytes waiting
	maxReliable   int // bytes held, before Full
	maxFrames     int // frames held, before Full
	maxBody       int // bytes of a body, as far as this side is concerned
	pool          *buffers
	wake          chan struct{} // one pending signal for the writer

	mu struct {
		sync.Mutex
		closed bool // the peer is gone
		live   bool // a stream is writing

		sender   uint64 // this half's number of the conversation
		receiver uint64 // the other half's, 0 before it welcomed this one
		head     uint64
		next     uint64
		sent     uint64 // highest sequence ever written in this conversation
		window   []held // ring: sequence s lies at s & (len-1)

		maxBody         int // the smaller one of both sides
		queue           []outgoing
		unreliableBytes int // in queue
		reliableBytes   int // in window, by capacity: that is what they cost
		tooLarge        int // bodies left out, not counted yet: see takeTooLarge
	}
}

// held is a reliable frame in the window.
type held struct {
	body      []byte
	token     Token
	confirmed bool
}

// outgoing is a frame in the queue. A reliable one's body is the window's.
type outgoing struct {
	seq  uint64 // 0: not reliable
	body []byte
}

func newOutbox(sender uint64, o Options, pool *buffers) *outbox {
	ob := &outbox{
		maxUnreliable: o.MaxUnreliableBytes,
		maxReliable:   o.MaxReliableBytes,
		maxFrames:     o.MaxReliableFrames,
		maxBody:       o.MaxFrameBytes,
		pool:          pool,
		wake:          make(chan struct{}, 1),
	}
	ob.mu.sender = sender
	ob.mu.head, ob.mu.next = 1, 1
	ob.mu.window = make([]held, 16)
	ob.mu.maxBody = ob.maxBody
	return ob
}

// put queues f and says whether it took it.
//
// A body above the peer's bound, which may be configured lower than this node's,
// would only make it close the stream, again and again. A reliable frame with
// one goes without it: to its sender it is a frame of which nothing was wanted.
func (ob *outbox) put(f Frame) bool {
	ob.mu.Lock()
	defer ob.mu.Unlock()
	if ob.mu.closed {
		return false
	}
	if len(f.Body) > ob.mu.maxBody {
		if !f.Reliable {
			return false
		}
		ob.mu.tooLarge++
		f.Body = nil
	}
	if !f.Reliable {
		if !ob.mu.live || ob.mu.unreliableBytes+len(f.Body) > ob.maxUnreliable {
			return false
		}
		ob.mu.unreliableBytes += len(f.Body)
		ob.mu.queue = append(ob.mu.queue, outgoing{body: f.Body})
	} else {
		seq := ob.mu.next
		if seq-ob.mu.head == uint64(len(ob.mu.window)) {
			ob.growLocked()
		}
		*ob.slotLocked(seq) = held{body: f.Body, token: f.Token}
		ob.mu.next++
		ob.mu.reliableBytes += cap(f.Body)
		// Without a stream it waits in the window alone; attach queues it.
		if ob.mu.live {
			ob.mu.queue = append(ob.mu.queue, outgoing{seq: seq, body: f.Body})
		}
	}
	signal(ob.wake)
	return true
}

func (ob *outbox) slotLocked(seq uint64) *held {
	return &ob.mu.window[seq&uint64(len(ob.mu.window)-1)]
}

func (ob *outbox) growLocked() {
	bigger := make([]held, 2*len(ob.mu.window))
	for s := ob.mu.head; s < ob.mu.next; s++ {
		bigger[s&uint64(len(bigger)-1)] = *ob.slotLocked(s)
	}
	ob.mu.window = bigger
}

// full says that callers should stop adding.
func (ob *outbox) full() bool {
	ob.mu.Lock()
	defer ob.mu.Unlock()
	return ob.mu.reliableBytes >= ob.maxReliable || ob.mu.next-ob.mu.head >= uint64(ob.maxFrames)
}

// busy says that frames are waiting for a stream that is up.
func (ob *outbox) busy() bool {
	ob.mu.Lock()
	defer ob.mu.Unlock()
	return ob.mu.live && (len(ob.mu.queue) > 0 || ob.mu.next > ob.mu.head)
}

// unconfirmed returns the bytes and frames held.
func (ob *outbox) unconfirmed() (bytes, frames int) {
	ob.mu.Lock()
	defer ob.mu.Unlock()
	return ob.mu.reliableBytes, int(ob.mu.next - ob.mu.head)
}

// conversation is what a Hello says of it.
func (ob *outbox) conversation() (sender, receiver uint64) {
	ob.mu.Lock()
	defer ob.mu.Unlock()
	return ob.mu.sender, ob.mu.receiver
}

// attach starts writing to a stream whose receiver, of that number, takes bodies
// up to maxBody and has accepted the sequences up to accepted: what is above is
// queued again, in order. It returns how many of these had been written before.
// ok is false if the receiver claims what was never written.
func (ob *outbox) attach(receiver, accepted uint64, maxBody int) (resent int, ok bool) {
	ob.mu.Lock()
	defer ob.mu.Unlock()
	if accepted > ob.mu.sent {
		return 0, false
	}
	ob.mu.live, ob.mu.receiver, ob.mu.maxBody = true, receiver, min(ob.maxBody, maxBody)
	ob.mu.queue = ob.mu.queue[:0]
	for s := max(accepted+1, ob.mu.head); s < ob.mu.next; s++ {
		if s <= ob.mu.sent {
			resent++
		}
		h := ob.slotLocked(s)
		if len(h.body) > ob.mu.maxBody {
			ob.mu.tooLarge++
			ob.mu.reliableBytes -= cap(h.body)
			ob.pool.put(h.body)
			h.body = nil
		}
		ob.mu.queue = append(ob.mu.queue, outgoing{seq: s, body: h.body})
	}
	signal(ob.wake)
	return resent, true
}

// takeTooLarge counts the bodies left out since the last call.
func (ob *outbox) takeTooLarge() int {
	ob.mu.Lock()
	defer ob.mu.Unlock()
	n := ob.mu.tooLarge
	ob.mu.tooLarge = 0
	return n
}

// detach ends the writing. What is not reliable is dropped with the stream;
// unwritten are frames that take returned and no batch has taken up. It returns
// how many it dropped.
func (ob *outbox) detach(unwritten []outgoing) (dropped int) {
	ob.mu.Lock()
	defer ob.mu.Unlock()
	ob.mu.live = false
	for _, q := range [...][]outgoing{unwritten, ob.mu.queue} {
		for i, out := range q {
			if out.seq == 0 {
				ob.pool.put(out.body)
				dropped++
			}
			q[i] = outgoing{}
		}
	}
	ob.mu.queue = ob.mu.queue[:0]
	ob.mu.unreliableBytes = 0
	return dropped
}

// take hands the whole queue to the writer and keeps empty for the next frames.
func (ob *outbox) take(empty []outgoing) []outgoing {
	ob.mu.Lock()
	defer ob.mu.Unlock()
	taken := ob.mu.queue
	ob.mu.queue = empty[:0]
	ob.mu.unreliableBytes = 0
	return taken
}

// wrote tells that the frames up to seq lie in a batch about to be sent. It comes
// before the sending, so that no confirmation can be early.
func (ob *outbox) wrote(seq uint64) {
	ob.mu.Lock()
	defer ob.mu.Unlock()
	ob.mu.sent = max(ob.mu.sent, seq)
}

// confirm takes the frames of s out of the window and appends their tokens, in
// order. ok is false if s names what was never written. Frames that were
// confirmed before are passed over: a new stream starts by confirming again.
func (ob *outbox) confirm(s span, tokens []Token) (_ []Token, ok bool) {
	ob.mu.Lock()
	defer ob.mu.Unlock()
	if s.hi > ob.mu.sent {
		return tokens, false
	}
	for seq := max(s.lo, ob.mu.head); seq <= s.hi; seq++ {
		h := ob.slotLocked(seq)
		if h.confirmed {
			continue
		}
		tokens = append(tokens, h.token)
		ob.mu.reliableBytes -= cap(h.body)
		ob.pool.put(h.body)
		*h = held{confirmed: true}
	}
	for ob.mu.head < ob.mu.next && ob.slotLocked(ob.mu.head).confirmed {
		*ob.slotLocked(ob.mu.head) = held{}
		ob.mu.head++
	}
	return tokens, true
}

// restart begins a new conversation, of number sender, and returns the tokens of
// the frames of which nothing is known any more: the first that was written and
// not confirmed, and all after it, lest they overtake it when it is published
// again (P7). Without such a one, what was never written goes on in the new
// conversation. No stream may be attached.
func (ob *outbox) restart(sender uint64) (lost []Token) {
	ob.mu.Lock()
	defer ob.mu.Unlock()
	var keep []held
	for s := ob.mu.head; s < ob.mu.next; s++ {
		h := *ob.slotLocked(s)
		*ob.slotLocked(s) = held{}
		switch {
		case h.confirmed:
		case s <= ob.mu.sent || len(lost) > 0:
			lost = append(lost, h.token)
			ob.mu.reliableBytes -= cap(h.body)
			ob.pool.put(h.body)
		default:
			keep = append(keep, h)
		}
	}
	ob.mu.sender, ob.mu.receiver, ob.mu.head, ob.mu.sent = sender, 0, 1, 0
	ob.mu.next = 1 + uint64(len(keep))
	for i, h := range keep {
		*ob.slotLocked(uint64(1 + i)) = h
	}
	return lost
}

// close refuses further frames and returns the tokens of all that are held.
func (ob *outbox) close() (lost []Token) {
	ob.mu.Lock()
	defer ob.mu.Unlock()
	ob.mu.closed = true
	for s := ob.mu.head; s < ob.mu.next; s++ {
		if h := ob.slotLocked(s); !h.confirmed {
			lost = append(lost, h.token)
		}
	}
	ob.mu.window, ob.mu.queue = nil, nil
	ob.mu.head, ob.mu.next, ob.mu.reliableBytes = 1, 1, 0
	return lost
}

// check panics if an invariant is broken.
func (ob *outbox) check() {
	ob.mu.Lock()
	defer ob.mu.Unlock()
	if ob.mu.closed {
		return
	}
	switch {
	case ob.mu.head < 1, ob.mu.next < ob.mu.head, ob.mu.next-ob.mu.head > uint64(len(ob.mu.window)):
		panic("cluster: outbox window has no order")
	case ob.mu.head < ob.mu.next && ob.slotLocked(ob.mu.head).confirmed:
		panic("cluster: outbox keeps a confirmed head")
	case ob.mu.sent >= ob.mu.next:
		panic("cluster: outbox wrote what it never had")
	}
	bytes, expect := 0, ob.mu.next
	for s := ob.mu.head; s < ob.mu.next; s++ {
		bytes += cap(ob.slotLocked(s).body)
	}
	if bytes != ob.mu.reliableBytes {
		panic("cluster: outbox bytes miscounted")
	}
	for i := len(ob.mu.queue) - 1; i >= 0; i-- {
		if s := ob.mu.queue[i].seq; s != 0 {
			if expect--; s != expect {
				panic("cluster: outbox queue out of order")
			}
		}
	}
}

// signal leaves a message in a channel of capacity one, if it has none.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
