package auth

import (
	"slices"
	"time"
	"unsafe"

	"dunlin/router"
)

// Principal is whom a client was found to be. It is constant, and whoever knows the
// users has one for all connections of each. A million may be held, hence a single
// string: how it was found, in the first byte, and the user's name; the few that
// have more are made by With, and cost what that needs. It must not be copied. Nil is
// nobody: a client that gave no name.
type Principal struct {
	_     noCopy
	found string
}

// How a Principal was found. With puts the same letter in capitals.
const (
	byClaim       = "u" // by a password, a token, or the client's word where that is enough
	byCertificate = "c"
)

// Roll is a list of users that a Principal was found on, and may be taken off. Its value is
// how that was found.
type Roll byte

// The rolls there are.
const (
	NoRoll    Roll = 0
	FileRoll  Roll = 'f' // of the node's file
	StoreRoll Roll = 's' // of the cluster's store
)

// NewPrincipal makes the Principal of a user.
func NewPrincipal(user string) *Principal { return &Principal{found: byClaim + user} }

// NewCertified makes that of a user whom the client's certificate names.
func NewCertified(user string) *Principal { return &Principal{found: byCertificate + user} }

// NewEnrolled makes that of a user who is on a roll.
func NewEnrolled(r Roll, user string) *Principal { return &Principal{found: string(rune(r)) + user} }

// Roll is the one that the user was found on.
func (p *Principal) Roll() Roll {
	if p != nil {
		if r := Roll(p.how()); r == FileRoll || r == StoreRoll {
			return r
		}
	}
	return NoRoll
}

// Extras are what some principals have beside a name, as what they have shown says.
type Extras struct {
	Rights  Rights    // of its own; nil: none
	Groups  []string  // that rules may speak of
	Expires time.Time // when it has to be proved anew; zero: never
}

// Rights are those that a principal brings along. They are asked before the rules
// that hold for everybody, on event loops, and must not block.
type Rights interface {
	MayPublish(id *Identity, t router.Topic, qos uint8, retain bool) Verdict
	MaySubscribe(id *Identity, f router.Filter, qos uint8) Verdict
	MayReceive(id *Identity, t router.Topic, qos uint8) Verdict
}

// Verdict is what a list of rules says of something.
type Verdict uint8

// A list may have no rule that speaks of it: then it is for others to say.
const (
	Silent Verdict = iota
	Allowed
	Forbidden
)

// extended is a Principal that has Extras. Its found begins with a capital, by which
// extras knows it.
type extended struct {
	Principal
	Extras
}

const capital = 'u' - 'U'

// With is p with x in place of the Extras that it has. Nobody has none.
func (p *Principal) With(x Extras) *Principal {
	x.Groups = slices.Compact(slices.Sorted(slices.Values(x.Groups)))
	e := &extended{Extras: x}
	e.found = string(p.how()-capital) + p.found[1:]
	return &e.Principal
}

// extras are nil for most.
func (p *Principal) extras() *Extras {
	if p == nil || p.found[0] == p.how() {
		return nil
	}
	return &(*extended)(unsafe.Pointer(p)).Extras // whose first field p is, see With
}

// how is the letter of how p was found.
func (p *Principal) how() byte { return p.found[0] | capital }

// User is the user's name, "" of nobody.
func (p *Principal) User() string {
	if p == nil {
		return ""
	}
	return p.found[1:]
}

// Certificate is the name that the client's certificate has proved, "" without one.
func (p *Principal) Certificate() string {
	if p == nil || p.how() != byCertificate[0] {
		return ""
	}
	return p.found[1:]
}

// Rights are those of its own, nil for most.
func (p *Principal) Rights() Rights {
	if x := p.extras(); x != nil {
		return x.Rights
	}
	return nil
}

// Groups are those that it is in, in order; they are lent.
func (p *Principal) Groups() []string {
	if x := p.extras(); x != nil {
		return x.Groups
	}
	return nil
}

// Expires is when it has to be proved anew, zero for most: never.
func (p *Principal) Expires() time.Time {
	if x := p.extras(); x != nil {
		return x.Expires
	}
	return time.Time{}
}

// noCopy has go vet find copies of what it is in.
type noCopy struct{}

func (*noCopy) Lock()   {}
func (*noCopy) Unlock() {}
