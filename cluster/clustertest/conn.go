package clustertest

import (
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
)

// maxHalf is how much may be on its way in one direction of a connection.
const maxHalf = 1 << 20

// half is one direction of a connection.
type half struct {
	n    *Network
	link link

	mu       sync.Mutex
	segments []segment
	bytes    int
	closed   bool          // by the writer: the end comes after the segments
	unread   bool          // by the reader: writing fails
	reset    bool          // both fail
	readBy   time.Time     // deadlines, zero for none
	writeBy  time.Time     //
	changed  chan struct{} // closed and replaced when any of these changes
}

type segment struct {
	data []byte
	due  time.Time
}

func newHalf(n *Network, l link) *half {
	return &half{n: n, link: l, changed: make(chan struct{})}
}

func (h *half) change(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
	h.changedLocked()
}

func (h *half) changedLocked() {
	close(h.changed)
	h.changed = make(chan struct{})
}

func (h *half) read(p []byte) (int, error) {
	for {
		open, _, linkChanged := h.n.state(h.link)
		now := time.Now()
		h.mu.Lock()
		next := h.readBy
		switch {
		case h.reset:
			h.mu.Unlock()
			return 0, syscall.ECONNRESET
		case h.unread:
			h.mu.Unlock()
			return 0, net.ErrClosed
		case !h.readBy.IsZero() && !now.Before(h.readBy):
			h.mu.Unlock()
			return 0, os.ErrDeadlineExceeded
		case open && len(h.segments) > 0:
			s := &h.segments[0]
			if !s.due.After(now) {
				n := copy(p, s.data)
				if s.data = s.data[n:]; len(s.data) == 0 {
					h.segments = h.segments[1:]
				}
				h.bytes -= n
				h.changedLocked()
				h.mu.Unlock()
				return n, nil
			}
			if next.IsZero() || s.due.Before(next) {
				next = s.due
			}
		case open && h.closed:
			h.mu.Unlock()
			return 0, io.EOF
		}
		changed := h.changed
		h.mu.Unlock()
		await(next, changed, linkChanged)
	}
}

func (h *half) write(p []byte) (n int, err error) {
	for len(p) > 0 {
		_, delay, _ := h.n.state(h.link)
		// Only a reset that comes back tells that the other end has gone.
		told, _, _ := h.n.state(link{h.link.to, h.link.from})
		now := time.Now()
		h.mu.Lock()
		room := min(maxHalf-h.bytes, len(p))
		switch {
		case h.closed:
			err = net.ErrClosed
		case h.reset, h.unread && told:
			err = syscall.ECONNRESET
		case !h.writeBy.IsZero() && !now.Before(h.writeBy):
			err = os.ErrDeadlineExceeded
		case room > 0:
			h.segments = append(h.segments, segment{append([]byte(nil), p[:room]...), now.Add(delay)})
			h.bytes += room
			n += room
			p = p[room:]
			h.changedLocked()
			h.mu.Unlock()
			continue
		}
		next, changed := h.writeBy, h.changed
		h.mu.Unlock()
		if err != nil {
			return n, err
		}
		await(next, changed, nil)
	}
	return n, nil
}

// await returns when one of the channels is closed or the time has come.
func await(at time.Time, a, b <-chan struct{}) {
	var due <-chan time.Time
	if !at.IsZero() {
		t := time.NewTimer(time.Until(at))
		defer t.Stop()
		due = t.C
	}
	select {
	case <-a:
	case <-b:
	case <-due:
	}
}

// conn is one end of a connection.
type conn struct {
	host          *Host
	link          link // from this end to the other
	local, remote net.Addr
	in, out       *half
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.in.read(p)
	return n, c.wrap("read", err)
}

func (c *conn) Write(p []byte) (int, error) {
	n, err := c.out.write(p)
	return n, c.wrap("write", err)
}

func (c *conn) wrap(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return &net.OpError{Op: op, Net: "tcp", Source: c.local, Addr: c.remote, Err: err}
}

func (c *conn) Close() error {
	c.out.change(func() { c.out.closed = true })
	c.in.change(func() { c.in.unread = true })
	c.host.n.mu.Lock()
	delete(c.host.conns, c)
	c.host.n.mu.Unlock()
	return nil
}

func (c *conn) reset() {
	c.in.change(func() { c.in.reset = true })
	c.out.change(func() { c.out.reset = true })
}

func (c *conn) LocalAddr() net.Addr  { return c.local }
func (c *conn) RemoteAddr() net.Addr { return c.remote }

func (c *conn) SetDeadline(t time.Time) error {
	_ = c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.in.change(func() { c.in.readBy = t })
	return nil
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.out.change(func() { c.out.writeBy = t })
	return nil
}

// Dial connects from h, as cluster.Options.Dial. Over a cut link it takes as long
// as ctx lets it.
func (h *Host) Dial(ctx context.Context, addr string) (net.Conn, error) {
	c, err := h.dial(ctx, addr)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: err}
	}
	return c, nil
}

func (h *Host) dial(ctx context.Context, addr string) (net.Conn, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, err
	}
	there, back := link{h.addr, to.Addr()}, link{to.Addr(), h.addr}
	for {
		open, d1, changed := h.n.state(there)
		openBack, d2, _ := h.n.state(back)
		if open && openBack {
			if d1+d2 > 0 {
				select {
				case <-time.After(d1 + d2):
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			}
			break
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	h.n.mu.Lock()
	defer h.n.mu.Unlock()
	if h.dead {
		return nil, syscall.ENETUNREACH
	}
	peer := h.n.hosts[to.Addr()]
	if peer == nil || peer.listeners[to.Port()] == nil {
		return nil, syscall.ECONNREFUSED
	}
	h.nextPort++
	out, in := newHalf(h.n, there), newHalf(h.n, back)
	mine := &conn{host: h, link: there, local: tcpAddr(h.addr, h.nextPort), remote: tcpAddr(to.Addr(), to.Port()), in: in, out: out}
	theirs := &conn{host: peer, link: back, local: mine.remote, remote: mine.local, in: out, out: in}
	if !peer.listeners[to.Port()].give(theirs) {
		return nil, syscall.ECONNREFUSED
	}
	h.conns[mine] = true
	peer.conns[theirs] = true
	return mine, nil
}

// listener takes connections of one port.
type listener struct {
	host  *Host
	port  uint16
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

// Listen is cluster.Options.Listen.
func (h *Host) Listen(addr string) (net.Listener, error) { return h.listen(addr) }

func (h *Host) listen(addr string) (*listener, error) {
	h.n.mu.Lock()
	defer h.n.mu.Unlock()
	port, err := h.portLocked(addr)
	if err != nil {
		return nil, err
	}
	if h.listeners[port] != nil {
		return nil, &net.OpError{Op: "listen", Net: "tcp", Err: syscall.EADDRINUSE}
	}
	l := &listener{host: h, port: port, conns: make(chan net.Conn, 128), done: make(chan struct{})}
	h.listeners[port] = l
	return l, nil
}

// give queues c and says whether there was room.
func (l *listener) give(c net.Conn) bool {
	select {
	case l.conns <- c:
		return true
	default:
		return false
	}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *listener) Addr() net.Addr { return tcpAddr(l.host.addr, l.port) }

func (l *listener) Close() error {
	l.host.n.mu.Lock()
	if l.host.listeners[l.port] == l {
		delete(l.host.listeners, l.port)
	}
	l.host.n.mu.Unlock()
	l.shut()
	return nil
}

// shut ends Accept and resets who waits for it.
func (l *listener) shut() {
	l.once.Do(func() { close(l.done) })
	for {
		select {
		case c := <-l.conns:
			c.(*conn).reset()
		default:
			return
		}
	}
}
