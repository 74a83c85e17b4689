// Package auth says who a client is and what it may do.
package auth

import (
	"errors"
	"net/netip"

	"dunlin/proto/mqtt"
	"dunlin/router"
)

// ErrBadCredentials is the answer to a wrong password, and to an unknown user.
var ErrBadCredentials = errors.New("bad user name or password")

// ErrLater is what an authenticator returns when its answer comes by the
// callback.
var ErrLater = errors.New("answer comes later")

// Identity is who a connection speaks for. It is constant once made.
type Identity struct {
	ClientID string
	User     string // "" for an anonymous client
}

// Request is what a client shows of itself in CONNECT. The byte slices are
// borrowed until Authenticate returns.
type Request struct {
	Remote   netip.AddrPort
	Listener string
	Loopback bool // the listener is reachable from this machine only
	Connect  *mqtt.Connect
}

// Anonymous lets every client in, under the user name that it gives: right for
// a loopback listener, or where the operator said --allow-anonymous.
type Anonymous struct{}

// Authenticate answers with the user name that the client claims.
func (Anonymous) Authenticate(r Request, _ func(user string, err error)) (string, error) {
	return string(r.Connect.Username), nil
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
func (d Denied) MayPublish(*Identity, router.Topic) bool { return true }

// MaySubscribe refuses a filter when a denied filter covers all that it matches;
// what a wider one lets through is stopped by MayReceive.
func (d Denied) MaySubscribe(_ *Identity, f router.Filter) bool {
	for _, deny := range d.filters {
		if covers(deny.Pattern(), f.Pattern()) {
			return false
		}
	}
	return true
}

// MayReceive refuses topics that a denied filter matches.
func (d Denied) MayReceive(_ *Identity, t router.Topic) bool {
	for _, deny := range d.filters {
		if deny.Matches(t) {
			return false
		}
	}
	return true
}

// Unrestricted says that nothing is ever denied, so that callers need not ask.
func (d Denied) Unrestricted() bool { return len(d.filters) == 0 }
