package harness

import (
	"io"
	"net"
	"sync"
	"testing"
)

// Link relays TCP connections to a node's port, and can be cut: the peers then
// see their connections reset and new ones refused, as when the network between
// two live nodes fails.
type Link struct {
	addr string
	to   string
	t    testing.TB
	mu   struct {
		sync.Mutex
		l     net.Listener // nil while cut
		conns map[net.Conn]struct{}
	}
	relays sync.WaitGroup
}

func newLink(t testing.TB, addr, to string) *Link {
	l := &Link{addr: addr, to: to, t: t}
	l.mu.conns = make(map[net.Conn]struct{})
	l.Restore()
	t.Cleanup(func() {
		l.Cut()
		l.relays.Wait()
	})
	return l
}

// Addr is where the link listens.
func (l *Link) Addr() string { return l.addr }

// Cut resets all connections and refuses new ones until Restore.
func (l *Link) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.l == nil {
		return
	}
	l.mu.l.Close()
	l.mu.l = nil
	for c := range l.mu.conns {
		reset(c)
	}
}

// reset closes so that the peer sees RST, and loses what was under way.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	c.Close()
}

// Restore ends Cut.
func (l *Link) Restore() {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.l != nil {
		return
	}
	ln, err := net.Listen("tcp", l.addr)
	if err != nil {
		l.t.Fatalf("harness: link: %v", err)
	}
	l.mu.l = ln
	l.relays.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			l.relays.Go(func() { l.relay(c) })
		}
	})
}

// relay copies both ways until either side ends.
func (l *Link) relay(from net.Conn) {
	defer reset(from)
	to, err := net.Dial("tcp", l.to)
	if err != nil {
		return
	}
	defer reset(to)
	if !l.track(from, to) {
		return
	}
	defer l.forget(from, to)
	done := make(chan struct{}, 2)
	for _, pair := range [][2]net.Conn{{from, to}, {to, from}} {
		go func() {
			io.Copy(pair[1], pair[0])
			done <- struct{}{}
		}()
	}
	<-done
	reset(from)
	reset(to)
	<-done
}

// track notes the connections of a relay; it reports false if the link has been
// cut meanwhile.
func (l *Link) track(conns ...net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range conns {
		l.mu.conns[c] = struct{}{}
	}
	return l.mu.l != nil
}

func (l *Link) forget(conns ...net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range conns {
		delete(l.mu.conns, c)
	}
}
