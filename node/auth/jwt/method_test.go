package jwt

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"dunlin/node/auth"
	"dunlin/proto/mqtt"
)

// prove has an exchange take what a client says, and returns the last answer.
func prove(t *testing.T, x auth.Exchange, said ...string) (reply auth.Reply, err error) {
	t.Helper()
	type answer struct {
		auth.Reply
		error
	}
	for _, s := range said {
		if reply.Done || err != nil {
			t.Fatalf("it was over before %.20q: %+v, %v", s, reply, err)
		}
		answers := make(chan answer, 1)
		data := []byte(s)
		reply, err = x.Step(data, func(reply auth.Reply, err error) { answers <- answer{reply, err} })
		clear(data) // it was borrowed
		if errors.Is(err, auth.ErrLater) {
			a := <-answers
			reply, err = a.Reply, a.error
		}
	}
	return reply, err
}

// A token is judged as one that is a password, whether it comes with CONNECT or when it is
// asked for; and again when its client comes with another one.
func TestMethod(t *testing.T) {
	key := one("P-256")
	a := trusting(t, Claims{SameUser: true}, map[string]any{"k": key.public})
	t.Cleanup(a.Close)
	m := NewMethod("JWT", a)
	if m.Name() != "JWT" {
		t.Errorf("its name is %q", m.Name())
	}
	token := func(change object) string { return sign(t, jose.ES256, key.private, "k", claims(change)) }
	good, ann := token(nil), &mqtt.Connect{HasUsername: true, Username: []byte("ann")}
	was := auth.NewPrincipal("ann")
	for name, c := range map[string]struct {
		r    auth.Request
		said []string
		want error
	}{
		"with CONNECT":            {auth.Request{Connect: ann}, []string{good}, nil},
		"when it is asked for":    {auth.Request{Connect: ann}, []string{"", good}, nil},
		"never":                   {auth.Request{Connect: ann}, []string{"", ""}, auth.ErrBadCredentials},
		"no token":                {auth.Request{Connect: ann}, []string{"secret"}, auth.ErrBadCredentials},
		"too large":               {auth.Request{Connect: ann}, []string{good + string(bytes.Repeat([]byte("x"), MaxToken))}, auth.ErrBadCredentials},
		"over":                    {auth.Request{Connect: ann}, []string{token(object{"exp": start.Unix()})}, auth.ErrBadCredentials},
		"of another":              {auth.Request{Connect: ann}, []string{token(object{"sub": "bob"})}, auth.ErrBadCredentials},
		"of whom it will not say": {auth.Request{Connect: &mqtt.Connect{}}, []string{good}, auth.ErrBadCredentials},
		"again":                   {auth.Request{Was: was}, []string{good}, nil},
		"again, of another":       {auth.Request{Was: was}, []string{token(object{"sub": "bob"})}, auth.ErrBadCredentials},
		"again, without":          {auth.Request{Was: was}, []string{""}, auth.ErrBadCredentials},
	} {
		x := m.Begin(c.r)
		reply, err := prove(t, x, c.said...)
		if !errors.Is(err, c.want) || reply.Done != (c.want == nil) || len(reply.Data) > 0 {
			t.Errorf("%s: %+v, %v", name, reply, err)
		}
		if c.want == nil && (reply.Who.User() != "ann" || !reply.Who.Expires().Equal(start.Add(time.Hour))) {
			t.Errorf("%s: it is %q until %v", name, reply.Who.User(), reply.Who.Expires())
		}
		if c.want != nil && reply.Who != nil {
			t.Errorf("%s: it is %q", name, reply.Who.User())
		}
		if user, said := x.User(); !said || user != "ann" && name != "of whom it will not say" {
			t.Errorf("%s: it says that it is %q, %v", name, user, said)
		}
	}
	a.Close()
	if _, err := prove(t, m.Begin(auth.Request{Connect: ann}), good); !errors.Is(err, auth.ErrBusy) {
		t.Errorf("after the end: %v", err)
	}
}
