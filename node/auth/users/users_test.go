package users

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"dunlin/node/auth"
	"dunlin/node/auth/password"
	"dunlin/node/auth/scram"
	"dunlin/proto/mqtt"
)

// Hashes that cost little to check. The second is of "secret", as mosquitto_passwd has
// made it. The verifiers are of "pencil".
const (
	argon     = "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	mosquitto = "$7$101$31FoGBn5cne5me5k$x7Nu6URWugbcQDRTFcStmHHNGgNJMxWYUWrUMBUaZn3FaxTWk5M8oUVS9b6OJjajHG2cFz9n4KOwnBVya/8cpQ=="

	sha256 = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
	sha512 = "SCRAM-SHA-512$5000:W22ZaJ0SNY7soEsUEjb6gQ==$" + zeros64 + ":" + zeros64

	zeros64 = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=="
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
		"":                                                   "no users in it",
		"# bob:x\n\n":                                        "no users in it",
		"a:" + argon + "\nbob":                               "line 2: want name:hash",
		"bob:secret":                                         `line 1: user "bob": not a password hash`,
		"bob:" + argon + "\nbob:" + mosquitto:                `line 2: user "bob" stands twice`,
		":" + argon:                                          "line 1: a user without a name",
		"\nbob :" + argon:                                    `line 2: user "bob ": a space at an end`,
		"b\x1b[31m:" + argon:                                 `line 1: user "b\x1b[31m": a name is UTF-8`,
		"b\xff:" + argon:                                     `line 1: user "b\xff": a name is UTF-8`,
		"bob:$argon2id$v=19$m=9999999,t=1,p=1":               `line 1: user "bob": `,
		"bob:" + argon + "  " + sha256:                       "not a SCRAM verifier",
		"bob:" + argon + ":" + sha256:                        "not a password hash",
		"bob:" + argon + " " + argon:                         "not a SCRAM verifier",
		"bob:" + sha256 + " " + argon:                        "not a SCRAM verifier",
		"bob:" + argon + " " + sha256 + "\t" + sha512:        "not a SCRAM verifier",
		"bob:" + argon + " " + sha256 + " " + sha256:         "SCRAM-SHA-256 stands twice",
		"bob:" + sha512 + " " + sha256:                       "not in the order",
		"bob:" + strings.Replace(sha256, "4096", "4095", 1):  "4095 iterations",
		"a:" + argon + "\n" + strings.Repeat("x", maxLine+1): "line 2: more than",
		strings.Repeat("x", maxName+1) + ":" + argon:         "want at most",
	} {
		if _, err := Read(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", text, err, want)
		}
	}
}

func TestEdit(t *testing.T) {
	record, err := ParseRecord(argon + " " + sha256)
	if err != nil {
		t.Fatal(err)
	}
	text := []byte("# ours\nann:" + mosquitto)
	for _, name := range []string{"bob", "ann", "bob"} {
		if text, err = Put(text, name, record); err != nil {
			t.Fatal(err)
		}
	}
	if want := "# ours\nann:" + argon + " " + sha256 + "\nbob:" + argon + " " + sha256 + "\n"; string(text) != want {
		t.Errorf("got %s", text)
	}
	if _, err := Put(text, "a:b", record); err == nil {
		t.Error("a name with a colon was taken")
	}
	if _, err := Remove(text, "eve"); err == nil || !strings.Contains(err.Error(), `no user "eve"`) {
		t.Error(err)
	}
	if text, err = Remove(text, "ann"); err != nil || string(text) != "# ours\nbob:"+argon+" "+sha256+"\n" {
		t.Errorf("got %s, %v", text, err)
	}
	if _, err := Remove(text, "bob"); err == nil || !strings.Contains(err.Error(), "the only user") {
		t.Error(err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add("# x\nbob:" + mosquitto + "\n")
	f.Add("bob:" + argon + "\nbob:x")
	f.Add("bob:" + argon + " " + sha256 + " " + sha512 + "\nann:" + sha256)
	f.Fuzz(func(t *testing.T, text string) {
		table, err := Read(strings.NewReader(text))
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Errorf("not one printable line: %q", err.Error())
			}
			return
		}
		if table.Len() == 0 {
			t.Error("no users")
		}
		for name, u := range table.users {
			again, err := ParseRecord(u.record.String())
			if err != nil || again.String() != u.record.String() || u.record.Hash.IsZero() && len(u.record.Verifiers) == 0 {
				t.Errorf("%s: %s, %v", name, u.record, err)
			}
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
	checker := password.NewChecker(nil)
	defer checker.Close()
	a := New(checker, func() *Table { return tables[now] })
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
	a := New(nil, func() *Table { return table })
	kinds := map[string]int{}
	for i := range 200 {
		name := []byte(fmt.Sprint("x", i))
		_, hash, own := a.find(name)
		_, again, _ := a.find(name)
		if own || hash.String() != again.String() {
			t.Fatalf("%s: its own %v, %s, then %s", name, own, hash, again)
		}
		kinds[hash.String()]++
	}
	if kinds[argon] == 0 || kinds[mosquitto] == 0 {
		t.Errorf("decoys %v", kinds)
	}
}

// A password lets nobody in who has but a verifier, and that is found for nobody but its
// user.
func TestVerifiers(t *testing.T) {
	tables := map[string]*Table{}
	for name, text := range map[string]string{
		"mixed":     "bob:" + mosquitto + " " + sha256 + "\nann:" + sha256 + " " + sha512 + "\neve:" + mosquitto,
		"verifiers": "ann:" + sha512,
		"hashes":    "ann:" + mosquitto,
	} {
		var err error
		if tables[name], err = Read(strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
	}
	now := "mixed"
	file := func() *Table { return tables[now] }
	checker := password.NewChecker(nil)
	defer checker.Close()
	a, found := New(checker, file), Verifiers{file}
	for _, c := range []struct {
		file, user, pass string
		err              error
		has              []scram.Mechanism
	}{
		{"mixed", "bob", "secret", nil, []scram.Mechanism{scram.SHA256}},
		{"mixed", "ann", "secret", auth.ErrBadCredentials, []scram.Mechanism{scram.SHA256, scram.SHA512}},
		{"mixed", "ann", "pencil", auth.ErrBadCredentials, []scram.Mechanism{scram.SHA256, scram.SHA512}},
		{"mixed", "eve", "secret", nil, nil},
		{"mixed", "nobody", "secret", auth.ErrPass, nil},
		{"verifiers", "ann", "pencil", auth.ErrBadCredentials, []scram.Mechanism{scram.SHA512}},
		{"verifiers", "nobody", "pencil", auth.ErrPass, nil},
		{"hashes", "ann", "secret", nil, nil},
	} {
		now = c.file
		if who, err := ask(a, c.user, c.pass); !errors.Is(err, c.err) || err == nil && who.User() != c.user {
			t.Errorf("%s, %s: %v", c.file, c.user, err)
		}
		var has []scram.Mechanism
		for _, m := range scram.Mechanisms() {
			v, who, ok := found.Find(m, c.user)
			if ok && v.Mechanism() == m && who.User() == c.user {
				has = append(has, m)
			} else if ok || !v.IsZero() {
				t.Errorf("%s, %s, %v: %v, %v", c.file, c.user, m, v, ok)
			}
		}
		if !slices.Equal(has, c.has) {
			t.Errorf("%s, %s: verifiers for %v", c.file, c.user, has)
		}
	}
	now = "mixed"
	if got := found.Shape(scram.SHA512, 0); got.Iterations != 5000 || got.SaltSize != 16 {
		t.Errorf("shape %v", got)
	}
	both := Verifiers{func() *Table { return tables["hashes"] }, func() *Table { return tables["mixed"] }}
	if _, _, ok := both.Find(scram.SHA256, "ann"); ok { // she is the first one's, and has none there
		t.Error("a verifier of the second table")
	}
	if _, who, ok := both.Find(scram.SHA256, "bob"); !ok || who != tables["mixed"].users["bob"].Principal {
		t.Error("no verifier of the second table")
	}
	if got := both.Shape(scram.SHA256, 1<<63); got.Iterations != 4096 {
		t.Errorf("shape %v of both", got)
	}
	now = "hashes"
	if got := found.Shape(scram.SHA256, 0); got != (scram.Shape{}) {
		t.Errorf("shape %v of none", got)
	}
}

func TestMakeRecord(t *testing.T) {
	r, err := MakeRecord([]byte("pencil"), true, []scram.Mechanism{scram.SHA512, scram.SHA256}, scram.MinIterations)
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseRecord(r.String())
	if err != nil || again.String() != r.String() || len(again.Verifiers) != 2 || again.Hash.IsZero() {
		t.Errorf("%s, %v", r, err)
	}
	for pass, verifiers := range map[string]int{"pencil": 1, "pen\tcil": 0} { // which SCRAM does not take
		text, err := Make([]byte(pass))
		if err != nil {
			t.Fatal(err)
		}
		if r, err := ParseRecord(text); err != nil || r.Hash.IsZero() || len(r.Verifiers) != verifiers {
			t.Errorf("%q: %s, %v", pass, text, err)
		}
	}
	if _, err := MakeRecord([]byte("pencil"), false, nil, scram.MinIterations); err == nil {
		t.Error("nothing was kept")
	}
}
