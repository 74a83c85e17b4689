package jwt

import (
	"fmt"
	"sync/atomic"

	"dunlin/node/auth"
)

// Outcome is what became of a token. Its text says no more of the token than that.
type Outcome uint8

// Good is the only one that lets somebody in.
const (
	Good          Outcome = iota
	Malformed             // too large, or none after all
	BadAlgorithm          // none that its key may be used with
	UnknownKey            // signed with a key that is not trusted
	BadSignature          // by its key's
	Expired               // or without an end
	Early                 // not to be used yet, or issued in the future
	WrongIssuer           // another's
	WrongAudience         // for others
	BadClaims             // a claim that is required is not there, or not so
	BadUser               // no user's name in it, or another than the client's
	BadRights             // rights or groups that cannot be understood
	NoKeys                // there are no keys now
	Busy                  // too many wait to be checked
	outcomes
)

var outcomeNames = [outcomes]string{
	"good", "malformed", "bad_algorithm", "unknown_key", "bad_signature", "expired", "early", "wrong_issuer",
	"wrong_audience", "bad_claims", "bad_user", "bad_rights", "no_keys", "busy",
}

func (o Outcome) String() string { return outcomeNames[o] }

// answers are what Outcomes are to clients: who has a bad token has bad credentials,
// whatever is bad about it.
var answers = func() (errs [outcomes]error) {
	for o := range errs {
		why := auth.ErrBadCredentials
		switch Outcome(o) {
		case Good:
			continue
		case BadRights:
			why = auth.ErrRefused
		case NoKeys:
			why = auth.ErrUnavailable
		case Busy:
			why = auth.ErrBusy
		}
		errs[o] = fmt.Errorf("%w: token: %v", why, Outcome(o))
	}
	return errs
}()

// Stats count tokens by what became of them.
type Stats struct{ counts [outcomes]atomic.Uint64 }

// All gives each Outcome, and how often it came about, to yield.
func (s *Stats) All(yield func(o Outcome, n uint64) bool) {
	for o := range outcomes {
		if !yield(o, s.counts[o].Load()) {
			return
		}
	}
}
