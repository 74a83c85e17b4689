package raftnet

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
)

// Caller is this node's calls to one peer, for as long as that is a member.
type Caller struct {
	net    *Net
	peer   *peer
	open   func(context.Context) (Stream, context.CancelFunc, error)
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	queue  queue
	led    atomic.Int64 // when a heartbeat to it as a voter was sent last, in Net time; 0 for never

	mu struct {
		sync.Mutex
		last    uint32 // id given last
		pending map[uint32]*call
		asking  int           // bytes of asks that are not answered
		room    chan struct{} // not nil if somebody waits for asking to fall
	}
}

// call is a request that is under way. Its maker reads it once done is closed.
type call struct {
	id    uint32
	kind  kind
	size  int // of an ask
	done  chan struct{}
	then  func([]byte, error) // called instead of closing done
	reply []byte
	err   error
	space [32]byte // of most replies
}

// Connect makes a node one that can be called once Run has a stream. open opens
// a stream for a snapshot, and its CancelFunc ends it; it must be on another
// connection than that given to Run. The Caller made before for that node should
// be closed by then.
func (n *Net) Connect(identity string, open func(context.Context) (Stream, context.CancelFunc, error)) *Caller {
	c := &Caller{net: n, peer: n.peer(identity), open: open}
	c.ctx, c.cancel = context.WithCancel(n.ctx)
	c.queue.init(n.opts.MaxQueuedBytes)
	c.mu.pending = make(map[uint32]*call)
	c.peer.caller.Store(c)
	return c
}

// Close ends what is under way and makes the node unreachable.
func (c *Caller) Close() {
	c.peer.caller.CompareAndSwap(c, nil)
	c.cancel()
	c.queue.end()
	c.fail()
}

// Run carries calls over s until it breaks or ctx ends, and fails then what has
// no reply. cancel must end s; nothing of Run is left when it returns.
func (c *Caller) Run(ctx context.Context, s Stream, cancel func()) error {
	c.net.hear(c.peer)
	c.queue.begin()
	readErr := make(chan error, 1)
	go func() {
		readErr <- c.read(s)
		cancel()
	}()
	err := c.queue.write(ctx, s, c.pulse())
	cancel()
	if rerr := <-readErr; rerr != nil {
		err = rerr // it knows the reason
	}
	c.queue.end()
	c.fail()
	return err
}

func (c *Caller) read(s Stream) error {
	var rows [classes]assembler
	for i := range rows {
		rows[i].bound = c.net.opts.MaxPayloadBytes
	}
	piece := func(k Class, b []byte) error { return rows[k].add(b, c.replied) }
	for {
		if err := s.Recv(piece); err != nil {
			return err
		}
		c.net.hear(c.peer)
	}
}

// replied takes one record of the way back.
func (c *Caller) replied(r record) error {
	if r.kind == kindPush {
		return c.net.pushed(c.peer.identity, r)
	}
	if !r.kind.reply() {
		return malformed("no reply")
	}
	cl := c.forget(r.id)
	if cl == nil {
		return nil // nobody waits for it any more
	}
	if r.kind == kindFailure {
		cl.finish(nil, Failure(r.payload))
	} else {
		cl.finish(r.payload, nil)
	}
	return nil
}

// finish ends a call. The reply is borrowed.
func (cl *call) finish(reply []byte, err error) {
	if cl.then != nil {
		cl.then(reply, err)
		return
	}
	cl.reply, cl.err = append(cl.space[:0], reply...), err
	close(cl.done)
}

// fail ends all calls.
func (c *Caller) fail() {
	c.mu.Lock()
	calls := c.mu.pending
	c.mu.pending = make(map[uint32]*call)
	c.mu.asking = 0
	c.roomLocked()
	c.mu.Unlock()
	for _, cl := range calls {
		cl.finish(nil, ErrBroken)
	}
}

// expect registers a call, so that its reply finds it.
func (c *Caller) expect(cl *call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		c.mu.last++
		if _, taken := c.mu.pending[c.mu.last]; c.mu.last != 0 && !taken {
			break
		}
	}
	cl.id = c.mu.last
	c.mu.pending[cl.id] = cl
	c.mu.asking += cl.size
}

// forget takes a call out, nil if it is not there: then somebody else finishes it.
func (c *Caller) forget(id uint32) *call {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.forgetLocked(id)
}

// forgetIf takes a call out that may not have been registered yet, and says
// whether it was there.
func (c *Caller) forgetIf(cl *call) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.pending[cl.id] == cl && c.forgetLocked(cl.id) != nil
}

func (c *Caller) forgetLocked(id uint32) *call {
	cl := c.mu.pending[id]
	if cl == nil {
		return nil
	}
	delete(c.mu.pending, id)
	if c.mu.asking -= cl.size; cl.size > 0 {
		c.roomLocked()
	}
	return cl
}

func (c *Caller) roomLocked() {
	if c.mu.room != nil {
		close(c.mu.room)
		c.mu.room = nil
	}
}

// send queues a registered request of about size bytes. With size 0 it is urgent.
// After an error the call is forgotten and is not finished by anyone.
func (c *Caller) send(ctx context.Context, cl *call, ask uint8, group uint16, size int, lazy bool, payload func([]byte) []byte) error {
	var err error
	switch {
	case size > c.net.opts.MaxPayloadBytes:
		err = fmt.Errorf("%w: %d bytes", ErrTooLarge, size)
	case size == 0:
		err = c.queue.lock()
	default:
		err = c.queue.lockFor(ctx, size)
	}
	if err != nil {
		if c.forget(cl.id) == nil {
			return nil // it has been failed meanwhile, with a stream that broke
		}
		return err
	}
	row := &c.queue.mu.bulk
	if size == 0 {
		row = &c.queue.mu.urgent
	}
	start := len(*row)
	*row = payload(openRecord(*row, cl.kind, ask, group, cl.id))
	closeRecord(*row, start)
	c.queue.unlock(lazy)
	return nil
}

// await waits for a call's end. When ctx ends first the outcome is unknown.
func (c *Caller) await(ctx context.Context, cl *call) error {
	select {
	case <-cl.done:
		return cl.err
	case <-ctx.Done():
	}
	if c.forget(cl.id) == nil {
		<-cl.done // it is being finished
		return cl.err
	}
	return fmt.Errorf("%w: %w", ErrBroken, context.Cause(ctx))
}

// rpc is a request of Raft's that is not pipelined.
func (c *Caller) rpc(parent context.Context, k kind, group uint16, size int, lazy bool, payload func([]byte) []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(parent, c.net.opts.CallTimeout)
	defer cancel()
	cl := &call{kind: k, done: make(chan struct{})}
	c.expect(cl)
	if err := c.send(ctx, cl, 0, group, size, lazy, payload); err != nil {
		return nil, err
	}
	if err := c.await(ctx, cl); err != nil {
		return nil, err
	}
	return cl.reply, nil
}

// tell sends a request that wants no reply, if there is a stream.
func (c *Caller) tell(record func([]byte) []byte) {
	if c.queue.lock() != nil {
		return
	}
	c.queue.mu.urgent = record(c.queue.mu.urgent)
	c.queue.unlock(false)
}
