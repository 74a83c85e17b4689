package users

import (
	"errors"
	"hash/maphash"
	"strings"

	"dunlin/node/auth"
	"dunlin/node/auth/password"
)

// Authenticator is auth.Authenticator for the users of Tables.
type Authenticator struct {
	tables  []func() *Table
	checker *password.Checker
	seed    maphash.Seed
}

// New makes an Authenticator, which asks for the users of the moment each time: a user who
// is in several tables is the one of the first. The Checker is the caller's to close.
func New(checker *password.Checker, tables ...func() *Table) *Authenticator {
	return &Authenticator{tables: tables, checker: checker, seed: maphash.MakeSeed()}
}

// Authenticate implements auth.Authenticator. Of a client that gives no name it knows
// nothing.
func (a *Authenticator) Authenticate(r auth.Request, later func(*auth.Principal, error)) (*auth.Principal, error) {
	if !r.Connect.HasUsername {
		return nil, auth.ErrPass
	}
	u, hash, own := a.find(r.Connect.Username)
	ok, isLater, err := a.checker.Check(hash, own, r.Connect.Password, func(ok bool, err error) {
		later(u.answer(ok, err))
	})
	if isLater {
		return nil, auth.ErrLater
	}
	return u.answer(ok, err)
}

// find returns a user. One that is not known, or has no hash, has somebody's, always the
// same for a name: the time to check a password tells which kind of hash it is compared
// with, and no more of names that are not there than of those that are. Then own is false,
// and no password is right.
func (a *Authenticator) find(name []byte) (u user, hash password.Hash, own bool) {
	var room [2]*Table
	tables, all := room[:0], 0
	for _, now := range a.tables {
		t := now()
		if u.Principal == nil { // in none so far
			u = t.users[string(name)]
		}
		tables = append(tables, t)
		all += len(t.all)
	}
	if hash = u.record.Hash; !hash.IsZero() {
		return u, hash, true
	}
	if all == 0 {
		return u, spare, false
	}
	i := maphash.Bytes(a.seed, name) % uint64(all)
	for _, t := range tables {
		if i < uint64(len(t.all)) {
			hash = t.all[i]
			break
		}
		i -= uint64(len(t.all))
	}
	return u, hash, false
}

// spare is nobody's hash, which costs what one that is made today does: a password is
// compared with it where nobody has one.
var spare = mustParse("$argon2id$v=19$m=19456,t=2,p=1$" + strings.Repeat("A", 22) + "$" + strings.Repeat("A", 43))

func mustParse(text string) password.Hash {
	h, err := password.Parse(text)
	if err != nil {
		panic("users: " + err.Error())
	}
	return h
}

// answer turns what the Checker found into the Authenticator's. The zero user is one that
// is not known.
func (u user) answer(ok bool, err error) (*auth.Principal, error) {
	switch {
	case errors.Is(err, password.ErrBusy):
		return nil, auth.ErrBusy
	case err != nil:
		return nil, err
	case u.Principal == nil:
		return nil, auth.ErrPass
	case !ok:
		return nil, auth.ErrBadCredentials
	}
	return u.Principal, nil
}
