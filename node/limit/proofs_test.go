package limit

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"dunlin/node/auth"
)

// told is a method by which a client says who it is, something that is asked again, and a
// password, each by itself; the answer comes at once or when the test lets it.
type told struct {
	checked
	closed bool
}

func (*told) Name() string { return "TOLD" }

func (m *told) Begin(auth.Request) auth.Exchange {
	if m.closed {
		return nil
	}
	return &telling{told: m}
}

type telling struct {
	*told
	said []string
}

func (x *telling) User() (string, bool) {
	if len(x.said) == 0 {
		return "", false
	}
	return x.said[0], true
}

func (x *telling) Step(data []byte, later func(auth.Reply, error)) (auth.Reply, error) {
	if x.said = append(x.said, string(data)); len(x.said) < 3 {
		return auth.Reply{}, nil
	}
	_, err := x.Authenticate(asUser(x.said[0], x.said[2], netip.Addr{}), func(who *auth.Principal, err error) { later(auth.Reply{Done: err == nil}, err) })
	return auth.Reply{Done: err == nil}, err
}

// prove is a login whose last answer comes at once, or goes to later.
func prove(m auth.Method, user, password string, from netip.Addr, later func(auth.Reply, error)) (err error) {
	x := m.Begin(auth.Request{Remote: netip.AddrPortFrom(from, 9)})
	for _, said := range []string{user, "something", password} {
		if _, err = x.Step([]byte(said), later); err != nil {
			return err
		}
	}
	return nil
}

// Case 44: who is wrong too often is held off, whether he shows the password or proves to
// know it; what he is asked on the way is neither wrong nor right.
func TestProofs(t *testing.T) {
	for _, slow := range []bool{false, true} {
		d, clock := open(Options{FailedLogins: 3, MaxBackOff: time.Minute})
		method := &told{}
		method.wait = slow
		p, l := NewProofs(d, method), NewLogins(d, &checked{})
		try := func(password string, want error) {
			t.Helper()
			var err error
			answer := func(_ auth.Reply, e error) { err = e }
			if now := prove(p, "ann", password, home1, answer); !errors.Is(now, auth.ErrLater) {
				err = now
			}
			method.tell()
			if !errors.Is(err, want) {
				t.Errorf("slow %v: %v instead of %v", slow, err, want)
			}
		}
		try("wrong", auth.ErrBadCredentials)
		try("right", nil)
		for range 2 {
			try("wrong", auth.ErrBadCredentials)
			try("busy", auth.ErrBusy)
		}
		if err := login(l, "ann", "wrong", home1); !errors.Is(err, auth.ErrBadCredentials) { // the third
			t.Error(err)
		}
		asked := method.asked
		try("right", auth.ErrTooOften)
		if method.asked != asked {
			t.Error("the proof was looked at")
		}
		if err := login(l, "ann", "right", home1); !errors.Is(err, auth.ErrTooOften) {
			t.Error(err)
		}
		clock.pass(time.Second)
		try("right", nil)
		if n := d.Stats().Remembered.Logins; n != 0 {
			t.Errorf("%d are remembered", n)
		}
		// Who goes on the way leaves nothing.
		x := p.Begin(auth.Request{Remote: netip.AddrPortFrom(home1, 9)})
		for _, said := range []string{"ann", "something"} {
			if _, err := x.Step([]byte(said), nil); err != nil {
				t.Error(err)
			}
		}
		if n := d.Stats().Remembered.Logins; n != 0 {
			t.Errorf("%d are remembered", n)
		}
	}
	d, _ := open(Options{FailedLogins: 3, MaxBackOff: time.Minute})
	if x := NewProofs(d, &told{closed: true}).Begin(auth.Request{}); x != nil {
		t.Error("a method is offered that there is not")
	}
}

// Logins by a method count for their address, while one is judged and when it was wrong, and
// before anybody knows who it is to be as well: users may be many.
func TestProofsOfAnAddress(t *testing.T) {
	d, clock := open(Options{FailedLoginsPerAddress: 5})
	method := &told{}
	p := NewProofs(d, method)
	greet := func(from netip.Addr) error {
		_, err := p.Begin(auth.Request{Remote: netip.AddrPortFrom(from, 9)}).Step([]byte("eve"), nil)
		return err
	}
	expect := func(what string, want error) {
		t.Helper()
		if err := greet(home1); !errors.Is(err, want) {
			t.Errorf("%s: %v instead of %v", what, err, want)
		}
		if err := greet(home2); err != nil {
			t.Errorf("%s: from elsewhere %v", what, err)
		}
	}
	for i := range 5 {
		expect("some are free", nil)
		if err := prove(p, string(rune('a'+i)), "wrong", home1, nil); !errors.Is(err, auth.ErrBadCredentials) {
			t.Error(err)
		}
	}
	expect("the minute is full", auth.ErrTooOften)
	clock.pass(time.Minute)
	method.wait = true
	for i := range 5 {
		expect("those under way are fewer", nil)
		if err := prove(p, string(rune('a'+i)), "busy", home1, func(auth.Reply, error) {}); !errors.Is(err, auth.ErrLater) {
			t.Error(err)
		}
	}
	expect("those under way may fail", auth.ErrTooOften)
	method.tell()
	expect("and did not", nil)
}
