package proxyproto

import (
	"errors"
	"net/netip"
)

// Header is what a proxy says of the connection that it relays.
type Header struct {
	// Source is the client's address, Destination the one to which it connected. Both
	// are invalid if the connection is the proxy's own (a health check), or of a kind
	// that has no such addresses: then those of the socket stand.
	Source, Destination netip.AddrPort
}

// Relayed says whether the header names a client.
func (h Header) Relayed() bool { return h.Source.IsValid() }

// What is wrong with a stream that must begin with a header.
var (
	ErrMissing   = errors.New("proxyproto: the connection does not begin with a PROXY header")
	ErrMalformed = errors.New("proxyproto: the PROXY header is malformed")
)

// MaxHeader is the greatest length of a header, in bytes. One of version 2 could be
// four times as long; this much leaves room for a client's certificate.
const MaxHeader = 16 << 10

// Parse reads the header at the start of b. n is its length in bytes; 0 without an
// error says that it is not all there yet, and that want bytes have to be there
// before it can be.
//
// What can be no header is refused at the first byte that says so.
func Parse(b []byte) (h Header, n, want int, err error) {
	switch {
	case len(b) == 0:
		return h, 0, 1, nil
	case b[0] == signatureV2[0]:
		return parseV2(b)
	default:
		return parseV1(b)
	}
}

// begins says whether b begins with prefix, as far as there is any of it.
func begins(b []byte, prefix string) bool {
	k := min(len(b), len(prefix))
	return string(b[:k]) == prefix[:k]
}
