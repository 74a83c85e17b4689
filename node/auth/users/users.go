package users

import (
	"errors"
	"hash/maphash"

	"dunlin/node/auth"
	"dunlin/node/auth/password"
)

// Authenticator is auth.Authenticator for the users of a file.
type Authenticator struct {
	users   func() *Table
	checker *password.Checker
	seed    maphash.Seed
}

// New makes an Authenticator, which asks for the users of the moment each time. The
// Checker is the caller's to close.
func New(users func() *Table, checker *password.Checker) *Authenticator {
	return &Authenticator{users: users, checker: checker, seed: maphash.MakeSeed()}
}

// Authenticate implements auth.Authenticator. Of a client that gives no name it knows
// nothing.
func (a *Authenticator) Authenticate(r auth.Request, later func(*auth.Principal, error)) (*auth.Principal, error) {
	if !r.Connect.HasUsername {
		return nil, auth.ErrPass
	}
	u, known := a.find(r.Connect.Username)
	ok, isLater, err := a.checker.Check(u.hash, known, r.Connect.Password, func(ok bool, err error) {
		later(u.answer(known, ok, err))
	})
	if isLater {
		return nil, auth.ErrLater
	}
	return u.answer(known, ok, err)
}

// find returns a user. In place of one that is not known it is somebody, always the same
// for a name: the time to check a password tells which kind of hash it is compared with,
// and no more of names that are not there than of those that are.
func (a *Authenticator) find(name []byte) (u user, known bool) {
	t := a.users()
	if u, known = t.users[string(name)]; !known {
		u.hash = t.all[maphash.Bytes(a.seed, name)%uint64(len(t.all))]
	}
	return u, known
}

// answer turns what the Checker found into the Authenticator's.
func (u user) answer(known, ok bool, err error) (*auth.Principal, error) {
	switch {
	case errors.Is(err, password.ErrBusy):
		return nil, auth.ErrBusy
	case err != nil:
		return nil, err
	case !known:
		return nil, auth.ErrPass
	case !ok:
		return nil, auth.ErrBadCredentials
	}
	return u.Principal, nil
}
