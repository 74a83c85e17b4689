package cluster

import (
	"sync"

	"dunlin/proto/clusterpb"
)

// inbox is the receiving half of a conversation with one peer. It takes every
// sequence once, in order, whichever stream brings it, and remembers what the
// broker is done with until the peer has been told.
type inbox struct {
	// numbers draws this half's numbers of conversations: never the same twice in
	// a process, so that a peer that remembers an older half is recognised.
	numbers func() uint64

	// deliver is held while the broker takes a frame, so that a new stream of the
	// peer cannot overtake an old one that still holds a frame. It is acquired
	// before mu; done takes mu alone and may be called within Forwarded.
	deliver sync.Mutex
	next    uint64 // sequence expected, guarded by deliver

	mu struct {
		sync.Mutex
		sender uint64 // the peer's number of the conversation
		number uint64 // ours
		stream *inStream

		// accepted are the sequences up to which frames went to the broker; of these,
		// all up to doneTo are done and ring says which of the others are.
		accepted uint64
		doneTo   uint64
		ring     []bool
		free     []*completion
	}
}

// inStream is the one stream that feeds an inbox.
type inStream struct {
	ended   chan struct{} // closed when another stream takes its place
	wake    chan struct{} // something is in pending
	pending []span        // to be confirmed; guarded by inbox.mu
}

// completion is the done of one frame, reused.
type completion struct {
	in     *inbox
	number uint64
	seq    uint64
	fn     func() // c.done, bound once
}

// attach makes a new stream the inbox's, ends the one before, and fills in the
// answer to its Hello. It returns nil if the Hello continues a conversation that
// this inbox does not know: frames of it may have been accepted by one that is
// gone, and nobody can say which.
func (in *inbox) attach(h *clusterpb.Hello, w *clusterpb.Welcome) *inStream {
	in.deliver.Lock()
	defer in.deliver.Unlock()
	in.mu.Lock()
	defer in.mu.Unlock()
	switch {
	case h.Receiver == 0:
		// Never welcomed, so nothing of it was ever sent: a new one.
		in.mu.sender, in.mu.number = h.Sender, in.numbers()
		in.mu.accepted, in.mu.doneTo = 0, 0
		in.mu.ring = make([]bool, 16)
		in.next = 1
	case in.mu.number != h.Receiver || in.mu.sender != h.Sender:
		return nil
	}
	if in.mu.stream != nil {
		close(in.mu.stream.ended)
	}
	st := &inStream{ended: make(chan struct{}), wake: make(chan struct{}, 1)}
	in.mu.stream = st
	w.Receiver, w.Accepted = in.mu.number, in.mu.accepted

	// Confirmations sent on the stream before may never have arrived.
	if in.mu.doneTo > 0 {
		st.add(span{1, in.mu.doneTo})
	}
	for s := in.mu.doneTo + 1; s <= in.mu.accepted; s++ {
		if *in.slotLocked(s) {
			st.add(span{s, s})
		}
	}
	return st
}

// detach says that st has ended.
func (in *inbox) detach(st *inStream) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.mu.stream == st {
		in.mu.stream = nil
	}
}

// accept passes a frame of records from st to the broker, by forwarded. A
// sequence that was accepted before is passed over; it is confirmed when it is
// done, as ever. A gap is the peer's fault.
func (in *inbox) accept(st *inStream, f frame, forwarded func(body []byte, done func())) error {
	in.deliver.Lock()
	defer in.deliver.Unlock()
	var done func()
	in.mu.Lock()
	if in.mu.stream != st {
		in.mu.Unlock()
		return errStreamReplaced
	}
	if f.reliable {
		if f.seq == 0 || f.seq > in.next {
			in.mu.Unlock()
			return errSequenceGap
		}
		if f.seq < in.next {
			if f.seq <= in.mu.doneTo || *in.slotLocked(f.seq) {
				st.add(span{f.seq, f.seq})
			}
			in.mu.Unlock()
			return nil
		}
		if in.next-in.mu.doneTo > uint64(len(in.mu.ring)) {
			in.growLocked()
		}
		in.next++
		in.mu.accepted = f.seq
		done = in.completionLocked(f.seq)
	}
	in.mu.Unlock()
	forwarded(f.body, done)
	return nil
}

func (in *inbox) slotLocked(seq uint64) *bool {
	return &in.mu.ring[seq&uint64(len(in.mu.ring)-1)]
}

func (in *inbox) growLocked() {
	bigger := make([]bool, 2*len(in.mu.ring))
	for s := in.mu.doneTo + 1; s <= in.mu.accepted; s++ {
		bigger[s&uint64(len(bigger)-1)] = *in.slotLocked(s)
	}
	in.mu.ring = bigger
}

func (in *inbox) completionLocked(seq uint64) func() {
	var c *completion
	if n := len(in.mu.free); n > 0 {
		c = in.mu.free[n-1]
		in.mu.free = in.mu.free[:n-1]
	} else {
		c = &completion{in: in}
		c.fn = c.done
	}
	c.number, c.seq = in.mu.number, seq
	return c.fn
}

// done is what the broker calls when a frame is accepted.
func (c *completion) done() {
	in := c.in
	in.mu.Lock()
	defer in.mu.Unlock()
	if c.seq == 0 {
		panic("cluster: a frame was confirmed twice")
	}
	seq := c.seq
	c.seq = 0
	if len(in.mu.free) < 1<<10 {
		in.mu.free = append(in.mu.free, c)
	}
	if c.number != in.mu.number {
		return // of a conversation that is over
	}
	*in.slotLocked(seq) = true
	for in.mu.doneTo < in.mu.accepted && *in.slotLocked(in.mu.doneTo + 1) {
		in.mu.doneTo++
		*in.slotLocked(in.mu.doneTo) = false
	}
	if in.mu.stream != nil {
		in.mu.stream.add(span{seq, seq})
	}
}

// add notes what is to be confirmed, joined to what was noted last if it can be.
func (st *inStream) add(s span) {
	if n := len(st.pending); n > 0 && st.pending[n-1].hi+1 == s.lo {
		st.pending[n-1].hi = s.hi
	} else {
		st.pending = append(st.pending, s)
	}
	signal(st.wake)
}

// take returns what is to be confirmed and keeps empty for what comes.
func (in *inbox) take(st *inStream, empty []span) []span {
	in.mu.Lock()
	defer in.mu.Unlock()
	taken := st.pending
	st.pending = empty[:0]
	return taken
}
