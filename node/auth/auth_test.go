package auth

import (
	"errors"
	"slices"
	"testing"
	"time"
	"unsafe"

	"dunlin/proto/mqtt"
)

func TestPrincipal(t *testing.T) {
	for _, c := range []struct {
		who        *Principal
		user, cert string
	}{
		{nil, "", ""}, {NewPrincipal("u"), "u", ""}, {NewPrincipal("cu"), "cu", ""}, {NewCertified("u"), "u", "u"},
	} {
		id := Identity{ClientID: "x", Principal: c.who}
		if id.User() != c.user || id.Certificate() != c.cert {
			t.Errorf("user %q, certificate %q, want %q, %q", id.User(), id.Certificate(), c.user, c.cert)
		}
	}
	when := time.Unix(1e9, 0)
	for _, who := range []*Principal{NewPrincipal("u"), NewCertified("u")} {
		more := who.With(Extras{Groups: []string{"b", "a", "b"}, Expires: when}).With(Extras{Groups: []string{"d", "c", "d"}, Expires: when})
		if more.User() != "u" || more.Certificate() != who.Certificate() || !slices.Equal(more.Groups(), []string{"c", "d"}) ||
			!more.Expires().Equal(when) || more.Rights() != nil {
			t.Errorf("%+v", more)
		}
		if who.Groups() != nil || !who.Expires().IsZero() || who.Rights() != nil {
			t.Error("the first has changed")
		}
	}
	if nobody := (*Principal)(nil); nobody.Groups() != nil || !nobody.Expires().IsZero() || nobody.Rights() != nil {
		t.Error("nobody has extras")
	}
	// Each connection holds one, and a million of them may be of different users.
	if size := unsafe.Sizeof(Identity{}); size > 24 {
		t.Errorf("an identity has %d bytes", size)
	}
	if size := unsafe.Sizeof(Principal{}); size > 16 {
		t.Errorf("a principal has %d bytes", size)
	}
}

// scripted answers as it was told, at once or later, and remembers whom it was asked of.
type scripted struct {
	who   *Principal
	err   error
	later bool
	asked []string
	give  func()
}

func (s *scripted) Authenticate(r Request, later func(*Principal, error)) (*Principal, error) {
	s.asked = append(s.asked, string(r.Connect.Username))
	if s.later {
		s.give = func() { later(s.who, s.err) }
		return nil, ErrLater
	}
	return s.who, s.err
}

func TestChain(t *testing.T) {
	bob := NewPrincipal("bob")
	down := errors.New("down")
	allow, deny, pass := scripted{who: bob}, scripted{err: ErrBadCredentials}, scripted{err: ErrPass}
	broken := scripted{err: down}
	for name, c := range map[string]struct {
		chain []scripted
		user  string
		who   *Principal
		err   error
		asked int
	}{
		"nobody asked":        {nil, "bob", nil, ErrBadCredentials, 0},
		"nobody knows":        {[]scripted{pass, pass}, "bob", nil, ErrBadCredentials, 2},
		"nobody knows nobody": {[]scripted{pass, pass}, "", nil, ErrRefused, 2},
		"first allows":        {[]scripted{allow, deny}, "bob", bob, nil, 1},
		"first denies":        {[]scripted{deny, allow}, "bob", nil, ErrBadCredentials, 1},
		"first is broken":     {[]scripted{broken, allow}, "bob", nil, down, 1},
		"second allows":       {[]scripted{pass, allow, deny}, "bob", bob, nil, 2},
		"third denies":        {[]scripted{pass, pass, deny}, "bob", nil, ErrBadCredentials, 3},
	} {
		for late := range 1 << len(c.chain) { // which of them answer later
			var chain Chain
			var members []*scripted
			for i, s := range c.chain {
				s.later = late>>i&1 == 1
				members = append(members, &s)
				chain = append(chain, &s)
			}
			type answer struct {
				who *Principal
				err error
			}
			var answers []answer
			p := &mqtt.Connect{HasUsername: c.user != "", Username: []byte(c.user)}
			who, err := chain.Authenticate(Request{Connect: p}, func(who *Principal, err error) {
				answers = append(answers, answer{who, err})
			})
			clear(p.Username) // it was borrowed
			if !errors.Is(err, ErrLater) {
				answers = append(answers, answer{who, err})
			}
			asked := 0
			for _, s := range members {
				if s.give != nil {
					s.give()
				}
				for _, user := range s.asked {
					if asked++; user != c.user {
						t.Errorf("%s, %b late: asked of %q", name, late, user)
					}
				}
			}
			if len(answers) != 1 || answers[0].who != c.who || !errors.Is(answers[0].err, c.err) || asked != c.asked {
				t.Errorf("%s, %b late: %v, %d asked", name, late, answers, asked)
			}
		}
	}
}
