package broker

import (
	"errors"
	"testing"

	"dunlin/node/auth"
	"dunlin/proto/mqtt"
	"dunlin/router"
)

// scriptedAuth answers as it was told, at once or by the call that it keeps.
type scriptedAuth struct {
	who   *auth.Principal
	err   error
	later func(*auth.Principal, error)
}

func (s *scriptedAuth) Authenticate(_ auth.Request, later func(*auth.Principal, error)) (*auth.Principal, error) {
	if errors.Is(s.err, auth.ErrLater) {
		s.later = later
	}
	return s.who, s.err
}

// Who is not let in is told why, whether the answer comes at once or later, and leaves
// nothing behind.
func TestRefusedClients(t *testing.T) {
	down := errors.New("down")
	for _, c := range []struct {
		name string
		err  error
		want mqtt.Reason
		v3   byte
	}{
		{"wrong password (case 44)", auth.ErrBadCredentials, mqtt.BadUsernameOrPassword, 4},
		{"not let in (case 51)", auth.ErrRefused, mqtt.NotAuthorized, 5},
		{"too many wait (case 37)", auth.ErrBusy, mqtt.ServerBusy, 3},
		{"nobody can say", down, mqtt.ServerUnavailable, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				a := &scriptedAuth{}
				n := newCell(t, 1, 1, func(o *Options) { o.Auth = a })
				for _, late := range []bool{false, true} {
					for _, version := range []mqtt.Version{mqtt.V311, mqtt.V5} {
						a.err = c.err
						if late {
							a.err = auth.ErrLater
						}
						conn := n.dial(0, 0)
						conn.version = version
						conn.send(&mqtt.Connect{Version: version, CleanStart: true, ClientID: []byte("x"), SessionExpiry: 9})
						if late {
							conn.none()
							a.later(nil, c.err)
							n.settle()
						}
						want := c.want
						if version != mqtt.V5 {
							want = mqtt.Reason(c.v3)
						}
						if r := conn.one(mqtt.CONNACK).Connack.Reason; r != want || !conn.closed {
							t.Errorf("late %v, version %v: CONNACK %v, closed %v", late, version, r, conn.closed)
						}
					}
				}
				store := n.nodes[0].store
				for sh := range router.ShardID(store.Shards()) {
					if left, _, _ := store.Sessions(sh, 0, 10); len(left) > 0 {
						t.Errorf("sessions %v", left)
					}
				}
			})
		})
	}
}

// Case 38: another user's session is not touched, and its client not disturbed.
func TestSessionOfAnotherUser(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		a := &scriptedAuth{who: auth.NewPrincipal("ann")}
		c := newCell(t, 1, 1, func(o *Options) { o.Auth = a })
		ann := c.persistent(0, 0, "x")
		ann.subscribe("t", 1)
		for _, thief := range []*auth.Principal{auth.NewPrincipal("bob"), nil} {
			a.who = thief
			for _, clean := range []bool{false, true} {
				conn := c.dial(0, 0)
				conn.send(&mqtt.Connect{Version: mqtt.V5, CleanStart: clean, ClientID: []byte("x"), SessionExpiry: 9})
				if r := conn.one(mqtt.CONNACK).Connack.Reason; r != mqtt.NotAuthorized {
					t.Errorf("user %q, clean start %v: CONNACK %v", thief.User(), clean, r)
				}
			}
		}
		a.who = nil
		pub := c.connect(0, 0, "pub")
		pub.publish("t", "hers", 1, 1)
		ann.one(mqtt.PUBLISH)
	})
}

// A client that goes while it is being authenticated, or is slow to be, gets in nowhere.
func TestAnswerComesTooLate(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		a := &scriptedAuth{err: auth.ErrLater}
		c := newCell(t, 1, 1, func(o *Options) { o.Auth = a })
		hello := &mqtt.Connect{Version: mqtt.V5, CleanStart: true, ClientID: []byte("x")}
		gone := c.dial(0, 0)
		gone.send(hello)
		gone.hangUp()
		a.later(auth.NewPrincipal("ann"), nil)
		c.settle()
		gone.none()
		slow := c.dial(0, 0)
		slow.send(hello)
		c.sleep(2*c.nodes[0].b.ConnectTimeout + trimTicks*250e6)
		if r := slow.one(mqtt.CONNACK).Connack.Reason; r != mqtt.ServerUnavailable {
			t.Errorf("CONNACK %v", r)
		}
		a.later(auth.NewPrincipal("ann"), nil)
		c.settle()
		slow.none()
	})
}
