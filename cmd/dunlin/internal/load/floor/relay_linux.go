package floor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	readBuffer = 512 << 10 // a packet may be half of it
	maxUnsent  = 1 << 20   // of a subscriber, beyond which its publishers wait
)

// Relay is a relay that listens.
type Relay struct {
	topology Topology
	addr     net.Addr
	listenFD int
	epollFD  int
	wakeFD   int

	conns  []*conn           // by descriptor
	groups map[string]*group // by number of the pair; one only, "", if not Pairs
	ready  []*conn           // with bytes to read
	buf    []byte
}

// conn is a connection.
type conn struct {
	fd         int
	publisher  bool
	subscriber bool
	v5         bool
	group      *group // nil: neither
	partial    []byte // the beginning of a packet
	out        []byte // unsent
	ending     bool   // the end of the stream is near: read until it comes
	ready      bool   // on the list
	armed      bool   // epoll tells when it takes output again
	blocked    bool   // the kernel has refused output
}

// group is publishers and the subscribers that get what they send.
type group struct {
	batch   []byte // what a read has brought
	subs    []*conn
	next    int     // subscriber whose turn it is, if Share
	full    bool    // a subscriber has too much unsent
	waiting []*conn // publishers that are not read from meanwhile
}

// Listen binds a TCP address to relay on; Run must follow.
func Listen(addr string, t Topology) (*Relay, error) {
	tcp, err := net.ResolveTCPAddr("tcp4", addr)
	if err != nil {
		return nil, fmt.Errorf("floor: %w", err)
	}
	r := &Relay{topology: t, listenFD: -1, epollFD: -1, wakeFD: -1,
		groups: map[string]*group{}, buf: make([]byte, readBuffer)}
	if err := r.bind(tcp); err != nil {
		r.close()
		return nil, fmt.Errorf("floor: listen on %s: %w", addr, err)
	}
	return r, nil
}

// Addr is the address bound.
func (r *Relay) Addr() net.Addr { return r.addr }

func (r *Relay) bind(addr *net.TCPAddr) (err error) {
	if r.listenFD, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
		return err
	}
	if err := errors.Join(
		unix.SetsockoptInt(r.listenFD, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		unix.SetsockoptInt(r.listenFD, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1), // inherited
	); err != nil {
		return err
	}
	sa := &unix.SockaddrInet4{Port: addr.Port}
	copy(sa.Addr[:], addr.IP.To4())
	if err := unix.Bind(r.listenFD, sa); err != nil {
		return err
	}
	if err := unix.Listen(r.listenFD, 4096); err != nil {
		return err
	}
	name, err := unix.Getsockname(r.listenFD)
	if err != nil {
		return err
	}
	bound := name.(*unix.SockaddrInet4)
	r.addr = &net.TCPAddr{IP: bound.Addr[:], Port: bound.Port}
	if r.epollFD, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return err
	}
	if r.wakeFD, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return err
	}
	return errors.Join(
		r.control(unix.EPOLL_CTL_ADD, r.listenFD, unix.EPOLLIN),
		r.control(unix.EPOLL_CTL_ADD, r.wakeFD, unix.EPOLLIN))
}

func (r *Relay) close() {
	for fd, c := range r.conns {
		if c != nil {
			unix.Close(fd)
		}
	}
	for _, fd := range []int{r.listenFD, r.epollFD, r.wakeFD} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// Run relays until ctx ends, whose error it returns.
func (r *Relay) Run(ctx context.Context) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer r.close()
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(woken)
		_, _ = unix.Write(r.wakeFD, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	})
	defer func() {
		if !stop() {
			<-woken
		}
	}()
	var events [512]unix.EpollEvent
	for ctx.Err() == nil {
		timeout := -1
		if len(r.ready) > 0 {
			timeout = 0
		}
		n, err := unix.EpollWait(r.epollFD, events[:], timeout)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("floor: wait: %w", err)
		}
		for k := range max(n, 0) {
			r.event(&events[k])
		}
		r.turn()
	}
	return ctx.Err()
}

func (r *Relay) event(e *unix.EpollEvent) {
	fd := int(e.Fd)
	if fd == r.listenFD {
		r.accept()
		return
	}
	if fd >= len(r.conns) || r.conns[fd] == nil {
		return
	}
	c := r.conns[fd]
	if e.Events&unix.EPOLLOUT != 0 && c.blocked {
		c.blocked = false
		r.flush(c)
	}
	if e.Events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		c.ending = true
	}
	if e.Events&^unix.EPOLLOUT != 0 {
		r.markReady(c)
	}
}

func (r *Relay) markReady(c *conn) {
	if !c.ready {
		c.ready = true
		r.ready = append(r.ready, c)
	}
}

// turn reads once from each connection that is ready.
func (r *Relay) turn() {
	n := len(r.ready)
	for _, c := range r.ready[:n] {
		if c.ready = false; c.fd < 0 {
			continue
		}
		if c.publisher && c.group.full {
			c.group.waiting = append(c.group.waiting, c)
			continue
		}
		r.read(c)
	}
	r.ready = r.ready[:copy(r.ready, r.ready[n:])]
}

// flush writes a connection's own output.
func (r *Relay) flush(c *conn) {
	if len(c.out) > 0 && !c.blocked {
		c.out = c.out[:copy(c.out, c.out[r.write(c, c.out):])]
		r.relieve(c.group)
	}
}

// deliver writes a group's batch to its subscribers.
func (r *Relay) deliver(g *group) {
	to := g.subs
	if r.topology == Share && len(to) > 0 {
		g.next = (g.next + 1) % len(to)
		to = to[g.next : g.next+1]
	}
	for _, c := range to {
		if c.blocked {
			c.out = append(c.out, g.batch...)
		} else {
			c.out = append(c.out, g.batch[r.write(c, g.batch):]...)
		}
		if len(c.out) > maxUnsent {
			g.full = true
		}
	}
	g.batch = g.batch[:0]
}

// relieve reads on from a group's publishers when its subscribers take output again.
func (r *Relay) relieve(g *group) {
	if g == nil || !g.full {
		return
	}
	for _, c := range g.subs {
		if len(c.out) > maxUnsent {
			return
		}
	}
	g.full = false
	for _, c := range g.waiting {
		r.markReady(c)
	}
	g.waiting = g.waiting[:0]
}

// write returns how much of b the kernel has taken.
func (r *Relay) write(c *conn, b []byte) int {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(c.fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))),
		uintptr(len(b)), unix.MSG_NOSIGNAL, 0, 0)
	switch errno {
	case 0:
	case unix.EAGAIN:
		n = 0
	default:
		r.markReady(c) // to find the error there
		return len(b)
	}
	if int(n) < len(b) {
		c.blocked = true
		if !c.armed {
			c.armed = true
			_ = r.control(unix.EPOLL_CTL_MOD, c.fd, readEvents|unix.EPOLLOUT)
		}
	}
	return int(n)
}

func (r *Relay) read(c *conn) {
	kept := copy(r.buf, c.partial)
	room := r.buf[kept:]
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(c.fd), uintptr(unsafe.Pointer(unsafe.SliceData(room))),
		uintptr(len(room)), 0, 0, 0)
	switch {
	case errno == unix.EAGAIN:
		return
	case errno != 0 || n == 0:
		r.drop(c)
		return
	}
	if int(n) == len(room) || c.ending {
		r.markReady(c)
	}
	b := r.buf[:kept+int(n)]
	used := r.packets(c, b)
	if c.publisher && len(c.group.batch) > 0 {
		r.deliver(c.group)
	}
	r.flush(c)
	if used < 0 || len(b)-used > readBuffer/2 {
		r.drop(c)
		return
	}
	c.partial = append(c.partial[:0], b[used:]...)
}

// packets takes the whole packets of b, and returns how much that is; -1: the
// connection must go.
func (r *Relay) packets(c *conn, b []byte) int {
	at, from := 0, 0 // b[from:at] are PUBLISH packets that have not been passed on
	for {
		size, body := cut(b[at:])
		if size < 0 {
			return -1
		}
		whole := size > 0
		if !whole || b[at]>>4 != publish || !c.publisher {
			if from < at {
				c.group.batch = append(c.group.batch, b[from:at]...)
			}
			from = at + size
		}
		if !whole {
			return at
		}
		if !r.answer(c, b[at], b[at+body:at+size]) {
			return -1
		}
		at += size
	}
}

// answer sends what is due for a packet; false: the connection must go.
func (r *Relay) answer(c *conn, first byte, body []byte) bool {
	switch first >> 4 {
	case publish:
		qos := first >> 1 & 3
		if qos == 0 {
			return true
		}
		id := publishID(body)
		if id == nil {
			return false
		}
		return r.reply(c, 0x30+qos<<4, 2, id[0], id[1]) // PUBACK 0x40, PUBREC 0x50
	case pubrec:
		return len(body) >= 2 && r.reply(c, 0x62, 2, body[0], body[1])
	case pubrel:
		return len(body) >= 2 && r.reply(c, 0x70, 2, body[0], body[1])
	case connect:
		return r.connect(c, body)
	case subscribe, unsubscribe:
		return r.subscribe(c, first>>4 == subscribe, body)
	case pingreq:
		return r.reply(c, 0xD0, 0)
	case disconnect:
		return false
	}
	return true
}

func (r *Relay) reply(c *conn, b ...byte) bool {
	c.out = append(c.out, b...)
	return true
}

func (r *Relay) connect(c *conn, body []byte) bool {
	level, id, ok := parseConnect(body)
	if !ok {
		return false
	}
	c.v5 = level == 5
	role, number, _ := strings.Cut(id, "-")
	if r.topology != Pairs {
		number = ""
	}
	c.publisher, c.subscriber = role == "pub", role == "sub"
	if c.publisher || c.subscriber {
		if r.groups[number] == nil {
			r.groups[number] = &group{}
		}
		c.group = r.groups[number]
	}
	if c.v5 {
		return r.reply(c, 0x20, 3, 0, 0, 0)
	}
	return r.reply(c, 0x20, 2, 0, 0)
}

func (r *Relay) subscribe(c *conn, on bool, body []byte) bool {
	codes, ok := reasons(body, c.v5, on)
	if !ok || len(codes) > 100 {
		return false
	}
	if on && c.subscriber && !slices.Contains(c.group.subs, c) {
		c.group.subs = append(c.group.subs, c)
	}
	answer := []byte{0x90, 0, body[0], body[1]}
	if !on {
		answer[0] = 0xB0
	}
	if c.v5 {
		answer = append(answer, 0)
	}
	if on || c.v5 {
		answer = append(answer, codes...)
	}
	answer[1] = byte(len(answer) - 2)
	return r.reply(c, answer...)
}

const readEvents = unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLET

func (r *Relay) accept() {
	for {
		fd, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(r.listenFD), 0, 0,
			unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
		if errno != 0 {
			return
		}
		if n := int(fd) + 1 - len(r.conns); n > 0 {
			r.conns = append(r.conns, make([]*conn, n)...)
		}
		c := &conn{fd: int(fd)}
		r.conns[fd] = c
		if r.control(unix.EPOLL_CTL_ADD, c.fd, readEvents) != nil {
			r.drop(c)
		}
	}
}

// drop closes a connection.
func (r *Relay) drop(c *conn) {
	if c.fd < 0 {
		return
	}
	r.conns[c.fd] = nil
	unix.Close(c.fd)
	c.fd = -1
	if g := c.group; g != nil {
		g.subs = slices.DeleteFunc(g.subs, func(s *conn) bool { return s == c })
		r.relieve(g)
	}
}

func (r *Relay) control(op, fd int, events uint32) error {
	return unix.EpollCtl(r.epollFD, op, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)})
}
