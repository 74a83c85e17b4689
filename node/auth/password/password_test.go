package password

import (
	"errors"
	"strings"
	"testing"
)

func TestMakeAndMatch(t *testing.T) {
	h, err := Make([]byte("pass"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse(h.String())
	if err != nil {
		t.Fatal(err)
	}
	if !again.matches([]byte("pass")) || again.matches([]byte("Pass")) || again.matches(nil) {
		t.Error("matches the wrong ones")
	}
	other, err := Make([]byte("pass"))
	if err != nil {
		t.Fatal(err)
	}
	if other.String() == h.String() {
		t.Error("the same salt twice")
	}
	if _, err := Make(nil); err == nil {
		t.Error("an empty password was hashed")
	}
}

// Hashes that others have made.
func TestForeignHashes(t *testing.T) {
	for text, pass := range map[string]string{
		// The command-line tool of the reference implementation: echo -n password | argon2 somesalt -id -t 2 -m 16 -p 1
		"$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc": "password",
		// mosquitto_passwd -b file bob secret
		"$7$101$31FoGBn5cne5me5k$x7Nu6URWugbcQDRTFcStmHHNGgNJMxWYUWrUMBUaZn3FaxTWk5M8oUVS9b6OJjajHG2cFz9n4KOwnBVya/8cpQ==": "secret",
	} {
		h, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if !h.matches([]byte(pass)) || h.matches([]byte(pass+" ")) {
			t.Errorf("%s: matches the wrong ones", text)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, text := range []string{
		"", "password", "$", "$argon2id$", "$argon2i$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
		"$argon2id$v=16$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
		"$argon2id$v=19$m=65536,t=0,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
		"$argon2id$v=19$m=4294967295,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
		"$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$short",
		"$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$",
		"$7$0$AAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
		"$7$99999999999$AAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
	} {
		if _, err := Parse(text); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc")
	f.Add("$7$101$AAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	f.Fuzz(func(t *testing.T, s string) {
		h, err := Parse(s)
		if err == nil && (h.String() != s || h.memory > maxMemory || h.iterations > maxIterations) {
			t.Errorf("%q: %+v", s, h)
		}
	})
}

func newChecker(t *testing.T) *Checker {
	t.Helper()
	c := NewChecker(nil)
	t.Cleanup(c.Close)
	return c
}

// ask waits for the answer, however it comes.
func ask(c *Checker, h Hash, known bool, pass string) (ok, later bool, err error) {
	type answer struct {
		ok  bool
		err error
	}
	answers := make(chan answer, 1)
	ok, later, err = c.Check(h, known, []byte(pass), func(ok bool, err error) { answers <- answer{ok, err} })
	if later {
		a := <-answers
		ok, err = a.ok, a.err
	}
	return ok, later, err
}

func TestChecker(t *testing.T) {
	c := newChecker(t)
	h, err := Make([]byte("right"))
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name      string
		known     bool
		pass      string
		ok, later bool
	}{
		{"wrong", true, "wrong", false, true},
		{"unknown user with another's password", false, "right", false, true},
		{"the same again", false, "right", false, true},
		{"right", true, "right", true, true},
		{"right again", true, "right", true, false},
		{"wrong again", true, "wrong", false, true},
		{"unknown user with a remembered password", false, "right", false, true},
		{"longer than any", true, "right" + strings.Repeat("t", MaxBytes), false, true},
	} {
		ok, later, err := ask(c, h, step.known, step.pass)
		if ok != step.ok || later != step.later || err != nil {
			t.Errorf("%s: %v, later %v, %v", step.name, ok, later, err)
		}
	}
	changed, err := Make([]byte("right"))
	if err != nil {
		t.Fatal(err)
	}
	if _, later, _ := ask(c, changed, true, "right"); !later {
		t.Error("remembered beyond a change of the hash")
	}
}

// Who comes when the line is full is told so at once, and those in it are
// answered (case 37).
func TestStorm(t *testing.T) {
	c := newChecker(t)
	cheap, err := Parse("$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc")
	if err != nil {
		t.Fatal(err)
	}
	const storm = 20 * maxWaiting
	answers := make(chan bool, storm)
	waiting, busy := 0, 0
	for range storm {
		ok, later, err := c.Check(cheap, true, []byte(strings.Repeat("x", 20)), func(ok bool, _ error) { answers <- ok })
		switch {
		case ok:
			t.Fatal("let in")
		case later:
			waiting++
		case errors.Is(err, ErrBusy):
			busy++
		}
	}
	for range waiting {
		if <-answers {
			t.Fatal("let in")
		}
	}
	if waiting+busy != storm || c.Stats().Busy.Load() != uint64(busy) || c.Stats().Hashed.Load() != uint64(waiting) {
		t.Errorf("%d waited, %d were refused, %d hashed", waiting, busy, c.Stats().Hashed.Load())
	}
	c.Close()
	if _, later, err := ask(c, cheap, true, "x"); later || !errors.Is(err, ErrBusy) {
		t.Error("checked after the end")
	}
}
