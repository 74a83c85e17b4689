package users

import (
	"fmt"
	"iter"

	"dunlin/node/auth"
)

// Follow makes the Table of the cluster's store, where all are the users' names and what is
// kept of them, as t's successor: of users who are as they were, the principals are t's.
// withdrawn says that those of some are not: they are gone, or have another password. The
// error says who was left out.
func (t *Table) Follow(all iter.Seq2[string, string]) (next *Table, withdrawn bool, err error) {
	next = &Table{roll: auth.StoreRoll, users: make(map[string]user, t.Len())}
	kept, bad := 0, 0
	for name, text := range all {
		u, known := t.users[name]
		if known && u.text == text {
			kept++
			next.put(name, u)
			continue
		}
		u, wrong := parse(text)
		if wrong == nil {
			wrong = CheckName(name)
		}
		if wrong != nil {
			if bad++; bad == 1 {
				err = fmt.Errorf("user %q: %w", name, wrong)
			}
			continue
		}
		u.Principal = auth.NewEnrolled(auth.StoreRoll, name)
		next.put(name, u)
	}
	if bad > 1 {
		err = fmt.Errorf("%d users cannot be read, the first: %w", bad, err)
	}
	return next, kept < t.Len(), err
}

// Principal is that of a user of t; nil if there is none.
func (t *Table) Principal(user string) *auth.Principal { return t.users[user].Principal }

// Succeed has t, which nobody has seen yet, come after another one: of users who are as they
// were, the principals are the former ones. It is true if those of some are not: they are
// gone, or have another password.
func (t *Table) Succeed(former *Table) (withdrawn bool) {
	kept := 0
	for name, was := range former.users {
		if u, known := t.users[name]; known && u.text == was.text {
			kept++
			u.Principal = was.Principal
			t.users[name] = u
		}
	}
	return kept < former.Len()
}

// Holds says whether p is still that of a user of t, which is of the same roll. Who is of
// another is not t's to take back.
func (t *Table) Holds(p *auth.Principal) bool {
	return p.Roll() != t.roll || t.roll == auth.NoRoll || t.Principal(p.User()) == p
}
