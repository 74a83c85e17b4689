package bulk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"dunlin/cluster/raftnet"
)

// Net asks other nodes: raftnet.Net.
type Net interface {
	Handle(kind uint8, h raftnet.Handler)
	Ask(ctx context.Context, node string, group uint16, kind uint8, body []byte) ([]byte, error)
}

// Handler carries out calls: it reads the input, then writes the output. ctx ends
// when the caller has given up, or is not heard of any more; reading and writing
// then fail. It runs on a goroutine of the call's own, and arg is its own.
type Handler func(ctx context.Context, arg []byte, in io.Reader, out io.Writer) error

// Calls is a node's end. Close ends it.
type Calls struct {
	net   Net
	known []error

	ctx     context.Context // ends with Close
	stop    context.CancelFunc
	running sync.WaitGroup

	mu struct {
		sync.Mutex
		closed   bool
		handlers map[uint8]Handler
		served   map[key]*served
	}
}

// New makes a node's end. known are the errors that keep what they are on their
// way from one node to another: in an order that stays the same from release to
// release.
func New(net Net, known ...error) *Calls {
	c := &Calls{net: net, known: known}
	c.ctx, c.stop = context.WithCancel(context.Background())
	c.mu.handlers = make(map[uint8]Handler)
	c.mu.served = make(map[key]*served)
	net.Handle(askBulk, c.serve)
	return c
}

// Handle makes h what calls of that number come to.
func (c *Calls) Handle(what uint8, h Handler) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.handlers[what] = h
}

// Close ends all calls that are served here, and waits for them.
func (c *Calls) Close() {
	c.mu.Lock()
	c.mu.closed = true
	c.mu.Unlock()
	c.stop()
	c.running.Wait()
}

// Call has a node, perhaps this one, do what its Handler of that number does: with
// in as its input, nil for none, and its output written to out. What the handler
// ends with is a Failure; raftnet.ErrUnreachable says that the node was not
// called, raftnet.ErrBroken that nobody knows what came of it.
func (c *Calls) Call(ctx context.Context, node string, what uint8, arg []byte, in io.Reader, out io.Writer) error {
	o := outgoing{calls: c, node: node, id: rand.Uint64()}
	if _, err := o.ask(ctx, verbOpen, append([]byte{what}, arg...)); err != nil {
		return err
	}
	over, err := o.carry(ctx, in, out)
	if !over {
		o.cancel()
	}
	return err
}

// outgoing is a call that this node makes.
type outgoing struct {
	calls *Calls
	node  string
	id    uint64
	body  []byte
}

// carry brings the input and fetches the output; over says that the other side has
// ended the call.
func (o *outgoing) carry(ctx context.Context, in io.Reader, out io.Writer) (over bool, err error) {
	if in != nil {
		if over, err = o.send(ctx, in); over || err != nil {
			return over, err
		}
	}
	for over, err = o.exchange(ctx, verbFinish, nil, nil); !over && err == nil; {
		over, err = o.exchange(ctx, verbReceive, nil, out)
	}
	return over, err
}

func (o *outgoing) send(ctx context.Context, in io.Reader) (over bool, err error) {
	piece := make([]byte, pieceBytes)
	for {
		n, rerr := io.ReadFull(in, piece)
		if n > 0 {
			if over, err = o.exchange(ctx, verbSend, piece[:n], nil); over || err != nil {
				return over, err
			}
		}
		switch {
		case rerr == io.EOF, rerr == io.ErrUnexpectedEOF:
			return false, nil
		case rerr != nil:
			return false, rerr
		}
	}
}

// exchange asks about the call, and writes the piece in the answer to out.
func (o *outgoing) exchange(ctx context.Context, v verb, rest []byte, out io.Writer) (over bool, err error) {
	answer, err := o.ask(ctx, v, rest)
	if errors.Is(err, raftnet.ErrUnreachable) { // now, and it was called before
		return false, fmt.Errorf("%w: %s", raftnet.ErrBroken, err.Error())
	}
	if err != nil {
		return false, err
	}
	piece, over, err := readAnswer(answer, o.calls.known)
	if err == nil && len(piece) > 0 && out != nil {
		_, err = out.Write(piece)
	}
	return over, err
}

func (o *outgoing) ask(ctx context.Context, v verb, rest []byte) ([]byte, error) {
	o.body = append(appendHead(o.body[:0], v, o.id), rest...)
	return o.calls.net.Ask(ctx, o.node, 0, askBulk, o.body)
}

// cancelWithin bounds how long it may take to tell the other side, which finds out
// by itself.
const cancelWithin = time.Second

func (o *outgoing) cancel() {
	ctx, done := context.WithTimeout(context.Background(), cancelWithin)
	defer done()
	_, _ = o.ask(ctx, verbCancel, nil)
}
