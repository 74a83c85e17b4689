package password

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// The tests' own binary is a helper too: "serve" does not give way, as it would never have its
// turn beside other packages' tests.
func TestMain(m *testing.M) {
	life := map[string]func(io.Reader, io.Writer) error{"serve": serve, "Serve": Serve}[os.Args[len(os.Args)-1]]
	if life == nil {
		os.Exit(m.Run())
	}
	if err := life(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// logged is a log to be read while it is written.
type logged struct {
	sync.Mutex
	bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.Lock()
	defer l.Unlock()
	return l.Buffer.Write(b)
}

func (l *logged) count(s string) int {
	l.Lock()
	defer l.Unlock()
	return strings.Count(l.Buffer.String(), s)
}

// helped is a Checker with a helper that has started.
func helped(t *testing.T, command ...string) (*Checker, *logged) {
	t.Helper()
	log := new(logged)
	c := NewChecker(slog.New(slog.NewTextHandler(log, nil)), command...)
	c.outside.patience = time.Minute
	t.Cleanup(c.Close)
	return c, log
}

func (o *outside) current() *helper {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.mu.helper
}

var cheapHashes = []string{
	"$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$fABxrgBKIPD0PGN9Z+Q1JZ+vsCC9wiJaS9dHXGCcLRk",
	"$7$101$AAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
}

// allAnswered checks a right and a wrong password at once, several times.
func allAnswered(t *testing.T, c *Checker) {
	t.Helper()
	h, err := Make([]byte("right"))
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for k := range 6 {
		all.Go(func() {
			pass := "wrong"
			if k%2 == 0 {
				pass = "right"
			}
			if ok, _, err := ask(c, h, true, pass); ok != (pass == "right") || err != nil {
				t.Errorf("%s: %v, %v", pass, ok, err)
			}
		})
	}
	all.Wait()
}

// A helper answers, whatever the form of the hash, and ends with its node.
func TestHelper(t *testing.T) {
	c, log := helped(t, os.Args[0], "serve")
	allAnswered(t, c)
	for _, text := range cheapHashes {
		h, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if ok, _, err := ask(c, h, true, "wrong"); ok || err != nil {
			t.Errorf("%s: %v, %v", text, ok, err)
		}
	}
	if n := c.Stats().Here.Load(); n != 0 {
		t.Errorf("%d hashed here", n)
	}
	x := c.outside.current()
	c.Close()
	select {
	case <-x.gone:
	default:
		t.Error("the helper is left")
	}
	if n := log.count("\n"); n != 0 {
		t.Errorf("logged %s", log)
	}
}

// Without a helper, with one that is no such thing, and after the end of one, passwords are
// checked all the same, and another is started in time.
func TestHelperIsGone(t *testing.T) {
	for _, command := range []string{"/does/not/exist", "/bin/true", "/bin/ls"} {
		c, log := helped(t, command)
		allAnswered(t, c)
		if n := log.count("level=WARN"); n != 1 {
			t.Errorf("%s: logged %d times: %s", command, n, log)
		}
		if c.Stats().Here.Load() != c.Stats().Hashed.Load() {
			t.Errorf("%s: has hashed", command)
		}
	}
	c, log := helped(t, os.Args[0], "serve")
	first := c.outside.current()
	if err := first.process.Kill(); err != nil {
		t.Fatal(err)
	}
	allAnswered(t, c)
	<-first.gone
	if n := log.count("killed"); n != 1 {
		t.Errorf("logged %s", log)
	}
	c.outside.mu.Lock()
	c.outside.mu.next = time.Time{}
	c.outside.mu.Unlock()
	before := c.Stats().Here.Load()
	allAnswered(t, c)
	if second := c.outside.current(); second == nil || second == first || c.Stats().Here.Load() != before {
		t.Error("no other was started")
	}
}

// Who answers what nobody has asked is not believed.
func TestHelperLies(t *testing.T) {
	x := &helper{}
	x.mu.waiting = map[uint64]chan<- bool{}
	if x.told(answer{ID: 7, Right: true}) == nil {
		t.Error("believed")
	}
}
