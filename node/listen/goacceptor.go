package listen

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
)

// maxWaiting bounds the connections that an acceptor holds for its loop.
const maxWaiting = 64

// goListener is a bound address, shared by the acceptors of all loops.
type goListener struct {
	*net.TCPListener
	users atomic.Int32
}

// goAcceptor accepts for one loop, in a goroutine of its own.
type goAcceptor struct {
	d  *goDriver
	ln *goListener

	mu struct {
		sync.Mutex
		key     uint64
		watched bool
		waiting []*net.TCPConn
		err     error
		closed  bool
	}
	changed sync.Cond
}

func (goroutines) bind(addr *net.TCPAddr, drivers []driver) ([]acceptor, *net.TCPAddr, error) {
	config := net.ListenConfig{KeepAlive: -1} // see probe
	bound, err := config.Listen(context.Background(), "tcp", addr.String())
	if err != nil {
		return nil, nil, err
	}
	ln := &goListener{TCPListener: bound.(*net.TCPListener)}
	ln.users.Store(int32(len(drivers)))
	acceptors := make([]acceptor, len(drivers))
	for i, d := range drivers {
		a := &goAcceptor{d: d.(*goDriver), ln: ln}
		a.changed.L = &a.mu
		a.d.running.Go(a.acceptAll)
		acceptors[i] = a
	}
	return acceptors, bound.Addr().(*net.TCPAddr), nil
}

// acceptAll accepts as long as the loop keeps up and wants to be told.
func (a *goAcceptor) acceptAll() {
	for a.ready() {
		c, err := a.ln.AcceptTCP()
		a.mu.Lock()
		if a.mu.closed {
			a.mu.Unlock()
			if err == nil {
				c.Close()
			}
			return
		}
		if err == nil {
			a.mu.waiting = append(a.mu.waiting, c)
		} else {
			a.mu.err = err
		}
		key := a.mu.key
		a.mu.Unlock()
		a.d.report(key, canRead)
	}
}

// ready waits until the next connection may be accepted; false: never again.
func (a *goAcceptor) ready() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for !a.mu.closed && (!a.mu.watched || a.mu.err != nil || len(a.mu.waiting) >= maxWaiting) {
		a.changed.Wait()
	}
	return !a.mu.closed
}

func (a *goAcceptor) watch(key uint64) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.mu.key, a.mu.watched = key, true
	a.changed.Signal()
	if len(a.mu.waiting) > 0 || a.mu.err != nil {
		a.d.report(key, canRead)
	}
	return nil
}

func (a *goAcceptor) unwatch() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.mu.watched = false
}

func (a *goAcceptor) accept() (int32, netip.AddrPort, netip.AddrPort, error) {
	var none netip.AddrPort
	a.mu.Lock()
	defer a.mu.Unlock()
	defer a.changed.Signal()
	if len(a.mu.waiting) == 0 {
		err := a.mu.err
		a.mu.err = nil
		if err == nil {
			err = errAgain
		}
		return -1, none, none, err
	}
	c := a.mu.waiting[0]
	a.mu.waiting = append(a.mu.waiting[:0], a.mu.waiting[1:]...)
	at, s := a.d.sockets.take()
	*s = newGoSocket(a.d, c)
	return int32(at), addrPortOf(c.RemoteAddr()), addrPortOf(c.LocalAddr()), nil
}

// close ends the acceptor, and with the last one of its listener the listener.
func (a *goAcceptor) close() {
	a.mu.Lock()
	a.mu.closed = true
	for _, c := range a.mu.waiting {
		c.Close()
	}
	a.mu.waiting = nil
	a.changed.Signal()
	a.mu.Unlock()
	if a.ln.users.Add(-1) == 0 {
		a.ln.Close()
	}
}

func addrPortOf(addr net.Addr) netip.AddrPort {
	ap := addr.(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
