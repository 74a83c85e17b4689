// Package auth says who a client is and what it may do.
package auth

import (
	"crypto/x509"
	"errors"
	"net/netip"

	"dunlin/proto/mqtt"
	"dunlin/router"
)

// Why a client is not let in, or not yet. Any other error says that it cannot be
// known who it is, and refuses the client too.
var (
	ErrBadCredentials = errors.New("bad user name or password") // an unknown user has the same
	ErrRefused        = errors.New("not let in")                // whatever it knows or has
	ErrBusy           = errors.New("too many clients wait to be let in")

	ErrLater = errors.New("answer comes later")    // by the callback
	ErrPass  = errors.New("another one is to say") // of an authenticator that does not know the client
)

// Principal is whom a client was found to be. It is constant, and whoever knows the
// users has one for all connections of each. A million may be held, hence a single
// string: how it was found, in the first byte, and the user's name. Nil is nobody: a
// client that gave no name.
type Principal struct{ found string }

// How a Principal was found.
const (
	byClaim       = "u" // by a password, or the client's word where that is enough
	byCertificate = "c"
)

// NewPrincipal makes the Principal of a user.
func NewPrincipal(user string) *Principal { return &Principal{byClaim + user} }

// NewCertified makes that of a user whom the client's certificate names.
func NewCertified(user string) *Principal { return &Principal{byCertificate + user} }

// User is the user's name, "" of nobody.
func (p *Principal) User() string {
	if p == nil {
		return ""
	}
	return p.found[1:]
}

// Certificate is the name that the client's certificate has proved, "" without one.
func (p *Principal) Certificate() string {
	if p == nil || p.found[:1] != byCertificate {
		return ""
	}
	return p.found[1:]
}

// Identity is who a connection speaks for. It is constant once made.
type Identity struct {
	ClientID string
	*Principal
}

// Request is what a client shows of itself in CONNECT. What it points to is borrowed
// until Authenticate returns.
type Request struct {
	Remote      netip.AddrPort
	Listener    string
	Loopback    bool              // the listener is reachable from this machine only
	Certificate *x509.Certificate // that TLS has verified; nil: none
	Connect     *mqtt.Connect
}

// Anonymous lets every client in, under the user name that it gives: right where
// nobody is asked who he is.
type Anonymous struct{}

// Authenticate answers with the user name that the client claims.
func (Anonymous) Authenticate(r Request, _ func(*Principal, error)) (*Principal, error) {
	if len(r.Connect.Username) == 0 {
		return nil, nil
	}
	return NewPrincipal(string(r.Connect.Username)), nil
}

// Nameless lets clients in that show nothing of themselves, as nobody: where the
// operator said --allow-anonymous beside other ways to be let in.
type Nameless struct{}

// Authenticate says nothing to clients that claim to be somebody.
func (Nameless) Authenticate(r Request, _ func(*Principal, error)) (*Principal, error) {
	if r.Connect.HasUsername || r.Connect.HasPassword {
		return nil, ErrPass
	}
	return nil, nil
}

// Denied allows everything but subscriptions within, and deliveries from, a list
// of filters. The zero value allows everything.
type Denied struct{ filters []router.Filter }

// NewDenied parses the filters.
func NewDenied(filters []string) (Denied, error) {
	var d Denied
	for _, s := range filters {
		f, err := router.ParseFilter([]byte(s))
		if err != nil {
			return Denied{}, err
		}
		d.filters = append(d.filters, f)
	}
	return d, nil
}

// MayPublish allows every topic.
func (d Denied) MayPublish(*Identity, router.Topic, uint8, bool) bool { return true }

// MaySubscribe refuses a filter when a denied filter covers all that it matches;
// what a wider one lets through is stopped by MayReceive.
func (d Denied) MaySubscribe(_ *Identity, f router.Filter, _ uint8) bool {
	for _, deny := range d.filters {
		if covers(deny.Pattern(), f.Pattern()) {
			return false
		}
	}
	return true
}

// MayReceive refuses topics that a denied filter matches.
func (d Denied) MayReceive(_ *Identity, t router.Topic, _ uint8) bool {
	for _, deny := range d.filters {
		if deny.Matches(t) {
			return false
		}
	}
	return true
}

// Unrestricted says that nothing is ever denied, so that callers need not ask.
func (d Denied) Unrestricted() bool { return len(d.filters) == 0 }
