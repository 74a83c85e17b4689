package password

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"

	"dunlin/node/auth/crew"
)

// ErrBusy is the answer when more passwords wait to be checked than are let wait.
var ErrBusy = errors.New("too many passwords wait to be checked")

const (
	maxWaiting    = 256     // for each goroutine, some seconds: clients would not wait for longer
	maxRemembered = 1 << 16 // in each of two generations; 40 bytes each
)

// Checker checks passwords beside its callers.
type Checker struct {
	key     []byte
	crew    *crew.Crew
	outside *outside // nil: there is no command for it
	stats   Stats

	mu struct {
		sync.Mutex
		// The digests that were right: the latest, and the ones before. Those
		// looked for again move to the latest.
		latest, former map[digest]struct{}
	}
}

// Stats count what a Checker did.
type Stats struct {
	Hashed     atomic.Uint64
	Here       atomic.Uint64 // of Hashed: in this process
	Remembered atomic.Uint64
	Busy       atomic.Uint64
}

type digest [sha256.Size]byte

// NewChecker starts a Checker that hashes as many passwords at a time as half the processors
// are: in a helper, which is what a command starts that calls Serve, or without a command
// in this process. Close ends it.
func NewChecker(log *slog.Logger, command ...string) *Checker {
	c := &Checker{key: make([]byte, sha256.Size), crew: crew.New(maxWaiting)}
	if len(command) > 0 {
		c.outside = &outside{command: command, log: log, patience: helperPatience, rest: helperRest}
		c.outside.hire()
	}
	rand.Read(c.key)
	c.mu.latest = make(map[digest]struct{})
	return c
}

// Stats are the counters, which go on counting.
func (c *Checker) Stats() *Stats { return &c.stats }

// Check compares the password, which is borrowed, with a Hash. That of a user who does
// not exist may be any, not known: then no password is right, and that takes as long
// (case 44). If it can answer at once it does so by its results, with later false; else
// it calls done, once, from another goroutine.
func (c *Checker) Check(h Hash, known bool, password []byte, done func(ok bool, err error)) (ok, later bool, err error) {
	if len(password) > MaxBytes {
		password, known = password[:MaxBytes], false // nobody's; and that many of that size would be waiting
	}
	d := c.digestOf(h, password)
	if known && c.remembers(d) {
		c.stats.Remembered.Add(1)
		return true, false, nil
	}
	own := append([]byte(nil), password...)
	if c.crew.Do(func(over bool) {
		if over {
			done(false, ErrBusy)
			return
		}
		c.stats.Hashed.Add(1)
		ok, outside := c.outside.matches(h, own)
		if !outside {
			c.stats.Here.Add(1)
			ok = h.matches(own)
		}
		ok = ok && known
		if ok {
			c.remember(d)
		}
		done(ok, nil)
	}) {
		return false, true, nil
	}
	c.stats.Busy.Add(1)
	return false, false, ErrBusy
}

// Close ends the Checker. Those that wait are answered with ErrBusy.
func (c *Checker) Close() {
	c.outside.close() // first: nobody waits for it any more
	c.crew.Close()
}

func (c *Checker) digestOf(h Hash, password []byte) digest {
	m := hmac.New(sha256.New, c.key)
	m.Write([]byte(h.text))
	m.Write([]byte{0})
	m.Write(password)
	return digest(m.Sum(nil))
}

func (c *Checker) remembers(d digest) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.mu.latest[d]; ok {
		return true
	}
	_, ok := c.mu.former[d]
	if ok {
		c.rememberLocked(d)
	}
	return ok
}

func (c *Checker) remember(d digest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rememberLocked(d)
}

func (c *Checker) rememberLocked(d digest) {
	if len(c.mu.latest) >= maxRemembered {
		c.mu.former, c.mu.latest = c.mu.latest, make(map[digest]struct{})
	}
	c.mu.latest[d] = struct{}{}
}
