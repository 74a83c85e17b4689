package acl

import (
	"dunlin/node/auth"
	"dunlin/router"
)

// Guard holds clients to what is denied to everybody, to the rules that they have brought
// along, and to those of the moment, in this order: it asks for the Policy each time, so
// that rights which are withdrawn end with the client's next packet, or the next message
// for it (case 43).
type Guard struct {
	Denied auth.Denied
	Policy func() *Policy
	Own    bool // there may be principals with rights of their own
}

// Unrestricted says that nobody need ask.
func (g Guard) Unrestricted() bool {
	return !g.Own && g.Denied.Unrestricted() && g.Policy().Unrestricted()
}

// MayPublish says whether a client may publish such a message.
func (g Guard) MayPublish(id *auth.Identity, t router.Topic, qos uint8, retain bool) bool {
	if !g.Denied.MayPublish(id, t, qos, retain) {
		return false
	}
	if own := id.Rights(); own != nil {
		if v := own.MayPublish(id, t, qos, retain); v != auth.Silent {
			return v == auth.Allowed
		}
	}
	s := subjectOf(id)
	return g.Policy().For(&s).MayPublish(t, qos, retain)
}

// MaySubscribe says whether a client may subscribe to f.
func (g Guard) MaySubscribe(id *auth.Identity, f router.Filter, qos uint8) bool {
	if !g.Denied.MaySubscribe(id, f, qos) {
		return false
	}
	if own := id.Rights(); own != nil {
		if v := own.MaySubscribe(id, f, qos); v != auth.Silent {
			return v == auth.Allowed
		}
	}
	s := subjectOf(id)
	return g.Policy().For(&s).MaySubscribe(f, qos)
}

// MayReceive says whether a client may be sent a message now.
func (g Guard) MayReceive(id *auth.Identity, t router.Topic, qos uint8) bool {
	if !g.Denied.MayReceive(id, t, qos) {
		return false
	}
	if own := id.Rights(); own != nil {
		if v := own.MayReceive(id, t, qos); v != auth.Silent {
			return v == auth.Allowed
		}
	}
	s := subjectOf(id)
	return g.Policy().For(&s).MayReceive(t, qos)
}

func subjectOf(id *auth.Identity) Subject {
	return NewSubject(id.ClientID, id.User(), id.Certificate(), id.Groups()...)
}
