package cluster

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"

	"github.com/hashicorp/memberlist"
)

// What a stranger can hold of the gossip port. memberlist reads up to 20 MB of a stream
// before it decrypts them, and gives each stream two seconds; all that it has to carry
// is some 700 bytes for each node.
const (
	maxGossipStreams     = 64
	maxGossipStreamsEach = 16
	maxGossipBytes       = 1 << 20 // of one stream
)

// gossipPort is memberlist's transport, with bounds on the streams that others open.
type gossipPort struct {
	*memberlist.NetTransport
	c       *Cluster
	places  *places
	streams chan net.Conn
	done    chan struct{}
	wg      sync.WaitGroup
}

// openGossipPort binds ip and port, TCP and UDP.
func (c *Cluster) openGossipPort(ip string, port int) (memberlist.Transport, int, error) {
	// A free port of TCP may be taken of UDP.
	var (
		t   *memberlist.NetTransport
		err error
	)
	for range 10 {
		t, err = memberlist.NewNetTransport(&memberlist.NetTransportConfig{
			BindAddrs: []string{ip}, BindPort: port, Logger: slog.NewLogLogger(c.log.Handler(), slog.LevelDebug),
		})
		if err == nil || port != 0 || !strings.Contains(err.Error(), "address already in use") { // memberlist hands on texts only
			break
		}
	}
	if err != nil {
		return nil, 0, err
	}
	g := &gossipPort{
		NetTransport: t, c: c, places: newPlaces(maxGossipStreams, maxGossipStreamsEach),
		streams: make(chan net.Conn), done: make(chan struct{}),
	}
	g.wg.Go(g.forward)
	return g, t.GetAutoBindPort(), nil
}

// StreamCh replaces NetTransport's.
func (g *gossipPort) StreamCh() <-chan net.Conn { return g.streams }

// Shutdown closes the port. NetTransport's goroutines have to be read from until they
// have ended.
func (g *gossipPort) Shutdown() error {
	err := g.NetTransport.Shutdown()
	close(g.done)
	g.wg.Wait()
	return err
}

// forward passes streams on, as many as there are places.
func (g *gossipPort) forward() {
	for {
		var conn net.Conn
		select {
		case conn = <-g.NetTransport.StreamCh():
		case <-g.done:
			return
		}
		addr := hostOf(conn)
		if !g.places.take(addr) {
			_ = conn.Close()
			g.c.stranger("gossip crowded", conn.RemoteAddr().String(), nil)
			continue
		}
		select {
		case g.streams <- &gossipStream{Conn: conn, left: maxGossipBytes, g: g, addr: addr}:
		case <-g.done:
			g.places.leave(addr)
			_ = conn.Close()
			return
		}
	}
}

// gossipStream is a stream that somebody has opened. memberlist closes it.
type gossipStream struct {
	net.Conn
	left int // bytes that may still be read
	g    *gossipPort
	addr netip.Addr
	once sync.Once
}

var errGossipTooLong = errors.New("more than a stream of gossip may have")

func (s *gossipStream) Read(b []byte) (int, error) {
	if s.left == 0 {
		return 0, errGossipTooLong
	}
	n, err := s.Conn.Read(b[:min(len(b), s.left)])
	s.left -= n
	return n, err
}

func (s *gossipStream) Close() error {
	s.once.Do(func() { s.g.places.leave(s.addr) })
	return s.Conn.Close()
}
