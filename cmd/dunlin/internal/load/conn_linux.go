package load

import (
	"errors"
	"fmt"
	"io"
	"net/netip"

	"golang.org/x/sys/unix"

	"dunlin/proto/mqtt"
)

// conn is one connection of the generator: a raw socket, which the loop reads and
// writes without waiting once it is open.
type conn struct {
	fd      int
	in      []byte // a packet's beginning that waits for its end
	out     []byte // what the kernel has not taken yet
	waiting bool   // for the kernel to take it

	publisher  *publisher // nil for a subscriber
	subscriber int
}

// dial opens a connection, sends CONNECT, with a session that begins and ends
// with it or one that is kept, and waits for its CONNACK.
func dial(addr, clientID string, clean bool) (*conn, error) {
	ap, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, fmt.Errorf("load: address: %w", err)
	}
	family, sa := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: int(ap.Port()), Addr: ap.Addr().As16()})
	if ap.Addr().Is4() {
		family, sa = unix.AF_INET, &unix.SockaddrInet4{Port: int(ap.Port()), Addr: ap.Addr().As4()}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("load: socket: %w", err)
	}
	c := &conn{fd: fd}
	if err := c.open(sa, clientID, clean); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("load: connect to %s: %w", addr, err)
	}
	return c, nil
}

func (c *conn) open(sa unix.Sockaddr, clientID string, clean bool) error {
	if err := unix.SetsockoptInt(c.fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return err
	}
	// An answer that does not come is an error rather than a wait for ever.
	if err := unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10}); err != nil {
		return err
	}
	// Interrupted, it goes on by itself, and is found done or under way.
	_, err := uninterrupted(func() (int, error) { return 0, unix.Connect(c.fd, sa) })
	for errors.Is(err, unix.EALREADY) {
		_, err = uninterrupted(func() (int, error) {
			return unix.Poll([]unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLOUT}}, 10_000)
		})
	}
	if err != nil && !errors.Is(err, unix.EISCONN) {
		return err
	}
	connect := mqtt.Connect{Version: mqtt.V311, CleanStart: clean, ClientID: []byte(clientID)}
	p, err := c.ask(connect.Append(nil, mqtt.V311), mqtt.CONNACK)
	if err == nil && p.Connack.Reason != mqtt.Success {
		err = fmt.Errorf("refused: %v", p.Connack.Reason)
	}
	return err
}

// subscribe subscribes and waits for the SUBACK.
func (c *conn) subscribe(filter string, q byte) error {
	s := mqtt.Subscribe{PacketID: 1, Filters: []mqtt.Subscription{{Filter: []byte(filter), QoS: mqtt.QoS(q)}}}
	p, err := c.ask(s.Append(nil, mqtt.V311), mqtt.SUBACK)
	if err != nil {
		return fmt.Errorf("load: subscribe to %q: %w", filter, err)
	}
	if r := p.Suback.Reasons[0]; r != mqtt.Reason(q) {
		return fmt.Errorf("load: subscribe to %q: %v", filter, r)
	}
	return nil
}

// unsubscribe withdraws a filter and waits for the UNSUBACK.
func (c *conn) unsubscribe(filter string) error {
	u := mqtt.Unsubscribe{PacketID: 1, Filters: [][]byte{[]byte(filter)}}
	if _, err := c.ask(u.Append(nil, mqtt.V311), mqtt.UNSUBACK); err != nil {
		return fmt.Errorf("load: unsubscribe from %q: %w", filter, err)
	}
	return nil
}

// drop closes the connection so that neither side remembers it: its port is free
// at once.
func (c *conn) drop() {
	_ = unix.SetsockoptLinger(c.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	unix.Close(c.fd)
}

// ask sends b and waits for the answer, while the socket still blocks.
func (c *conn) ask(b []byte, k mqtt.Kind) (*mqtt.Packet, error) {
	if _, err := uninterrupted(func() (int, error) { return unix.Write(c.fd, b) }); err != nil {
		return nil, err
	}
	buf := make([]byte, 256)
	for have := 0; ; {
		n, err := uninterrupted(func() (int, error) { return unix.Read(c.fd, buf[have:]) })
		if err == nil && n <= 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, err
		}
		have += n
		f, n, err := mqtt.Cut(buf[:have], uint32(len(buf)))
		if err != nil {
			return nil, err
		}
		if n == 0 {
			continue
		}
		p := new(mqtt.Packet)
		if err := mqtt.Decode(f, mqtt.V311, p); err != nil {
			return nil, err
		}
		if p.Kind != k || n != have {
			return nil, fmt.Errorf("%v instead of %v", p.Kind, k)
		}
		return p, nil
	}
}

// uninterrupted calls f until no signal interrupts it: the runtime sends some to
// threads that have been in a system call for long.
func uninterrupted(f func() (int, error)) (n int, err error) {
	for {
		if n, err = f(); !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

// write sends b, and keeps what the kernel does not take.
func (c *conn) write(b []byte) error {
	if len(c.out) > 0 {
		c.out = append(c.out, b...)
		return nil
	}
	n, err := unix.Write(c.fd, b)
	if errors.Is(err, unix.EAGAIN) {
		n, err = 0, nil
	}
	if err != nil {
		return fmt.Errorf("load: write: %w", err)
	}
	c.out = append(c.out, b[n:]...)
	return nil
}

// flush tries again what write has kept.
func (c *conn) flush() error {
	b := c.out
	c.out = c.out[:0]
	return c.write(b)
}
