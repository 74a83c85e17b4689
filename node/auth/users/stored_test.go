package users

import (
	"errors"
	"iter"
	"maps"
	"strings"
	"testing"

	"dunlin/node/auth"
	"dunlin/node/auth/password"
)

func store(users map[string]string) iter.Seq2[string, string] { return maps.All(users) }

// Who is as before keeps his principal; who is gone or has another password loses it, and
// nobody else does.
func TestFollow(t *testing.T) {
	follow := func(from *Table, users map[string]string, want bool) *Table {
		t.Helper()
		next, withdrawn, err := from.Follow(store(users))
		if err != nil || withdrawn != want || next.Len() != len(users) {
			t.Fatalf("%v: %d users, withdrawn %v, %v", users, next.Len(), withdrawn, err)
		}
		return next
	}
	first := follow(new(Table), map[string]string{"ann": argon, "bob": argon}, false)
	ann, bob := first.users["ann"].Principal, first.users["bob"].Principal
	added := follow(first, map[string]string{"ann": argon, "bob": argon, "eve": mosquitto}, false)
	changed := follow(added, map[string]string{"ann": mosquitto, "bob": argon, "eve": mosquitto}, true)
	gone := follow(changed, map[string]string{"ann": mosquitto, "eve": mosquitto}, true)
	back := follow(gone, map[string]string{"ann": mosquitto, "bob": argon, "eve": mosquitto}, false)
	for what, c := range map[string]struct {
		t        *Table
		ann, bob bool
	}{"first": {first, true, true}, "added": {added, true, true}, "changed": {changed, false, true}, "gone": {gone, false, false}, "back": {back, false, false}} {
		if c.t.Holds(ann) != c.ann || c.t.Holds(bob) != c.bob {
			t.Errorf("%s: ann %v, bob %v", what, c.t.Holds(ann), c.t.Holds(bob))
		}
		for _, other := range []*auth.Principal{nil, auth.NewPrincipal("ann"), auth.NewCertified("nobody")} {
			if !c.t.Holds(other) {
				t.Errorf("%s: %q is taken back, who is of no store", what, other.User())
			}
		}
	}
}

// The users of a file that is read again are followed alike, and nobody of another roll.
func TestSucceed(t *testing.T) {
	read := func(users ...string) *Table {
		t.Helper()
		next, err := Read(strings.NewReader(strings.Join(users, "\n")))
		if err != nil {
			t.Fatal(err)
		}
		return next
	}
	first := read("ann:"+argon, "bob:"+argon)
	if first.Succeed(new(Table)) {
		t.Error("the first withdraws somebody")
	}
	ann, bob := first.Principal("ann"), first.Principal("bob")
	second := read("bob:"+argon, "eve:"+argon, "ann:"+argon)
	if second.Succeed(first) || !second.Holds(ann) || !second.Holds(bob) || second.Principal("ann") != ann {
		t.Error("who is as before is withdrawn")
	}
	third := read("ann:"+mosquitto, "eve:"+argon)
	if !third.Succeed(second) || third.Holds(ann) || third.Holds(bob) || !third.Holds(second.Principal("eve")) {
		t.Error("who has another password, or is gone, stays")
	}
	for _, other := range []*auth.Principal{nil, auth.NewPrincipal("bob"), auth.NewEnrolled(auth.StoreRoll, "bob")} {
		if !third.Holds(other) {
			t.Errorf("%q is taken back, who is of no file", other.User())
		}
	}
}

// Who cannot be read is left out, which withdraws the user that he was.
func TestFollowLeavesOut(t *testing.T) {
	from, _, _ := new(Table).Follow(store(map[string]string{"ann": argon}))
	next, withdrawn, err := from.Follow(store(map[string]string{"ann": "$future$", "bob": argon}))
	if err == nil || !strings.Contains(err.Error(), `user "ann": not a password hash`) || !withdrawn || next.Len() != 1 {
		t.Errorf("%d users, withdrawn %v, %v", next.Len(), withdrawn, err)
	}
	next, withdrawn, err = next.Follow(store(map[string]string{"ann": "x", "b:b": argon, "bob": argon}))
	if err == nil || !strings.Contains(err.Error(), "2 users cannot be read, the first: user") || withdrawn || next.Len() != 1 {
		t.Errorf("%d users, withdrawn %v, %v", next.Len(), withdrawn, err)
	}
}

// A name is looked for in one table after the other, and its password is that of the first
// which has it.
func TestTables(t *testing.T) {
	file, err := Read(strings.NewReader("bob:" + mosquitto))
	if err != nil {
		t.Fatal(err)
	}
	stored, _, err := new(Table).Follow(store(map[string]string{"ann": mosquitto, "bob": argon}))
	if err != nil {
		t.Fatal(err)
	}
	checker := password.NewChecker(nil)
	defer checker.Close()
	a := New(checker, func() *Table { return file }, func() *Table { return stored })
	for _, c := range []struct {
		user, pass string
		err        error
		stored     bool
	}{
		{"bob", "secret", nil, false},
		{"bob", "wrong", auth.ErrBadCredentials, false},
		{"ann", "secret", nil, true},
		{"ann", "wrong", auth.ErrBadCredentials, false},
		{"eve", "secret", auth.ErrPass, false},
	} {
		if who, err := ask(a, c.user, c.pass); !errors.Is(err, c.err) || err == nil && (who.User() != c.user || (who.Roll() == auth.StoreRoll) != c.stored) {
			t.Errorf("%s, %s: %q, roll %v, %v", c.user, c.pass, who.User(), who.Roll(), err)
		}
	}
	decoys := map[string]bool{}
	for i := range 100 {
		u, hash, own := a.find([]byte{'x', byte(i)})
		if u.Principal != nil || own {
			t.Fatal("found somebody")
		}
		decoys[hash.String()] = true
	}
	if len(decoys) != 2 {
		t.Errorf("compared with %d kinds of hashes of two", len(decoys))
	}
}

// Where there is nobody at all, nobody is let in, after the time of a password (case 44).
func TestEmptyStore(t *testing.T) {
	a := New(nil, func() *Table { return new(Table) })
	u, hash, own := a.find([]byte("ann"))
	made, err := password.Make([]byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	costs := func(h password.Hash) string { return strings.Join(strings.Split(h.String(), "$")[:4], "$") }
	if u.Principal != nil || own || costs(hash) != costs(made) {
		t.Errorf("its own %v, compared with %s, made today: %s", own, hash, made)
	}
}
