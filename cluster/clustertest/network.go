// Package clustertest is a network in memory for clusters within one process:
// hosts with addresses, connections and packets between them, and faults. It
// uses no system call and no clock but package time's, so that it works in a
// testing/synctest bubble; all of a Network belongs to the bubble that made it.
package clustertest

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"dunlin/cluster"
)

// Network joins hosts. Its links are open and immediate until told otherwise.
type Network struct {
	mu      sync.Mutex
	hosts   map[netip.Addr]*Host
	cut     map[link]bool
	delay   map[link]time.Duration
	changed chan struct{} // closed and replaced when a link changes
}

// link is one direction between two hosts.
type link struct{ from, to netip.Addr }

// New returns a network without hosts.
func New() *Network {
	return &Network{
		hosts:   make(map[netip.Addr]*Host),
		cut:     make(map[link]bool),
		delay:   make(map[link]time.Duration),
		changed: make(chan struct{}),
	}
}

// Host is one machine, which runs one process: what Kill kills.
type Host struct {
	n    *Network
	addr netip.Addr

	// Guarded by Network.mu.
	dead      bool
	listeners map[uint16]*listener
	packets   map[uint16]*transport
	conns     map[*conn]bool
	nextPort  uint16
}

// Host makes host i, 1 to 254, with the address 127.0.1.i. It takes the place of
// an earlier one of that number, which should have been killed.
func (n *Network) Host(i int) *Host {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := &Host{
		n:         n,
		addr:      netip.AddrFrom4([4]byte{127, 0, 1, byte(i)}),
		listeners: make(map[uint16]*listener),
		packets:   make(map[uint16]*transport),
		conns:     make(map[*conn]bool),
		nextPort:  40000,
	}
	n.hosts[h.addr] = h
	return h
}

// Use makes o the options of a node on h, at the usual ports.
func (h *Host) Use(o *cluster.Options) {
	o.GossipAddr, o.ClusterAddr = h.GossipAddr(), fmt.Sprintf("%s:7947", h.addr)
	o.Dial, o.Listen = h.Dial, h.Listen
	o.Transport = func(addr string) (memberlist.Transport, error) { return h.transport(addr) }
}

// GossipAddr is what to put into a join list.
func (h *Host) GossipAddr() string { return fmt.Sprintf("%s:7946", h.addr) }

// Cut stops what goes from one host to another, in that direction only. What is
// on its way in a connection waits; packets are lost.
func (n *Network) Cut(from, to *Host) {
	n.change(func() { n.cut[link{from.addr, to.addr}] = true })
}

// Partition cuts both ways between every host of one side and every other of the
// other.
func (n *Network) Partition(one, other []*Host) {
	n.change(func() {
		for _, a := range one {
			for _, b := range other {
				n.cut[link{a.addr, b.addr}] = true
				n.cut[link{b.addr, a.addr}] = true
			}
		}
	})
}

// Heal opens all links.
func (n *Network) Heal() { n.change(func() { clear(n.cut) }) }

// Delay holds up what goes from one host to another.
func (n *Network) Delay(from, to *Host, d time.Duration) {
	n.change(func() { n.delay[link{from.addr, to.addr}] = d })
}

func (n *Network) change(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
	close(n.changed)
	n.changed = make(chan struct{})
}

// Sever resets the connections between two hosts. New ones can be made at once.
func (n *Network) Sever(a, b *Host) {
	n.mu.Lock()
	var cs []*conn
	for c := range a.conns {
		if c.link.to == b.addr {
			cs = append(cs, c)
		}
	}
	n.mu.Unlock()
	for _, c := range cs {
		c.reset()
	}
}

// Kill resets all connections of h and refuses new ones; h sends nothing any more.
func (h *Host) Kill() {
	h.n.mu.Lock()
	h.dead = true
	var cs []*conn
	for c := range h.conns {
		cs = append(cs, c)
	}
	ls := h.listeners
	h.listeners = make(map[uint16]*listener)
	h.packets = make(map[uint16]*transport)
	h.n.mu.Unlock()
	for _, l := range ls {
		l.shut()
	}
	for _, c := range cs {
		c.reset()
	}
}

// state of the link, and what tells of its change.
func (n *Network) state(l link) (open bool, delay time.Duration, changed <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.cut[l], n.delay[l], n.changed
}

// portLocked is the port of addr, or a free one for 0.
func (h *Host) portLocked(addr string) (uint16, error) {
	ap, err := netip.ParseAddrPort(addr)
	if err != nil {
		return 0, err
	}
	if ap.Addr() != h.addr {
		return 0, fmt.Errorf("%s is not an address of %s", addr, h.addr)
	}
	if ap.Port() != 0 {
		return ap.Port(), nil
	}
	h.nextPort++
	return h.nextPort, nil
}

func tcpAddr(ip netip.Addr, port uint16) *net.TCPAddr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip, port))
}
