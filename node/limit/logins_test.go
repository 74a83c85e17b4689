package limit

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"dunlin/node/auth"
	"dunlin/proto/mqtt"
)

// checked is an authenticator that knows a password, which it tells at once or when the
// test lets it.
type checked struct {
	asked int
	wait  bool
	later []func()
}

func (c *checked) Authenticate(r auth.Request, later func(*auth.Principal, error)) (*auth.Principal, error) {
	c.asked++
	var err error
	switch string(r.Connect.Password) {
	case "right":
	case "busy":
		err = auth.ErrBusy
	default:
		err = auth.ErrBadCredentials
	}
	if c.wait {
		c.later = append(c.later, func() { later(nil, err) })
		return nil, auth.ErrLater
	}
	return nil, err
}

func (c *checked) tell() {
	later := c.later
	c.later = nil
	for _, f := range later {
		f()
	}
}

func asUser(user, password string, from netip.Addr) auth.Request {
	return auth.Request{Remote: netip.AddrPortFrom(from, 9), Connect: &mqtt.Connect{
		HasUsername: user != "", Username: []byte(user), HasPassword: password != "", Password: []byte(password)}}
}

// login is one that is answered at once.
func login(l Logins, user, password string, from netip.Addr) error {
	_, err := l.Authenticate(asUser(user, password, from), nil)
	return err
}

// Case 44: a user who is wrong too often from an address waits, twice as long after each
// time that follows, up to a bound, and it is forgotten; from elsewhere he is let in at
// any time.
func TestBackOff(t *testing.T) {
	d, clock := open(Options{FailedLogins: 3, MaxBackOff: time.Minute})
	known := &checked{}
	l := NewLogins(d, known)
	expect := func(what, password string, want error) {
		t.Helper()
		asked := known.asked
		if err := login(l, "ann", password, home1); !errors.Is(err, want) {
			t.Errorf("%s: %v instead of %v", what, err, want)
		}
		if looked := known.asked > asked; looked != (want != auth.ErrTooOften) {
			t.Errorf("%s: the password was checked: %v", what, looked)
		}
		if err := login(l, "ann", "right", home2); err != nil {
			t.Errorf("%s: from elsewhere %v", what, err)
		}
		if err := login(l, "bob", "right", home1); err != nil {
			t.Errorf("%s: another user %v", what, err)
		}
	}
	fail := func(what string) { t.Helper(); expect(what, "wrong", auth.ErrBadCredentials) }
	for range 3 {
		fail("some are free")
	}
	for _, wait := range []int{1, 2, 4, 8, 16, 32, 60, 60, 60} {
		expect("at once", "right", auth.ErrTooOften)
		clock.pass(time.Duration(wait)*time.Second - 1)
		expect("too soon", "wrong", auth.ErrTooOften)
		clock.pass(1)
		fail("in time")
	}
	clock.pass(time.Minute)
	expect("the right one at last", "right", nil)
	if n := d.Stats().Remembered.Logins; n != 0 {
		t.Errorf("%d are remembered", n)
	}
	for range 3 {
		fail("it begins anew")
	}
	clock.pass(2*time.Minute + 1)
	for range 3 {
		fail("forgotten after a while")
	}
	expect("and begun anew", "wrong", auth.ErrTooOften)
}

// Who has to wait is let try once at a time.
func TestOneAtATime(t *testing.T) {
	d, clock := open(Options{FailedLogins: 1, MaxBackOff: time.Minute})
	known := &checked{}
	l := NewLogins(d, known)
	if err := login(l, "ann", "wrong", home1); !errors.Is(err, auth.ErrBadCredentials) {
		t.Fatal(err)
	}
	clock.pass(time.Second)
	known.wait = true
	var answers []error
	try := func(password string) error {
		_, err := l.Authenticate(asUser("ann", password, home1), func(_ *auth.Principal, err error) { answers = append(answers, err) })
		return err
	}
	if err := try("busy"); !errors.Is(err, auth.ErrLater) {
		t.Fatal(err)
	}
	if err := try("right"); !errors.Is(err, auth.ErrLater) || known.asked != 2 {
		t.Errorf("a second: %v, %d asked", err, known.asked)
	}
	known.tell()
	if known.asked != 3 {
		t.Errorf("%d asked when nobody knows how the first one was", known.asked)
	}
	known.tell()
	if len(answers) != 2 || !errors.Is(answers[0], auth.ErrBusy) || answers[1] != nil {
		t.Errorf("answers %v", answers)
	}
	known.wait = false
	if err := login(l, "ann", "wrong", home1); !errors.Is(err, auth.ErrBadCredentials) {
		t.Errorf("after the right one: %v", err)
	}
}

// A fleet that shares a name and is back at once gets in: those who come while the first
// are being judged wait for what these are told. If it is that they are wrong, so it is for
// the others. What waits is bounded.
func TestFleetOfOneName(t *testing.T) {
	for _, c := range []struct {
		name, password string
		pad            int // bytes more of a password
		asked          int
		in, wrong, off int // that are told so
	}{
		{"right", "right", 0, 1000, 1000, 0, 0},
		{"wrong", "wrong", 0, 5, 0, 5, 995},
		{"nobody knows", "busy", 0, 1000, 0, 0, 0},
		{"more than may wait", "wrong", 10_000, 5, 0, 5, 995},
	} {
		d, _ := open(Options{FailedLogins: 5, FailedLoginsPerAddress: 600, MaxBackOff: time.Minute})
		known := &checked{wait: true}
		l := NewLogins(d, known)
		answers := make(map[error]int)
		told := 0
		atOnce := 0
		for range 1000 {
			_, err := l.Authenticate(asUser("fleet", c.password+strings.Repeat("x", c.pad), home1), func(_ *auth.Principal, err error) {
				answers[err]++
				told++
			})
			if !errors.Is(err, auth.ErrLater) {
				answers[err]++
				told++
				atOnce++
			}
		}
		if known.asked != 5 || (atOnce > 0) != (c.pad > 0) {
			t.Errorf("%s: %d asked, %d answered at once", c.name, known.asked, atOnce)
		}
		if c.name == "right" {
			known.wait = false // what is known to be right is known at once
		}
		for range 1000 {
			known.tell()
		}
		if known.asked != c.asked || told != 1000 || answers[nil] != c.in || answers[auth.ErrBadCredentials] != c.wrong || answers[auth.ErrTooOften] != c.off {
			t.Errorf("%s: %d asked, answers %v", c.name, known.asked, answers)
		}
		if w := &d.waiting.mu; len(w.lines) != 0 || w.bytes != 0 {
			t.Errorf("%s: %d lines of %d bytes wait still", c.name, len(w.lines), w.bytes)
		}
	}
}

// Nobody waits for an answer that has been given: logins come and are judged by goroutines
// of their own, few at a time, so that no other rescues one that was forgotten.
func TestNobodyWaitsInVain(t *testing.T) {
	d, _ := open(Options{FailedLogins: 1, MaxBackOff: time.Minute})
	l := NewLogins(d, elsewhere{})
	for round := range 20_000 {
		logins := 2 + round%3
		told := make(chan error, logins)
		for range logins {
			go func() {
				if _, err := l.Authenticate(asUser("fleet", "right", home1), func(_ *auth.Principal, err error) { told <- err }); !errors.Is(err, auth.ErrLater) {
					told <- err
				}
			}()
		}
		for range logins {
			select {
			case err := <-told:
				if err != nil {
					t.Fatal(err)
				}
			case <-time.After(time.Minute):
				t.Fatalf("round %d: one waits still", round)
			}
		}
	}
}

// elsewhere lets everybody in, from another goroutine.
type elsewhere struct{}

func (elsewhere) Authenticate(_ auth.Request, later func(*auth.Principal, error)) (*auth.Principal, error) {
	go later(nil, nil)
	return nil, auth.ErrLater
}

// A storm of wrong passwords from one address, whoever's, gets as many checked as may
// fail, and no more under way than a few; others do not feel it, nor does it hold off a
// fleet there whose passwords are right.
func TestStormFromOneAddress(t *testing.T) {
	d, clock := open(Options{FailedLogins: 5, FailedLoginsPerAddress: 100, MaxBackOff: time.Minute})
	known := &checked{wait: true}
	l := NewLogins(d, known)
	refused := 0
	try := func(k int, password string) {
		if _, err := l.Authenticate(asUser("user"+string(rune('a'+k)), password, home1), func(*auth.Principal, error) {}); errors.Is(err, auth.ErrTooOften) {
			refused++
		}
	}
	for k := range 2000 {
		try(k, "wrong")
	}
	if known.asked != maxLogins || refused != 2000-maxLogins {
		t.Errorf("%d checked, %d refused", known.asked, refused)
	}
	known.tell()
	for k := range 2000 {
		try(k+2000, "wrong")
	}
	known.tell()
	if known.asked != 100 {
		t.Errorf("%d checked in a minute", known.asked)
	}
	known.wait = false
	if err := login(l, "ann", "right", home2); err != nil {
		t.Errorf("from elsewhere: %v", err)
	}
	clock.pass(time.Minute)
	for range 10_000 {
		if err := login(l, "fleet", "right", home1); err != nil {
			t.Fatalf("a fleet of one address: %v", err)
		}
	}
}

// Devices of one address whose password is old, and that do not give up, leave room for
// the others there.
func TestOldPasswordsBesideGoodOnes(t *testing.T) {
	d, clock := open(Options{FailedLogins: 5, FailedLoginsPerAddress: 600, MaxBackOff: 5 * time.Minute})
	l := NewLogins(d, &checked{})
	for k := range 3600 {
		clock.pass(time.Second)
		for stale := range 50 {
			_ = login(l, "stale"+string(rune('a'+stale)), "wrong", home1)
		}
		if err := login(l, "ann", "right", home1); err != nil {
			t.Fatalf("after %d s: %v", k, err)
		}
	}
	clock.pass(time.Hour)
	if err := login(l, "ann", "right", home1); err != nil {
		t.Error(err)
	}
	for i := range d.addresses.shards {
		if n := len(d.addresses.shards[i].mu.entries); n > 0 {
			t.Errorf("%d addresses are remembered", n)
		}
	}
}

// What says nothing of a password does not count, and a trusted address is not held off.
func TestLoginsThatDoNotCount(t *testing.T) {
	d, _ := open(Options{FailedLogins: 1, FailedLoginsPerAddress: 1, MaxBackOff: time.Minute, Trusted: []netip.Prefix{netip.PrefixFrom(home2, 32)}})
	l := NewLogins(d, &checked{})
	for range 100 {
		for _, c := range []struct {
			user, password string
			from           netip.Addr
			want           error
		}{
			{"ann", "busy", home1, auth.ErrBusy}, {"", "", home1, auth.ErrBadCredentials}, {"ann", "wrong", home2, auth.ErrBadCredentials},
		} {
			if err := login(l, c.user, c.password, c.from); !errors.Is(err, c.want) {
				t.Fatalf("user %q, password %q from %v: %v", c.user, c.password, c.from, err)
			}
		}
	}
	if err := login(l, "ann", "right", home1); err != nil {
		t.Error(err)
	}
}

// Without room for one more pair its address alone is counted, and nobody is held off for
// what somebody else does.
func TestPairsWithoutRoom(t *testing.T) {
	d, _ := open(Options{FailedLogins: 1, FailedLoginsPerAddress: 1000, MaxBackOff: time.Minute})
	d.pairs = newTable(tableShards, d.forgets)
	l := NewLogins(d, &checked{})
	for k := range 1000 {
		_ = login(l, "user"+string(rune('a'+k)), "wrong", home1)
	}
	if n := d.Stats().Remembered.Logins; n > tableShards {
		t.Errorf("%d are remembered", n)
	}
	if err := login(l, "ann", "right", home1); !errors.Is(err, auth.ErrTooOften) {
		t.Errorf("from the address: %v", err)
	}
	if err := login(l, "ann", "right", home2); err != nil {
		t.Errorf("from elsewhere: %v", err)
	}
}

// A login that its address is held off from has not begun for its user either.
func TestPairIsFreeOfWhatItsAddressIsRefused(t *testing.T) {
	d, clock := open(Options{FailedLogins: 1, FailedLoginsPerAddress: 1, MaxBackOff: time.Second})
	l := NewLogins(d, &checked{})
	if err := login(l, "bob", "wrong", home1); !errors.Is(err, auth.ErrBadCredentials) {
		t.Fatal(err)
	}
	for range 10 {
		if err := login(l, "ann", "right", home1); !errors.Is(err, auth.ErrTooOften) {
			t.Fatalf("while the address is held off: %v", err)
		}
	}
	if s := d.Stats(); s.Remembered.Logins != 1 || s.Refused[AddressBackOff] != 10 || s.Refused[BackOff] != 0 {
		t.Errorf("%+v", s)
	}
	clock.pass(time.Minute)
	if err := login(l, "ann", "right", home1); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}
