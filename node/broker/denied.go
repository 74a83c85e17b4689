package broker

import "net/netip"

// Denial is what a client is refused for want of credentials or rights.
type Denial struct {
	What     Attempt
	Remote   netip.AddrPort
	ClientID string
	User     string // that it is, or says that it is
	Target   []byte // topic or filter
	Why      string
}

// Attempt is what a client tries.
type Attempt uint8

// What may be denied.
const (
	AttemptConnect Attempt = iota
	AttemptPublish
	AttemptSubscribe
)

// maxDeniedUser is how much is kept of the name of a user who may not be one.
const maxDeniedUser = 256

// denied tells that a client may not do something.
func (w *worker) denied(c *conn, what Attempt, target []byte) {
	if w.Denied != nil {
		w.Denied(Denial{
			What: what, Remote: w.remote(c), ClientID: w.clientID(c), User: c.client.who.User(), Target: target, Why: "not authorized",
		})
	}
}

// unidentified tells that a client is not let in.
func (w *worker) unidentified(c *conn, why string) {
	if h := c.client.connect; w.Denied != nil {
		w.Denied(Denial{What: AttemptConnect, Remote: w.remote(c), ClientID: h.clientID, User: h.user, Why: why})
	}
}

// notAnew tells that a client that was let in has not proved anew that it may stay.
func (w *worker) notAnew(c *conn, why string) {
	if w.Denied != nil {
		w.Denied(Denial{What: AttemptConnect, Remote: w.remote(c), ClientID: w.clientID(c), User: c.client.who.User(), Why: "anew: " + why})
	}
}

// banned tells that a client is kept out by a ban.
func (w *worker) banned(c *conn, clientID, user []byte) {
	cut := func(b []byte) string { return string(b[:min(len(b), maxDeniedUser)]) }
	if w.Denied != nil {
		w.Denied(Denial{What: AttemptConnect, Remote: w.remote(c), ClientID: cut(clientID), User: cut(user), Why: "banned"})
	}
}
