package users

import (
	"dunlin/node/auth"
	"dunlin/node/auth/scram"
)

// Verifiers are those of the users of Tables: scram.Users, which asks for the users of the
// moment each time. A user who is in several tables is the one of the first.
type Verifiers []func() *Table

// Find implements scram.Users.
func (vs Verifiers) Find(m scram.Mechanism, name string) (scram.Verifier, *auth.Principal, bool) {
	for _, now := range vs {
		if u, known := now().users[name]; known {
			v, ok := u.record.verifier(m)
			return v, u.Principal, ok
		}
	}
	return scram.Verifier{}, nil, false
}

// Shape implements scram.Users.
func (vs Verifiers) Shape(m scram.Mechanism, at uint64) scram.Shape {
	var room [2]*scram.Shapes
	all := room[:0]
	for _, now := range vs {
		all = append(all, &now().shapes)
	}
	return scram.Pick(m, at, all...)
}
