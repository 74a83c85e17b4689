package admin

import (
	"net"
	"net/netip"
	"sync"

	"dunlin/node/token"
)

// eachListener closes connections of a host that has as many as it may, so that nobody
// takes the places of all (case 54).
type eachListener struct {
	net.Listener
	each int

	mu sync.Mutex
	of map[netip.Prefix]int
}

func limitEach(l net.Listener, each int) net.Listener {
	return &eachListener{Listener: l, each: each, of: make(map[netip.Prefix]int)}
}

func (l *eachListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		at, _ := netip.ParseAddrPort(c.RemoteAddr().String())
		if host := token.HostOf(at.Addr()); l.take(host) {
			return &eachConn{Conn: c, leave: sync.OnceFunc(func() { l.leave(host) })}, nil
		}
		_ = c.Close()
	}
}

func (l *eachListener) take(host netip.Prefix) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of[host] >= l.each {
		return false
	}
	l.of[host]++
	return true
}

func (l *eachListener) leave(host netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of[host]--; l.of[host] == 0 {
		delete(l.of, host)
	}
}

type eachConn struct {
	net.Conn
	leave func()
}

func (c *eachConn) Close() error {
	c.leave()
	return c.Conn.Close()
}
