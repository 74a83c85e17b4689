package secure

import (
	"container/list"
	"crypto/tls"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

var (
	errShed      = errors.New("secure: handshake ended to make room for others")
	errAbandoned = errors.New("secure: connection ended in the handshake")
	errNotTLS    = errors.New("secure: peer does not speak TLS")
)

// handshake is what a connection needs until it is secured, beyond its tls.Conn.
type handshake struct {
	wake  func()
	turns chan struct{} // Protocol.turns

	// Guarded by Protocol.mu: the place among those that run or wait to begin.
	running, waiting *list.Element

	began bool // the loop's: the goroutine was started

	mu struct {
		sync.Mutex
		waits bool // for the peer, since:
		since time.Time
		ended bool // the goroutine is finished with pipe and tls.Conn, with the outcome:
		err   error
		close error // why the goroutine is to end; nil: it is not
	}
	news sync.Cond // for the goroutine: bytes have come, or close is set
}

func newHandshake(wake func(), turns chan struct{}) *handshake {
	h := &handshake{wake: wake, turns: turns}
	h.news.L = &h.mu
	return h
}

// run is the goroutine.
func (h *handshake) run(p *Protocol, c *tls.Conn) {
	err := h.shake(c)
	p.leave(h)
	h.mu.Lock()
	if h.mu.close != nil {
		err = h.mu.close
	}
	p.counts.ended(err)
	h.mu.ended, h.mu.err = true, err
	h.mu.Unlock()
	h.wake()
}

// shake has a turn, but for the time in which it waits for the peer (pipe.Read).
func (h *handshake) shake(c *tls.Conn) (err error) {
	h.turns <- struct{}{}
	defer func() {
		<-h.turns
		if r := recover(); r != nil {
			err = &panicError{r, debug.Stack()}
		}
	}()
	return c.Handshake()
}

// await returns when there is something of a record to read. If it has to wait it gives
// the turn back, and says so.
func (h *handshake) await(p *pipe) (waited bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.mu.close == nil && !p.begin() {
		if !waited {
			waited = true
			<-h.turns
		}
		if !h.mu.waits {
			h.mu.waits, h.mu.since = true, time.Now()
			h.wake() // for the next record, or to be told that there is none
		}
		h.news.Wait()
	}
	return waited, h.mu.close
}

// panicError is a panic of a handshake, which the loop is to have instead.
type panicError struct {
	value any
	stack []byte
}

func (p *panicError) Error() string {
	return fmt.Sprintf("secure: panic in a handshake: %v\n%s", p.value, p.stack)
}

// end has the goroutine end with err, unless it has ended.
func (h *handshake) end(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.mu.close == nil {
		h.mu.close = err
	}
	h.news.Signal()
}

// slow says whether the goroutine waits for its peer for longer than d.
func (h *handshake) slow(d time.Duration) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.mu.waits && h.mu.close == nil && time.Since(h.mu.since) > d
}
