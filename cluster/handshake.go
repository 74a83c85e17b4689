package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// Who comes to the cluster port is a stranger until its certificate has been seen.
// Until then it holds a place among these, for HandshakeTimeout at most, and nothing
// that it sends goes further than crypto/tls.
const (
	maxHandshakes     = 256
	maxHandshakesEach = 32 // of one address, so that it does not take the places of all
)

// serverCredentials are those of the cluster port.
func (c *Cluster) serverCredentials() credentials.TransportCredentials {
	if c.opts.TLS == nil {
		return insecure.NewCredentials()
	}
	return &door{
		TransportCredentials: credentials.NewTLS(&tls.Config{
			MinVersion:         tls.VersionTLS13,
			GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.opts.TLS().server, nil },
		}),
		c: c, places: newPlaces(maxHandshakes, maxHandshakesEach),
	}
}

// clientCredentials are those of calls to other nodes.
func (c *Cluster) clientCredentials() credentials.TransportCredentials {
	if c.opts.TLS == nil {
		return insecure.NewCredentials()
	}
	return caller{credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true}), c.opts.TLS}
}

// caller is TLS of the calling side with what its files say now.
type caller struct {
	credentials.TransportCredentials // for what is not about a connection
	now                              func() *Credentials
}

func (t caller) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return credentials.NewTLS(t.now().client).ClientHandshake(ctx, authority, raw)
}

func (t caller) Clone() credentials.TransportCredentials {
	return caller{t.TransportCredentials.Clone(), t.now}
}

// door is TLS of the called side. It counts and tells of those who are not let in.
type door struct {
	credentials.TransportCredentials
	c      *Cluster
	places *places
}

// ServerHandshake is called by a goroutine of the connection, which has a deadline.
func (d *door) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	addr := hostOf(raw)
	if !d.places.take(addr) {
		_ = raw.Close()
		d.c.stranger(crowded, raw.RemoteAddr().String(), errCrowded)
		return nil, nil, errCrowded
	}
	defer d.places.leave(addr)
	conn, info, err := d.TransportCredentials.ServerHandshake(raw)
	if err != nil && !brokenOff(err) {
		d.c.stranger(reasonOf(err), raw.RemoteAddr().String(), err)
	}
	return conn, info, err
}

func (d *door) Clone() credentials.TransportCredentials {
	return &door{d.TransportCredentials.Clone(), d.c, d.places}
}

// brokenOff says that nobody was refused: who called has gone, as one does who only looks
// whether the port is open, or who was killed.
func brokenOff(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

var errCrowded = errors.New("cluster: too many handshakes under way")

// Why callers do not get as far as a Hello.
const (
	crowded        = "crowded"
	notTLS         = "not TLS"
	slowHandshake  = "slow handshake"
	badCertificate = "certificate"
	otherHandshake = "handshake"
)

// reasonOf judges the errors of crypto/tls, of which some are only texts.
func reasonOf(err error) string {
	var (
		header tls.RecordHeaderError
		chain  *tls.CertificateVerificationError
	)
	switch {
	case errors.As(err, &header):
		return notTLS
	case errors.Is(err, os.ErrDeadlineExceeded):
		return slowHandshake
	case errors.As(err, &chain), strings.Contains(err.Error(), "certificate"):
		return badCertificate
	}
	return otherHandshake
}

// places bounds how many strangers are attended to at a time, in all and of one address.
type places struct {
	all, each int
	mu        struct {
		sync.Mutex
		taken int
		of    map[netip.Addr]int
	}
}

func newPlaces(all, each int) *places {
	p := &places{all: all, each: each}
	p.mu.of = make(map[netip.Addr]int)
	return p
}

// take says whether there is a place; leave is to follow.
func (p *places) take(addr netip.Addr) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.taken == p.all || p.mu.of[addr] == p.each {
		return false
	}
	p.mu.taken++
	p.mu.of[addr]++
	return true
}

func (p *places) leave(addr netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.taken--
	if p.mu.of[addr]--; p.mu.of[addr] == 0 {
		delete(p.mu.of, addr)
	}
}

// hostOf is the address that a connection comes from, without the port; the zero Addr for
// what is no address, as in tests.
func hostOf(c net.Conn) netip.Addr {
	at, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr().Unmap()
}
