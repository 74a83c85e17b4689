package broker

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"dunlin/node/auth"
	"dunlin/node/limit"
	"dunlin/proto/mqtt"
)

// door bans those who are in it, by user name at the door and by client identifier behind it.
type door struct{ Admission }

func (door) Greet(user, _ []byte) limit.Refusal {
	if string(user) == "eve" {
		return limit.Banned
	}
	return limit.Admitted
}

func (door) Enter(_, clientID string, _ netip.Addr) limit.Refusal {
	if clientID == "evil" {
		return limit.Banned
	}
	return limit.TooFast
}

func (door) Depart(string, netip.Addr, limit.Refusal) {}

// Who is banned is told of too; who comes too often is not.
func TestBannedIsDenied(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var told []string
		c := newCell(t, 1, 1, func(o *Options) {
			o.Admission = door{}
			o.Denied = func(d Denial) { told = append(told, fmt.Sprint(d.ClientID, " ", d.User, " ", d.Why)) }
		})
		for _, who := range [][2]string{{"x", "eve"}, {"evil", "ann"}, {"y", "ann"}} {
			conn := c.dial(0, 0)
			conn.send(&mqtt.Connect{Version: mqtt.V5, CleanStart: true, ClientID: []byte(who[0]), HasUsername: true, Username: []byte(who[1])})
			conn.one(mqtt.CONNACK)
		}
		if want := []string{"x eve banned", "evil ann banned"}; !slices.Equal(told, want) {
			t.Errorf("told %q, want %q", told, want)
		}
	})
}

// Who is refused for want of credentials or rights is told of with name, address and target; who
// errs in the protocol, or comes too often, is not.
func TestDenied(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		a := &scriptedAuth{err: auth.ErrBadCredentials}
		var told []string
		denied, err := auth.NewDenied([]string{"secret/#"})
		if err != nil {
			t.Fatal(err)
		}
		c := newCell(t, 1, 1, func(o *Options) {
			o.Auth, o.Access = a, denied
			o.Denied = func(d Denial) {
				told = append(told, fmt.Sprint(d.What, " ", d.Remote, " ", d.ClientID, " ", d.User, " ", string(d.Target), " ", d.Why))
			}
		})
		says := func(what string, want ...string) {
			t.Helper()
			if !slices.Equal(told, want) {
				t.Errorf("%s: told %q, want %q", what, told, want)
			}
			told = nil
		}
		try := func() *testConn {
			conn := c.dial(0, 0)
			conn.send(&mqtt.Connect{
				Version: mqtt.V5, CleanStart: true, ClientID: []byte("x"), HasUsername: true, Username: []byte("ann"), HasPassword: true, Password: []byte("hush"),
			})
			return conn
		}
		try()
		says("wrong password", "0 127.0.0.1:9 x ann  bad user name or password")
		a.err = auth.ErrRefused
		try()
		says("refused", "0 127.0.0.1:9 x ann  not let in")
		a.err = auth.ErrBusy
		try()
		says("busy")
		a.who, a.err = auth.NewPrincipal("ann"), nil
		conn := try()
		conn.one(mqtt.CONNACK)
		conn.send(&mqtt.Subscribe{PacketID: 1, Filters: []mqtt.Subscription{{Filter: []byte("secret/a")}, {Filter: []byte("a")}, {Filter: []byte("a+")}}})
		conn.one(mqtt.SUBACK)
		says("subscribe", "2 127.0.0.1:9 x ann secret/a not authorized")
		conn.send(&mqtt.Publish{Topic: []byte("$SYS/broker"), QoS: 1, PacketID: 2})
		conn.one(mqtt.PUBACK)
		says("publish", "1 127.0.0.1:9 x ann $SYS/broker not authorized")
	})
}
