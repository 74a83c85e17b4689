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
	ErrTooOften       = errors.New("was wrong too often, and is held off for a while")
	ErrUnavailable    = errors.New("nobody can say now who it is") // and the log has told why

	ErrLater = errors.New("answer comes later")    // by the callback
	ErrPass  = errors.New("another one is to say") // of an authenticator that does not know the client
)

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
	Was         *Principal // of a client that is connected and authenticates anew: see Method
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
