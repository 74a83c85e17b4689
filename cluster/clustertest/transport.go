package clustertest

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// transport is memberlist's end of a host: packets and connections at one port.
type transport struct {
	host    *Host
	port    uint16
	l       *listener
	packets chan *memberlist.Packet
	streams chan net.Conn
	once    sync.Once
	done    chan struct{}
	wg      sync.WaitGroup
}

func (h *Host) transport(addr string) (*transport, error) {
	l, err := h.listen(addr)
	if err != nil {
		return nil, err
	}
	t := &transport{
		host:    h,
		port:    l.port,
		l:       l,
		packets: make(chan *memberlist.Packet, 1<<10),
		streams: make(chan net.Conn),
		done:    make(chan struct{}),
	}
	h.n.mu.Lock()
	h.packets[l.port] = t
	h.n.mu.Unlock()
	t.wg.Go(t.accept)
	return t, nil
}

func (t *transport) accept() {
	for {
		c, err := t.l.Accept()
		if err != nil {
			return
		}
		select {
		case t.streams <- c:
		case <-t.done:
			_ = c.Close()
			return
		}
	}
}

func (t *transport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return t.host.addr.AsSlice(), int(t.port), nil
}

// WriteTo sends a packet, which arrives if the link is open and somebody listens.
func (t *transport) WriteTo(b []byte, addr string) (time.Time, error) {
	now := time.Now()
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return now, err
	}
	n := t.host.n
	l := link{t.host.addr, to.Addr()}
	n.mu.Lock()
	dead, cut, delay := t.host.dead, n.cut[l], n.delay[l]
	n.mu.Unlock()
	if dead || cut {
		return now, nil
	}
	p := &memberlist.Packet{
		Buf:  append([]byte(nil), b...),
		From: net.UDPAddrFromAddrPort(netip.AddrPortFrom(t.host.addr, t.port)),
	}
	deliver := func() {
		n.mu.Lock()
		var dest *transport
		if h := n.hosts[to.Addr()]; h != nil {
			dest = h.packets[to.Port()]
		}
		n.mu.Unlock()
		if dest == nil {
			return
		}
		p.Timestamp = time.Now()
		select {
		case dest.packets <- p:
		default: // as a socket buffer that is full
		}
	}
	if delay == 0 {
		deliver()
	} else {
		time.AfterFunc(delay, deliver)
	}
	return now, nil
}

func (t *transport) PacketCh() <-chan *memberlist.Packet { return t.packets }
func (t *transport) StreamCh() <-chan net.Conn           { return t.streams }

func (t *transport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return t.host.Dial(ctx, addr)
}

func (t *transport) Shutdown() error {
	t.host.n.mu.Lock()
	if t.host.packets[t.port] == t {
		delete(t.host.packets, t.port)
	}
	t.host.n.mu.Unlock()
	t.once.Do(func() { close(t.done) })
	_ = t.l.Close()
	t.wg.Wait()
	return nil
}
