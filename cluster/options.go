package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/prometheus/client_golang/prometheus"

	"dunlin/cluster/raftnet"
)

// Options say who this node is and how it finds and meets the others. Start from
// DefaultOptions. They are read by New and not changed after.
type Options struct {
	// Name is for people. Identity is the node's own for ever and differs from
	// every other's. Start numbers the starts of that identity: it must rise from
	// one to the next, for the highest is taken for the living one.
	Name     string
	Identity string
	Start    uint64

	// ClusterID is the same on all members; one with another is a stranger.
	ClusterID string

	// Cluster is the one that this node belongs to, "" for none yet: see Belong.
	// Another cluster may have the same ClusterID; its nodes are refused.
	Cluster string

	// GossipAddr and ClusterAddr are listened on, host:port. Beyond loopback the
	// first needs GossipKeys and the second TLS. Port 0 takes a free one.
	GossipAddr  string
	ClusterAddr string
	// GossipAdvertise and ClusterAdvertise are what the others are told, host:port;
	// by default what is listened on. A host that stands for all interfaces
	// becomes one that memberlist chooses.
	GossipAdvertise  string
	ClusterAdvertise string

	// Join names the gossip addresses of others, host:port; a name may stand for
	// several addresses. This node's own may be among them.
	Join []string

	// GossipKeys are of 16, 24 or 32 bytes, for AES: the first encrypts, each of them
	// decrypts (UseGossipKeys). None: gossip in the clear.
	GossipKeys [][]byte
	// TLS is what this node shows and asks for at cluster ports, its own and those of
	// others. It is asked at each handshake, from any goroutine; nil: no TLS.
	TLS func() *Credentials

	// Meta is told to the others, for people: mqtt, http.
	Meta map[string]string

	// Changed is called, from any goroutine, when Nodes answers otherwise than
	// before; nil for nobody. It may not block.
	Changed func()

	// Copied is called, from any goroutine, when another process, at that gossip
	// address, says that it is this start of this node: one of them runs with a copy
	// of the other's data, and two voters are one. The node must end without taking
	// leave, which the others would take for the other's; nil for nobody.
	Copied func(addr string)

	// Refused is called, from any goroutine, for each word of a stranger that is
	// counted: why, and from which address if it is known; nil for nobody. It may not
	// block, and may be called as fast as packets come.
	Refused func(why, from string)

	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil for none

	// Bounds for each peer. A frame's body may have MaxFrameBytes, or fewer if the
	// peer takes fewer. Unreliable
	// frames beyond MaxUnreliableBytes waiting are dropped; Full reports reliable
	// ones of MaxReliableBytes or MaxReliableFrames unconfirmed.
	MaxFrameBytes      int
	MaxUnreliableBytes int
	MaxReliableBytes   int
	MaxReliableFrames  int

	// ProbeInterval is how often gossip probes one member. A silent one of a few
	// is declared dead about six intervals after its last sign of life.
	ProbeInterval time.Duration
	// HandshakeTimeout bounds the opening of a stream.
	HandshakeTimeout time.Duration

	// Frames are the versions of frames that this node speaks.
	Frames FrameVersions

	// Raft bounds the calls of Raft groups; its Logger is this one's.
	Raft raftnet.Options

	// What a test replaces by a network in memory. Dial is used for the cluster
	// port and for asking whether a port is still open.
	Dial      func(ctx context.Context, addr string) (net.Conn, error)
	Listen    func(addr string) (net.Listener, error)
	Transport func(addr string) (memberlist.Transport, error) // nil: UDP and TCP
	Resolve   func(ctx context.Context, host string) ([]netip.Addr, error)
}

// FrameVersions are the versions of frames from Min to Max.
type FrameVersions struct{ Min, Max uint32 }

func (v FrameVersions) String() string { return fmt.Sprintf("%d to %d", v.Min, v.Max) }

// DefaultOptions are those of a node alone on this machine, but for its name.
func DefaultOptions() Options {
	dialer := &net.Dialer{}
	return Options{
		GossipAddr:         "127.0.0.1:7946",
		ClusterAddr:        "127.0.0.1:7947",
		Logger:             slog.Default(),
		MaxFrameBytes:      2 << 20,
		MaxUnreliableBytes: 8 << 20,
		MaxReliableBytes:   64 << 20,
		MaxReliableFrames:  1 << 16,
		ProbeInterval:      500 * time.Millisecond,
		HandshakeTimeout:   3 * time.Second,
		Frames:             FrameVersions{versionMin, versionMax},
		Raft:               raftnet.DefaultOptions(),
		Dial: func(ctx context.Context, addr string) (net.Conn, error) {
			return dialer.DialContext(ctx, "tcp", addr)
		},
		Listen: func(addr string) (net.Listener, error) { return net.Listen("tcp", addr) },
		Resolve: func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		},
	}
}

// validate reports the first thing that is wrong, in one line.
func (o *Options) validate() error {
	switch {
	case o.Identity == "":
		return errors.New("cluster: no identity")
	case o.Start == 0:
		return errors.New("cluster: start number 0")
	case o.Logger == nil, o.Dial == nil, o.Listen == nil, o.Resolve == nil:
		return errors.New("cluster: options not made by DefaultOptions")
	case o.MaxFrameBytes <= 0, o.MaxUnreliableBytes <= 0, o.MaxReliableBytes <= 0, o.MaxReliableFrames <= 0:
		return errors.New("cluster: bounds must be positive")
	case o.ProbeInterval <= 0, o.HandshakeTimeout <= 0:
		return errors.New("cluster: intervals must be positive")
	}
	if err := checkGossipKeys(o.GossipKeys); err != nil {
		return err
	}
	for _, a := range []struct{ name, addr string }{
		{"gossip-addr", o.GossipAddr}, {"cluster-addr", o.ClusterAddr},
		{"gossip-advertise", o.GossipAdvertise}, {"cluster-advertise", o.ClusterAdvertise},
	} {
		if a.addr == "" && (a.name == "gossip-advertise" || a.name == "cluster-advertise") {
			continue
		}
		if _, _, err := net.SplitHostPort(a.addr); err != nil {
			return fmt.Errorf("cluster: %s %q: must be host:port", a.name, a.addr)
		}
	}
	for _, j := range o.Join {
		if _, _, err := net.SplitHostPort(j); err != nil {
			return fmt.Errorf("cluster: join %q: must be host:port", j)
		}
	}
	if !loopback(o.GossipAddr) && len(o.GossipKeys) == 0 {
		return fmt.Errorf("cluster: gossip-addr %q is not loopback: a gossip key is required", o.GossipAddr)
	}
	if !loopback(o.ClusterAddr) && o.TLS == nil {
		return fmt.Errorf("cluster: cluster-addr %q is not loopback: certificate, key and CA are required", o.ClusterAddr)
	}
	return nil
}

// loopback says that addr can be reached from this machine only.
func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}
