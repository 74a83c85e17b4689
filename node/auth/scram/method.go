package scram

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"fmt"

	"dunlin/node/auth"
)

// Users know users by their verifiers. Their methods are called on event loops and must
// not block. What they say may change.
type Users interface {
	// Find returns a user's verifier for m and who the user is. ok is false if there is
	// no such user, or none with such a verifier.
	Find(m Mechanism, user string) (v Verifier, who *auth.Principal, ok bool)
	// Shape is that of a verifier for m of some user, the same for each value of at
	// unless the users change: see Shapes. It is zero if nobody has one.
	Shape(m Mechanism, at uint64) Shape
}

// Method is auth.Method for the users that have a verifier for one mechanism.
type Method struct {
	mechanism Mechanism
	users     Users
	secret    func() string
}

// NewMethod makes a Method. The secret, for which it asks each time, decides what names are
// answered that are not there: it is to be the same on all nodes that have the same users,
// and for as long as they are there, and no client's to know. While it is "" nobody can
// be let in.
func NewMethod(m Mechanism, users Users, secret func() string) *Method {
	return &Method{m, users, secret}
}

// Name implements auth.Method.
func (m *Method) Name() string { return m.mechanism.String() }

// Begin implements auth.Method.
func (m *Method) Begin(auth.Request) auth.Exchange {
	if m.users.Shape(m.mechanism, 0) == (Shape{}) {
		return nil
	}
	var b [18]byte
	rand.Read(b[:])
	return &exchange{method: m, conversation: conversation{nonce: base64.StdEncoding.EncodeToString(b[:])}}
}

// exchange is auth.Exchange around a conversation. It always answers at once.
type exchange struct {
	method *Method
	conversation
	who   *auth.Principal
	state state
}

// state is what is expected.
type state uint8

const (
	awaitsInitial state = iota // data of CONNECT, which may be left out
	awaitsFirst
	awaitsFinal
)

// Step implements auth.Exchange.
func (x *exchange) Step(data []byte, _ func(auth.Reply, error)) (auth.Reply, error) {
	switch {
	case x.state == awaitsInitial && len(data) == 0:
		x.state = awaitsFirst // it lets the server speak first, which has nothing to say
		return auth.Reply{}, nil
	case x.state != awaitsFinal:
		x.state = awaitsFinal
		return x.takeFirst(data)
	default:
		return x.takeFinal(data)
	}
}

// User implements auth.Exchange.
func (x *exchange) User() (string, bool) { return x.user, x.user != "" }

func (x *exchange) takeFirst(data []byte) (auth.Reply, error) {
	if err := x.first(data); err != nil {
		return auth.Reply{}, fmt.Errorf("%w: %w", auth.ErrRefused, err)
	}
	m := x.method
	secret := m.secret()
	if secret == "" {
		return auth.Reply{}, auth.ErrUnavailable // to all, or those who are there could be told by it
	}
	decoy := m.decoy(secret, x.user) // in any case: the time tells nothing
	v, who, known := m.users.Find(m.mechanism, x.user)
	if !known {
		v, who = decoy, nil
	}
	x.who = who
	return auth.Reply{Data: x.challenge(v, known)}, nil
}

func (x *exchange) takeFinal(data []byte) (auth.Reply, error) {
	signature, proved, err := x.final(data)
	switch {
	case err != nil:
		return auth.Reply{}, fmt.Errorf("%w: %w", auth.ErrRefused, err)
	case !proved:
		return auth.Reply{}, auth.ErrBadCredentials
	}
	return auth.Reply{Data: signature, Done: true, Who: x.who}, nil
}

// decoy is the verifier of a user who has none.
func (m *Method) decoy(secret, user string) Verifier {
	h := hmac.New(sha512.New, []byte(secret))
	h.Write([]byte(m.Name() + "\x00" + user))
	sum := h.Sum(nil)
	shape := m.users.Shape(m.mechanism, binary.BigEndian.Uint64(sum))
	if shape == (Shape{}) {
		shape = Shape{DefaultIterations, saltSize} // the last of the users has just gone
	}
	nothing := make([]byte, m.mechanism.size())
	return newVerifier(m.mechanism, shape.Iterations, sum[8:][:shape.SaltSize], nothing, nothing)
}
