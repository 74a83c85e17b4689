package listen

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// relay passes the bytes of one connection on to another, perhaps of another loop:
// a first byte 's' or 'p' tells the role, the second the pair.
type relay struct {
	loops []Loop
	mu    struct {
		sync.Mutex
		subscribers map[byte]ID
	}
}

func newRelay(loops int) *relay {
	r := &relay{loops: make([]Loop, loops)}
	r.mu.subscribers = map[byte]ID{}
	return r
}

// batch is what a loop has for a connection of another loop.
type batch struct {
	to ID
	b  []byte
}

type relayLoop struct {
	funcs
	r  *relay
	l  Loop
	to map[uint32]ID // by index of a publisher's connection
}

func (r *relay) handle(l Loop) Handler {
	r.loops[l.Index()] = l
	h := &relayLoop{r: r, l: l, to: map[uint32]ID{}}
	h.mail = func(m any) {
		g := m.(batch)
		h.send(g.to, g.b)
	}
	return h
}

func (h *relayLoop) send(to ID, b []byte) { h.l.End(to, append(h.l.Begin(to), b...)) }

func (h *relayLoop) Receive(id ID, b []byte) (int, int) {
	to, known := h.to[id.Index()]
	if !known {
		if len(b) < 2 {
			return 0, 2
		}
		h.r.mu.Lock()
		defer h.r.mu.Unlock()
		if b[0] == 's' {
			h.r.mu.subscribers[b[1]] = id
		} else {
			h.to[id.Index()] = h.r.mu.subscribers[b[1]]
		}
		h.send(id, b[:1])
		return 2, 0
	}
	if to.Loop() == h.l.Index() {
		h.send(to, b)
	} else {
		h.r.loops[to.Loop()].Post(batch{to, bytes.Clone(b)})
	}
	return len(b), 0
}

func (h *relayLoop) Closed(id ID, _ error) { delete(h.to, id.Index()) }

// join connects in a role and waits until the relay knows it.
func join(t testing.TB, addr string, role, pair byte) net.Conn {
	c, err := net.Dial("tcp", addr)
	if err == nil {
		_, err = c.Write([]byte{role, pair})
	}
	if err == nil {
		_, err = io.ReadFull(c, make([]byte, 1))
	}
	if err != nil {
		t.Error(err)
	}
	return c
}

// relayOnce sends a megabyte from a publisher to its subscriber.
func relayOnce(t *testing.T, r *rand.Rand, addr string, pair byte) {
	sub := join(t, addr, 's', pair)
	defer sub.Close()
	pub := join(t, addr, 'p', pair)
	defer pub.Close()
	sent := make([]byte, 1<<20)
	for i := range sent {
		sent[i] = byte(r.Uint32())
	}
	go func() {
		for b := sent; len(b) > 0; {
			n := min(1+r.IntN(40_000), len(b))
			if _, err := pub.Write(b[:n]); err != nil {
				t.Error(err)
				return
			}
			b = b[n:]
		}
	}()
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(sub, got); err != nil {
		t.Error(err)
	} else if !bytes.Equal(got, sent) {
		t.Errorf("pair %d: bytes differ at %d", pair, firstDifference(got, sent))
	}
}
