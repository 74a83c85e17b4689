package secure

import (
	"container/list"
	"crypto/tls"
	"runtime"
	"sync"
	"time"

	"dunlin/node/listen"
)

const (
	// maxHandshakes bounds the handshakes that run at a time, for some 30 KB each.
	maxHandshakes = 2048
	// patience is how long a handshake may wait for its peer when others wait for
	// its place.
	patience = time.Second
)

// Protocol is TLS on the server's side. It is a listen.Protocol.
type Protocol struct {
	config  func() *tls.Config
	most    int
	counts  counters
	running sync.WaitGroup

	// turns holds an element for each handshake that computes, one for a processor.
	// The loops' processors come on top of these (listen.Loops.Start), so that a loop
	// which wakes up need not queue behind hundreds of handshakes.
	turns chan struct{}

	mu struct {
		sync.Mutex
		running list.List // of *handshake, by their beginning
		waiting list.List // of *handshake that wait to begin, in order
		making  bool      // makeRoom is to be called
	}
}

// New makes a Protocol, before the loops start. Each handshake asks config for its
// configuration, from any goroutine.
func New(config func() *tls.Config) *Protocol {
	return &Protocol{config: config, most: maxHandshakes, turns: make(chan struct{}, runtime.GOMAXPROCS(0))}
}

// NewLayer implements listen.Protocol.
func (p *Protocol) NewLayer(_ listen.Info, wake func()) listen.Layer {
	l := &layer{p: p}
	l.pipe.shaking = newHandshake(wake, p.turns)
	return l
}

// Wait returns when the handshakes have ended of connections that all have been
// closed.
func (p *Protocol) Wait() { p.running.Wait() }

// admit says whether a handshake may begin. If not it is woken when it may.
func (p *Protocol) admit(h *handshake) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case h.running != nil:
		return true
	case h.waiting != nil:
		return false
	case p.mu.running.Len() < p.most:
		h.running = p.mu.running.PushBack(h)
		return true
	}
	h.waiting = p.mu.waiting.PushBack(h)
	if !p.mu.making {
		p.mu.making = true
		time.AfterFunc(patience/4, p.makeRoom)
	}
	return false
}

// makeRoom ends handshakes whose peers are slow, as many as others wait for their
// places, and is called again as long as any do.
func (p *Protocol) makeRoom() {
	p.mu.Lock()
	defer p.mu.Unlock()
	wanted := p.mu.waiting.Len()
	if p.mu.making = wanted > 0; !p.mu.making {
		return
	}
	for e := p.mu.running.Front(); e != nil && wanted > 0; e = e.Next() {
		if h := e.Value.(*handshake); h.slow(patience) {
			h.end(errShed)
			wanted--
		}
	}
	time.AfterFunc(patience/4, p.makeRoom)
}

// leave takes a handshake out, and lets the next begin.
func (p *Protocol) leave(h *handshake) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if h.waiting != nil {
		p.mu.waiting.Remove(h.waiting)
		h.waiting = nil
	}
	if h.running == nil {
		return
	}
	p.mu.running.Remove(h.running)
	h.running = nil
	if e := p.mu.waiting.Front(); e != nil {
		next := p.mu.waiting.Remove(e).(*handshake)
		next.waiting, next.running = nil, p.mu.running.PushBack(next)
		next.wake()
	}
}
