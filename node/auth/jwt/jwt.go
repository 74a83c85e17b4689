package jwt

import (
	"errors"
	"time"

	"github.com/go-jose/go-jose/v4"

	"dunlin/node/auth"
	"dunlin/node/auth/crew"
)

const (
	// MaxToken bounds a token, in bytes.
	MaxToken = 16 << 10

	maxWaiting = 1024 // tokens before each goroutine: a tenth of a second or two, with P-384 and P-521 more
	maxTries   = 4    // keys that a token is tried with which names none
)

// Authenticator is auth.Authenticator for clients with tokens.
type Authenticator struct {
	claims  Claims
	sources []func() *Keys
	remote  *Remote // one of the sources; nil: none
	crew    *crew.Crew
	stats   Stats
	now     func() time.Time
}

// New starts an Authenticator, which asks its sources for the Keys of the moment each
// time; nil has none now. remote, if there is one, is a source too. Close ends it.
func New(c Claims, sources []func() *Keys, remote *Remote) *Authenticator {
	a := &Authenticator{claims: c, sources: sources, remote: remote, crew: crew.New(maxWaiting), now: time.Now}
	if remote != nil {
		a.sources = append(a.sources[:len(a.sources):len(a.sources)], remote.Keys)
	}
	return a
}

// Stats are the counters, which go on counting.
func (a *Authenticator) Stats() *Stats { return &a.stats }

// Close ends the Authenticator. Who waits for it is answered.
func (a *Authenticator) Close() { a.crew.Close() }

// Authenticate implements auth.Authenticator.
func (a *Authenticator) Authenticate(r auth.Request, later func(*auth.Principal, error)) (*auth.Principal, error) {
	c := r.Connect
	if !c.HasPassword || !isShaped(c.Password) {
		return nil, auth.ErrPass
	}
	return nil, a.take(c.Password, string(c.Username), later)
}

// take has later called with what becomes of a token, which is borrowed, of a client that
// calls itself user. The error is auth.ErrLater, or says at once that it is not good.
func (a *Authenticator) take(token []byte, user string, later func(*auth.Principal, error)) error {
	if len(token) > MaxToken {
		return a.count(Malformed)
	}
	q := question{token: string(token), user: user, later: later}
	if !a.crew.Do(func(over bool) { a.answer(q, over) }) {
		return a.count(Busy)
	}
	return auth.ErrLater
}

// isShaped says whether a password looks like a token: three parts in base64url with dots
// between, of which the first begins as a JSON object does.
func isShaped(p []byte) bool {
	if len(p) < 2 || p[0] != 'e' || !opensObject[p[1]] {
		return false
	}
	dots := 0
	for _, b := range p {
		if b == '.' {
			dots++
		} else if !isBase64[b] {
			return false
		}
	}
	return dots == 2
}

// opensObject has what may follow the e of a { in base64, isBase64 all that it has.
var opensObject, isBase64 = func() (opens, all [256]bool) {
	for i, b := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") {
		all[b], opens[b] = true, i >= 48
	}
	return opens, all
}()

// question is a token that waits for an answer.
type question struct {
	token, user string
	later       func(*auth.Principal, error)
	again       bool // the keys have been fetched for it
}

// answer answers, or has the question wait for keys that may be new.
func (a *Authenticator) answer(q question, over bool) {
	if over {
		q.later(nil, a.count(Busy))
		return
	}
	who, o := a.check(q.token, q.user)
	if (o == UnknownKey || o == NoKeys) && !q.again && a.remote != nil {
		q.again = true
		if a.remote.await(func() { a.ask(q) }) {
			return
		}
	}
	q.later(who, a.count(o))
}

// ask puts a question that has waited.
func (a *Authenticator) ask(q question) {
	if !a.crew.Do(func(over bool) { a.answer(q, over) }) {
		q.later(nil, a.count(Busy))
	}
}

func (a *Authenticator) count(o Outcome) error {
	a.stats.counts[o].Add(1)
	return answers[o]
}

// check says for whom a token speaks.
func (a *Authenticator) check(token, user string) (*auth.Principal, Outcome) {
	signed, err := jose.ParseSignedCompact(token, algorithms)
	var unexpected *jose.ErrUnexpectedSignatureAlgorithm
	switch {
	case errors.As(err, &unexpected):
		return nil, BadAlgorithm
	case err != nil:
		return nil, Malformed
	}
	head := signed.Signatures[0].Protected
	if _, has := head.ExtraHeaders["crit"]; has {
		return nil, Malformed // it asks for an extension, and none is known [RFC 7515, 4.1.11]
	}
	payload, o := a.verify(signed, head.KeyID, jose.SignatureAlgorithm(head.Algorithm))
	if o != Good {
		return nil, o
	}
	all, ok := parse(payload)
	if !ok {
		return nil, Malformed
	}
	return a.claims.judge(all, user, a.now())
}

// verify returns the payload if the signature is one of a key that is trusted, with an
// algorithm that this key allows.
func (a *Authenticator) verify(signed *jose.JSONWebSignature, id string, alg jose.SignatureAlgorithm) ([]byte, Outcome) {
	fit, known, o := a.fitting(id, alg)
	if o != Good {
		return nil, o
	}
	for _, k := range fit {
		if payload, err := signed.Verify(k.material); err == nil {
			return payload, Good
		}
	}
	if !known {
		return nil, UnknownKey // those tried were a guess
	}
	return nil, BadSignature
}

// fitting are the keys that may have been used: those of that identifier, and if none has
// it, or none was given, those that have none, or all. There are few, or it cannot be
// known which one was. known says that the token can mean no other ones.
func (a *Authenticator) fitting(id string, alg jose.SignatureAlgorithm) (fit []key, known bool, o Outcome) {
	some, named := false, false // of keys, of those with that identifier
	var guess []key
	for _, source := range a.sources {
		keys := source()
		if keys == nil {
			continue
		}
		some = true
		named = named || len(keys.named[id]) > 0
		fit = allowing(fit, alg, keys.named[id])
		guess = allowing(guess, alg, keys.bare)
		if id == "" {
			for _, same := range keys.named {
				guess = allowing(guess, alg, same)
			}
		}
	}
	switch {
	case !some:
		return nil, false, NoKeys
	case !named:
		fit = guess
	case len(fit) == 0:
		return nil, true, BadAlgorithm
	}
	if len(fit) == 0 || len(fit) > maxTries {
		return nil, false, UnknownKey
	}
	return fit, named, Good
}
