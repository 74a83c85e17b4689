package bulk

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// maxServed bounds the calls that are served at a time.
const maxServed = 64

// patience is how long the caller may keep still.
const patience = 30 * time.Second

var (
	errBusy      = errors.New("bulk: too many calls at a time")
	errNoCall    = errors.New("bulk: no such call: it was given up")
	errOverlap   = errors.New("bulk: the call is being asked already")
	errGivenUp   = errors.New("bulk: the caller has given up")
	errClosed    = errors.New("bulk: the node is stopping")
	errUnhandled = errors.New("bulk: nobody does that here")
)

// key names a call: by the node that makes it, and its number there.
type key struct {
	from string
	id   uint64
}

// served is a call that another node makes.
type served struct {
	in     *io.PipeWriter
	out    *io.PipeReader
	cancel context.CancelCauseFunc
	idle   *time.Timer
	asking sync.Mutex    // held while an ask about it is answered
	ended  chan struct{} // closed when the handler has returned,
	err    error         // with this
}

// serve takes an ask about a call. It does not block: what may wait is done on a
// goroutine, one at a time for a call.
func (c *Calls) serve(from string, _ uint16, body []byte, reply func([]byte, error)) {
	v, id, rest, err := readHead(body)
	if err != nil {
		reply(nil, err)
		return
	}
	k := key{from, id}
	if v == verbOpen {
		reply(nil, c.open(k, rest))
		return
	}
	c.mu.Lock()
	s := c.mu.served[k]
	c.mu.Unlock()
	switch {
	case s == nil:
		reply(nil, errNoCall)
	case v == verbCancel:
		c.drop(k, errGivenUp)
		reply(nil, nil)
	case !s.asking.TryLock():
		reply(nil, errOverlap)
	default:
		s.idle.Stop()
		rest = bytes.Clone(rest)
		go func() { // ends with the call at the latest, for its pipes do
			answer, over := s.answer(v, rest, c.known)
			s.idle.Reset(patience)
			s.asking.Unlock()
			if over {
				c.drop(k, errGivenUp)
			}
			reply(answer, nil)
		}()
	}
}

// open begins a call.
func (c *Calls) open(k key, rest []byte) error {
	if len(rest) == 0 {
		return errMalformed
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.mu.handlers[rest[0]]
	switch {
	case c.mu.closed:
		return errClosed
	case h == nil:
		return fmt.Errorf("%w: %d", errUnhandled, rest[0])
	case len(c.mu.served) >= maxServed:
		return errBusy
	case c.mu.served[k] != nil:
		return errOverlap
	}
	s := &served{ended: make(chan struct{})}
	ctx, cancel := context.WithCancelCause(c.ctx)
	s.cancel = cancel
	inRead, inWrite := io.Pipe()
	outRead, outWrite := io.Pipe()
	s.in, s.out = inWrite, outRead
	s.idle = time.AfterFunc(patience, func() { c.drop(k, errGivenUp) })
	c.mu.served[k] = s
	arg := bytes.Clone(rest[1:])
	broken := context.AfterFunc(ctx, func() {
		_ = inWrite.CloseWithError(context.Cause(ctx))
		_ = outRead.CloseWithError(context.Cause(ctx))
	})
	c.running.Go(func() {
		defer broken()
		out := bufio.NewWriterSize(outWrite, pieceBytes)
		err := h(ctx, arg, inRead, out)
		if err == nil {
			err = out.Flush()
		}
		s.err = err
		close(s.ended)
		_ = inRead.CloseWithError(io.ErrClosedPipe) // who still sends hears how it ended
		_ = outWrite.Close()
	})
	return nil
}

// drop forgets a call, and ends it if it goes on.
func (c *Calls) drop(k key, cause error) {
	c.mu.Lock()
	s := c.mu.served[k]
	delete(c.mu.served, k)
	c.mu.Unlock()
	if s != nil {
		s.idle.Stop()
		s.cancel(cause)
	}
}

// answer does what is asked of the call, and says whether it is over.
func (s *served) answer(v verb, piece []byte, known []error) (answer []byte, over bool) {
	switch v {
	case verbSend:
		if _, err := s.in.Write(piece); err == nil {
			return []byte{byte(goes)}, false
		}
	case verbFinish:
		_ = s.in.Close() // it always succeeds
		return []byte{byte(goes)}, false
	case verbReceive:
		answer = make([]byte, 1+pieceBytes)
		if n, err := s.out.Read(answer[1:]); err == nil {
			answer[0] = byte(goes)
			return answer[:1+n], false
		}
	default:
		return appendFailure(nil, errMalformed, nil), true
	}
	<-s.ended
	if s.err != nil {
		return appendFailure(nil, s.err, known), true
	}
	return []byte{byte(done)}, true
}
