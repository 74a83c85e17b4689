package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
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
	// first needs a GossipKey and the second TLS. Port 0 takes a free one.
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

	GossipKey []byte     // 16, 24 or 32 bytes for AES, nil for none
	TLS       TLSOptions // of the cluster port

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

	// Raft bounds the calls of Raft groups; its Logger is this one's.
	Raft raftnet.Options

	// What a test replaces by a network in memory. Dial is used for the cluster
	// port and for asking whether a port is still open.
	Dial      func(ctx context.Context, addr string) (net.Conn, error)
	Listen    func(addr string) (net.Listener, error)
	Transport func(addr string) (memberlist.Transport, error) // nil: UDP and TCP
	Resolve   func(ctx context.Context, host string) ([]netip.Addr, error)
}

// TLSOptions name the PEM files of the cluster port's TLS: all or none. Both
// sides show a certificate of the CA, which must therefore be the cluster's own:
// whoever has one is a member.
type TLSOptions struct {
	CertFile, KeyFile, CAFile string
	// ServerName, if set, is looked for in the certificate of the side called.
	ServerName string
}

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
	switch len(o.GossipKey) {
	case 0, 16, 24, 32:
	default:
		return fmt.Errorf("cluster: gossip key of %d bytes: must be 16, 24 or 32", len(o.GossipKey))
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
	if !loopback(o.GossipAddr) && len(o.GossipKey) == 0 {
		return fmt.Errorf("cluster: gossip-addr %q is not loopback: a gossip key is required", o.GossipAddr)
	}
	if !loopback(o.ClusterAddr) && o.TLS == (TLSOptions{}) {
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

// load reads the files into the configurations of the listening and the calling
// side, nil for no TLS.
func (t TLSOptions) load() (server, client *tls.Config, err error) {
	if t == (TLSOptions{}) {
		return nil, nil, nil
	}
	if t.CertFile == "" || t.KeyFile == "" || t.CAFile == "" {
		return nil, nil, errors.New("cluster: certificate, key and CA go together")
	}
	cert, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
	if err != nil {
		return nil, nil, fmt.Errorf("cluster: certificate %s: %w", t.CertFile, err)
	}
	pem, err := os.ReadFile(t.CAFile)
	if err != nil {
		return nil, nil, fmt.Errorf("cluster: CA %s: %w", t.CAFile, err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, nil, fmt.Errorf("cluster: CA %s: no certificate in it", t.CAFile)
	}
	server = &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{cert},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    roots,
	}
	client = &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{cert},
		// Members are called by changing addresses that no certificate names, so
		// the standard check of names is replaced by one of the chain alone.
		InsecureSkipVerify: true,
		VerifyConnection: func(cs tls.ConnectionState) error {
			others := x509.NewCertPool()
			for _, c := range cs.PeerCertificates[1:] {
				others.AddCert(c)
			}
			_, err := cs.PeerCertificates[0].Verify(x509.VerifyOptions{
				DNSName:       t.ServerName,
				Roots:         roots,
				Intermediates: others,
			})
			return err
		},
	}
	return server, client, nil
}
