package listen

import (
	"errors"
	"net/netip"
	"slices"
	"sync/atomic"

	"dunlin/node/listen/proxyproto"
)

// Proxied is the Protocol of a listener behind proxies: each connection begins with a
// PROXY header, which names the client. It is the lowest of a listener's.
type Proxied struct {
	trusted []netip.Prefix
	refused [proxyRefusals]atomic.Uint64
}

// NewProxied believes the headers of proxies in these networks, and takes connections
// from nobody else.
func NewProxied(trusted []netip.Prefix) *Proxied { return &Proxied{trusted: trusted} }

// ProxyRefusal is why a connection is closed for its PROXY header.
type ProxyRefusal uint8

// The refusals.
const (
	Untrusted       ProxyRefusal = iota // it does not come from a proxy that is trusted
	HeaderMissing                       // it begins with something else
	HeaderMalformed                     // it begins like one
	proxyRefusals
)

// ProxyRefusals is the number of values of ProxyRefusal.
const ProxyRefusals = int(proxyRefusals)

// String is the refusal's name in metrics.
func (r ProxyRefusal) String() string { return [...]string{"untrusted", "missing", "malformed"}[r] }

// Refused is the number of connections that were closed for a reason.
func (p *Proxied) Refused(why ProxyRefusal) uint64 { return p.refused[why].Load() }

func (p *Proxied) NewLayer(info Info, wake func()) Layer {
	from := info.Remote.Addr().WithZone("")
	trusted := slices.ContainsFunc(p.trusted, func(n netip.Prefix) bool { return n.Contains(from) })
	if !trusted {
		wake() // to be refused before it has said anything
	}
	return &proxied{protocol: p, trusted: trusted}
}

var errUntrusted = errors.New("listen: connection does not come from a trusted proxy")

// proxied is the Layer of one connection, until it has the header.
type proxied struct {
	protocol *Proxied
	header   proxyproto.Header
	trusted  bool
	read     bool // the header has been
}

func (x *proxied) Decode(f *Flow) (State, error) {
	switch {
	case !x.trusted:
		return Opening, x.refuse(Untrusted, errUntrusted)
	case !x.read:
		h, n, _, err := proxyproto.Parse(f.Src)
		switch {
		case err == proxyproto.ErrMissing:
			return Opening, x.refuse(HeaderMissing, err)
		case err != nil:
			return Opening, x.refuse(HeaderMalformed, err)
		case n == 0:
			return Opening, nil
		}
		x.header, x.read, f.Src = h, true, f.Src[n:]
	}
	f.Pass()
	return Spent, nil
}

func (x *proxied) refuse(why ProxyRefusal, err error) error {
	x.protocol.refused[why].Add(1)
	return err
}

// Describe puts the client in the proxy's place.
func (x *proxied) Describe(info *Info) {
	if x.header.Relayed() {
		info.Remote, info.Local = x.header.Source, x.header.Destination
	}
}

func (x *proxied) Encode(dst, b []byte) ([]byte, error) { return append(dst, b...), nil }
func (x *proxied) Goodbye(dst []byte) []byte            { return dst }
func (x *proxied) Close()                               {}
