package raftnet

import (
	"context"
	"fmt"
)

// Handler answers asks of one kind. It is called with those of a node to a group
// one after the other, in the order in which they were made, by the goroutine
// that reads that node's stream: it must not block. body is borrowed until it
// returns. reply is called once, from any goroutine, and borrows its argument; an
// error arrives as a Failure with its text.
type Handler func(from string, group uint16, body []byte, reply func(body []byte, err error))

// Handle makes h the answer to asks of that kind, which has no other: two that
// chose the same number are a mistake in the program, and it panics.
func (n *Net) Handle(kind uint8, h Handler) {
	n.used.Store(true)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.mu.handlers[kind] != nil {
		panic(fmt.Sprintf("raftnet: asks of kind %d have two handlers", kind))
	}
	n.mu.handlers[kind] = h
}

// HandleAnyone makes h the answer to asks of that kind, as Handle does, also to those
// of nodes that are restricted.
func (n *Net) HandleAnyone(kind uint8, h Handler) {
	n.Handle(kind, h)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mu.anyones[kind] = true
}

// Restrict has nothing taken from a node but what HandleAnyone answers, and nothing
// pushed to it, or lifts that.
func (n *Net) Restrict(node string, restricted bool) { n.peer(node).restricted.Store(restricted) }

// ErrRestricted is what else a node is told that is restricted.
const ErrRestricted = Failure("this is not for a node of no cluster, or of another")

func (n *Net) anyone(kind uint8) bool {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.mu.anyones[kind]
}

func (n *Net) handler(kind uint8) Handler {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.mu.handlers[kind]
}

// Ask asks a node something about a group and waits for the answer, which is the
// caller's. It is never sent twice; ErrUnreachable says that nothing was sent,
// ErrBroken that nobody knows. To ask more before the answer is there, see Start.
func (n *Net) Ask(ctx context.Context, node string, group uint16, kind uint8, body []byte) ([]byte, error) {
	var reply []byte
	var err error
	done := make(chan struct{})
	cl, c, serr := n.start(ctx, node, group, kind, body, func(b []byte, e error) {
		reply, err = append([]byte(nil), b...), e
		close(done)
	})
	if serr != nil {
		return nil, serr
	}
	select {
	case <-done:
	case <-ctx.Done():
		if c == nil || c.forget(cl.id) != nil {
			return nil, fmt.Errorf("%w: %w", ErrBroken, context.Cause(ctx))
		}
		<-done // it is being finished
	}
	return reply, err
}

// Start is an Ask that waits for no answer: done is called with it, borrowed, by
// a goroutine that it must not block, unless Start returns an error. It waits, no
// longer than ctx, while MaxAskBytes are unanswered. Asks that one goroutine
// makes arrive in that order.
func (n *Net) Start(ctx context.Context, node string, group uint16, kind uint8, body []byte, done func([]byte, error)) error {
	_, _, err := n.start(ctx, node, group, kind, body, done)
	return err
}

func (n *Net) start(ctx context.Context, node string, group uint16, kind uint8, body []byte, done func([]byte, error)) (*call, *Caller, error) {
	if node == n.self {
		h := n.handler(kind)
		if h == nil {
			return nil, nil, Failure(unhandled(kind))
		}
		h(node, group, body, done)
		return nil, nil, nil
	}
	c := n.caller(node)
	if c == nil {
		return nil, nil, fmt.Errorf("%w: %s is no member", ErrUnreachable, node)
	}
	cl := &call{kind: kindAsk, size: max(len(body), 1), then: done}
	if err := c.mayAsk(ctx, cl.size); err != nil {
		return nil, nil, err
	}
	c.expect(cl)
	err := c.send(ctx, cl, kind, group, cl.size, false, func(dst []byte) []byte { return append(dst, body...) })
	if err != nil {
		return nil, nil, err
	}
	return cl, c, nil
}

// mayAsk waits until size more bytes may be asked; anything may if nothing is.
func (c *Caller) mayAsk(ctx context.Context, size int) error {
	for {
		c.mu.Lock()
		if c.mu.asking == 0 || c.mu.asking+size <= c.net.opts.MaxAskBytes {
			c.mu.Unlock()
			return nil
		}
		if c.mu.room == nil {
			c.mu.room = make(chan struct{})
		}
		room := c.mu.room
		c.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrUnreachable, context.Cause(ctx))
		}
	}
}

func unhandled(kind uint8) string { return fmt.Sprintf("nobody answers asks of kind %d", kind) }
