package users

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"dunlin/node/auth"
	"dunlin/node/auth/password"
	"dunlin/proto/mqtt"
)

// Hashes that cost little to check. The second is of "secret", as mosquitto_passwd has
// made it.
const (
	argon     = "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	mosquitto = "$7$101$31FoGBn5cne5me5k$x7Nu6URWugbcQDRTFcStmHHNGgNJMxWYUWrUMBUaZn3FaxTWk5M8oUVS9b6OJjajHG2cFz9n4KOwnBVya/8cpQ=="
)

func TestRead(t *testing.T) {
	table, err := Read(strings.NewReader("# users\n\nbob:" + mosquitto + "\r\nZoë +#/:" + argon + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got := table.Names(); !slices.Equal(got, []string{"Zoë +#/", "bob"}) {
		t.Errorf("users %q", got)
	}
}

// A file that is wrong is refused, and the error names the line (case 45).
func TestRefusedFiles(t *testing.T) {
	for text, want := range map[string]string{
		"":                                     "no users in it",
		"# bob:x\n\n":                          "no users in it",
		"a:" + argon + "\nbob":                 "line 2: want name:hash",
		"bob:secret":                           `line 1: user "bob": not a password hash`,
		"bob:" + argon + "\nbob:" + mosquitto:  `line 2: user "bob" stands twice`,
		":" + argon:                            "line 1: a user without a name",
		"\nbob :" + argon:                      `line 2: user "bob ": a space at an end`,
		"b\x1b[31m:" + argon:                   `line 1: user "b\x1b[31m": a name is UTF-8`,
		"b\xff:" + argon:                       `line 1: user "b\xff": a name is UTF-8`,
		"bob:$argon2id$v=19$m=9999999,t=1,p=1": `line 1: user "bob": `,
		"a:" + argon + "\n" + strings.Repeat("x", maxLine+1): "line 2: more than",
		strings.Repeat("x", maxName+1) + ":" + argon:         "want at most",
	} {
		if _, err := Read(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", text, err, want)
		}
	}
}

func TestEdit(t *testing.T) {
	hash, err := password.Parse(argon)
	if err != nil {
		t.Fatal(err)
	}
	text := []byte("# ours\nann:" + mosquitto)
	for _, name := range []string{"bob", "ann", "bob"} {
		if text, err = Put(text, name, hash); err != nil {
			t.Fatal(err)
		}
	}
	if want := "# ours\nann:" + argon + "\nbob:" + argon + "\n"; string(text) != want {
		t.Errorf("got %s", text)
	}
	if _, err := Put(text, "a:b", hash); err == nil {
		t.Error("a name with a colon was taken")
	}
	if _, err := Remove(text, "eve"); err == nil || !strings.Contains(err.Error(), `no user "eve"`) {
		t.Error(err)
	}
	if text, err = Remove(text, "ann"); err != nil || string(text) != "# ours\nbob:"+argon+"\n" {
		t.Errorf("got %s, %v", text, err)
	}
	if _, err := Remove(text, "bob"); err == nil || !strings.Contains(err.Error(), "the only user") {
		t.Error(err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add("# x\nbob:" + mosquitto + "\n")
	f.Add("bob:" + argon + "\nbob:x")
	f.Fuzz(func(t *testing.T, text string) {
		table, err := Read(strings.NewReader(text))
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Errorf("not one printable line: %q", err.Error())
			}
			return
		}
		if len(table.all) != table.Len() || table.Len() == 0 {
			t.Errorf("%d hashes of %d users", len(table.all), table.Len())
		}
		for _, name := range table.Names() {
			if CheckName(name) != nil {
				t.Errorf("user %q", name)
			}
		}
	})
}

// asker asks an Authenticator and waits for the answer, however it comes.
func ask(a auth.Authenticator, user, pass string) (who *auth.Principal, err error) {
	type answer struct {
		who *auth.Principal
		err error
	}
	answers := make(chan answer, 1)
	c := &mqtt.Connect{HasUsername: user != "", Username: []byte(user), HasPassword: pass != "", Password: []byte(pass)}
	who, err = a.Authenticate(auth.Request{Connect: c}, func(who *auth.Principal, err error) { answers <- answer{who, err} })
	clear(c.Username) // it was borrowed
	clear(c.Password)
	if errors.Is(err, auth.ErrLater) {
		got := <-answers
		return got.who, got.err
	}
	return who, err
}

func TestAuthenticate(t *testing.T) {
	tables := map[string]*Table{}
	for name, text := range map[string]string{"first": "bob:" + mosquitto + "\nann:" + argon, "second": "ann:" + mosquitto} {
		var err error
		if tables[name], err = Read(strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
	}
	now := "first"
	checker := password.NewChecker()
	defer checker.Close()
	a := New(func() *Table { return tables[now] }, checker)
	for i, step := range []struct {
		file, user, pass string
		err              error
	}{
		{"first", "bob", "secret", nil},
		{"first", "bob", "secret", nil},
		{"first", "bob", "wrong", auth.ErrBadCredentials},
		{"first", "bob", "", auth.ErrBadCredentials},
		{"first", "ann", "secret", auth.ErrBadCredentials},
		{"first", "eve", "secret", auth.ErrPass},
		{"first", "", "secret", auth.ErrPass},
		{"first", "BOB", "secret", auth.ErrPass},
		{"second", "ann", "secret", nil},
		{"second", "bob", "secret", auth.ErrPass}, // removed, though remembered
	} {
		now = step.file
		who, err := ask(a, step.user, step.pass)
		if !errors.Is(err, step.err) || err == nil && who.User() != step.user {
			t.Errorf("step %d: user %q, %v", i, who.User(), err)
		}
	}
	one, _ := ask(a, "ann", "secret")
	two, _ := ask(a, "ann", "secret")
	if one != two {
		t.Error("connections of one user do not share who they are")
	}
	checker.Close()
	if _, err := ask(a, "ann", "other"); !errors.Is(err, auth.ErrBusy) {
		t.Errorf("without room: %v", err)
	}
}

// A name that is not there is compared with a hash that is in the file, always the same
// one, so that its time tells nothing (case 44).
func TestDecoysAreOfTheFile(t *testing.T) {
	var text strings.Builder
	for i := range 10 {
		fmt.Fprintf(&text, "a%d:%s\nm%d:%s\n", i, argon, i, mosquitto)
	}
	table, err := Read(strings.NewReader(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	a := New(func() *Table { return table }, nil)
	kinds := map[string]int{}
	for i := range 200 {
		name := []byte(fmt.Sprint("x", i))
		u, known := a.find(name)
		again, _ := a.find(name)
		if known || u.hash.String() != again.hash.String() {
			t.Fatalf("%s: known %v, %s, then %s", name, known, u.hash, again.hash)
		}
		kinds[u.hash.String()]++
	}
	if kinds[argon] == 0 || kinds[mosquitto] == 0 {
		t.Errorf("decoys %v", kinds)
	}
}
