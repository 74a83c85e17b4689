package broker

import (
	"net/netip"
	"testing"
	"time"

	"dunlin/node/auth"
	"dunlin/node/limit"
	"dunlin/node/listen"
	"dunlin/proto/mqtt"
)

// admitting is a cell of one broker with a Door.
func admitting(t *testing.T, o limit.Options) (*cell, *limit.Door) {
	t.Helper()
	start := time.Now()
	o.Clock = func() time.Duration { return time.Since(start) }
	var d *limit.Door
	c := newCell(t, 1, 2, func(b *Options) {
		o.Log = b.Log
		d = limit.NewDoor(o)
		b.Admission = d
	})
	return c, d
}

// arrive is a connection that comes through the door, as the loops do it; nil: it is not let in.
func (c *cell) arrive(d *limit.Door, from string) *testConn {
	info := listen.Info{Listener: "mqtt", Remote: netip.AddrPortFrom(netip.MustParseAddr(from), 9)}
	why, in := d.Arrive(info.Listener, info.Remote.Addr())
	if !in {
		return nil
	}
	info.Note = uint8(why)
	return c.dialAs(0, 0, info)
}

// greet connects and returns the answer.
func (c *testConn) greet(v mqtt.Version, id, user string) mqtt.Reason {
	c.cell.t.Helper()
	c.version = v
	c.send(&mqtt.Connect{Version: v, CleanStart: true, ClientID: []byte(id), HasUsername: user != "", Username: []byte(user)})
	return c.one(mqtt.CONNACK).Connack.Reason
}

// Each refusal has its answer, and whoever is refused leaves nothing behind.
func TestAnswersOfAdmission(t *testing.T) {
	for why := limit.Admitted + 1; int(why) < limit.Refusals; why++ {
		want := map[limit.Refusal]mqtt.Reason{
			limit.NodeFull: mqtt.QuotaExceeded, limit.ListenerFull: mqtt.QuotaExceeded, limit.AddressFull: mqtt.QuotaExceeded, limit.UserFull: mqtt.QuotaExceeded,
			limit.Banned: mqtt.Banned, limit.Flapping: mqtt.Banned, limit.Pressed: mqtt.ServerBusy,
		}[why]
		if want == 0 {
			want = mqtt.ConnectionRateExceeded
		}
		if got := answerTo(why); got != want {
			t.Errorf("%v: CONNACK %v", why, got)
		}
		if _, ok := answerTo(why).ReturnCode(); !ok {
			t.Errorf("%v: 3.1.1 has no answer", why)
		}
	}
	inBubble(t, func(t *testing.T) {
		c, d := admitting(t, limit.Options{MaxConnections: 1})
		first := c.arrive(d, "192.0.2.1")
		if r := first.greet(mqtt.V5, "a", ""); r != mqtt.Success {
			t.Fatal(r)
		}
		for version, want := range map[mqtt.Version]mqtt.Reason{mqtt.V5: mqtt.QuotaExceeded, mqtt.V311: mqtt.ServerUnavailable} {
			conn := c.arrive(d, "192.0.2.1")
			if conn.idle > turnedTimeout {
				t.Errorf("who is refused may be silent for %v", conn.idle)
			}
			if r := conn.greet(version, "b", ""); r != want || !conn.closed {
				t.Errorf("version %v: CONNACK %v, closed %v", version, r, conn.closed)
			}
		}
		first.hangUp()
		if s := d.Stats(); s.Connections != 0 || s.Refused[limit.NodeFull] != 2 {
			t.Errorf("in the end %+v", s)
		}
		if r := c.arrive(d, "192.0.2.1").greet(mqtt.V5, "c", ""); r != mqtt.Success {
			t.Errorf("when there is room again: %v", r)
		}
	})
}

// A user's clients count while they are connected, however they end, and those that are
// refused for another reason do not.
func TestConnectionsOfAUser(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c, d := admitting(t, limit.Options{ConnectionsPerUser: 2})
		a := c.arrive(d, "192.0.2.1")
		b := c.arrive(d, "192.0.2.2")
		for id, conn := range map[string]*testConn{"a": a, "b": b} {
			if r := conn.greet(mqtt.V5, id, "ann"); r != mqtt.Success {
				t.Fatal(r)
			}
		}
		if r := c.arrive(d, "192.0.2.3").greet(mqtt.V5, "c", "ann"); r != mqtt.QuotaExceeded {
			t.Errorf("a third: %v", r)
		}
		if r := c.arrive(d, "192.0.2.3").greet(mqtt.V5, "c", "bob"); r != mqtt.Success {
			t.Errorf("another user: %v", r)
		}
		if r := c.arrive(d, "192.0.2.3").greet(mqtt.V5, "d", ""); r != mqtt.Success {
			t.Errorf("nobody: %v", r)
		}
		a.send(&mqtt.Disconnect{})
		b.hangUp()
		for _, id := range []string{"a", "a2"} {
			if r := c.arrive(d, "192.0.2.1").greet(mqtt.V5, id, "ann"); r != mqtt.Success {
				t.Errorf("%s when there is room again: %v", id, r)
			}
		}
	})
}

// A ban holds at once for who is there, on every loop, and who is on the way in; nobody
// else feels it. DISCONNECT has no 0x8A: a client is told 0x98.
func TestBanish(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		a := &scriptedAuth{}
		var d *limit.Door
		c := newCell(t, 1, 2, func(o *Options) {
			d = limit.NewDoor(limit.Options{Clock: func() time.Duration { return 1 }, Log: o.Log})
			o.Admission, o.Auth = d, a
		})
		join := func(loop int, id, user, from string) *testConn {
			t.Helper()
			a.who = nil
			if user != "" {
				a.who = auth.NewPrincipal(user)
			}
			info := listen.Info{Listener: "mqtt", Remote: netip.AddrPortFrom(netip.MustParseAddr(from), 9)}
			conn := c.dialAs(0, loop, info)
			if id != "" {
				conn.send(&mqtt.Connect{Version: mqtt.V5, CleanStart: true, ClientID: []byte(id)})
			}
			return conn
		}
		type one struct {
			conn  *testConn
			going bool
		}
		var all []one
		for loop := range 2 {
			all = append(all,
				one{join(loop, "evil", "ann", "192.0.2.1"), true}, one{join(loop, "x"+string(rune('a'+loop)), "eve", "192.0.2.1"), true},
				one{join(loop, "y"+string(rune('a'+loop)), "ann", "198.51.100.7"), true}, one{join(loop, "z"+string(rune('a'+loop)), "evil", "192.0.2.1"), false},
				one{join(loop, "eve"+string(rune('a'+loop)), "", "192.0.2.1"), false},
				one{join(loop, "", "", "198.51.100.7"), true}, one{join(loop, "", "", "192.0.2.1"), false})
		}
		all = all[1:] // the second evil has taken over
		for _, x := range all {
			x.conn.recv()
		}
		a.err = auth.ErrLater
		waiting := join(0, "waits", "", "198.51.100.9")
		slow := join(0, "slow", "", "192.0.2.1")
		slowAnswer := a.later
		if err := d.SetBans([]limit.Ban{
			{Kind: limit.BanClient, Value: "evil"}, {Kind: limit.BanUser, Value: "eve"}, {Kind: limit.BanAddress, Value: "198.51.100.0/24"},
		}, time.Now); err != nil {
			t.Fatal(err)
		}
		c.nodes[0].b.Banish(d.IsBanned)
		c.settle()
		for k, x := range all {
			ps := x.conn.recv()
			if x.conn.closed != x.going {
				t.Errorf("connection %d: closed %v", k, x.conn.closed)
			}
			for _, p := range ps {
				if p.Kind != mqtt.DISCONNECT || p.Disconnect.Reason != mqtt.AdministrativeAction {
					t.Errorf("connection %d: %v %v", k, p.Kind, p.Disconnect.Reason)
				}
			}
		}
		if r := waiting.one(mqtt.CONNACK).Connack.Reason; r != mqtt.Banned || !waiting.closed {
			t.Errorf("who waits for the answer: %v", r)
		}
		slowAnswer(auth.NewPrincipal("eve"), nil) // whom nobody knew until now
		c.settle()
		if r := slow.one(mqtt.CONNACK).Connack.Reason; r != mqtt.Banned {
			t.Errorf("who is found to be banned: %v", r)
		}
		a.err = nil
		if r := join(1, "evil", "", "192.0.2.1").one(mqtt.CONNACK).Connack.Reason; r != mqtt.Banned {
			t.Errorf("who comes again: %v", r)
		}
	})
}

// Case 6: of too many connections without CONNECT those are closed that have been silent
// for longest, and no client is.
func TestSilentConnections(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCell(t, 1, 1, nil)
		first := c.connect(0, 0, "first")
		var early, late []*testConn
		for range 100 {
			early = append(early, c.dial(0, 0))
		}
		c.connect(0, 0, "between")
		for range maxSilent + slackSilent {
			late = append(late, c.dial(0, 0))
		}
		closed := func(conns []*testConn) (n int) {
			for _, conn := range conns {
				if conn.closed {
					n++
				}
			}
			return n
		}
		if n := closed(early); n != 100 {
			t.Errorf("%d of the oldest are closed", n)
		}
		open := len(late) - closed(late)
		if open > maxSilent+slackSilent || open < maxSilent {
			t.Errorf("%d are open", open)
		}
		if last := late[len(late)-1]; last.closed || first.closed {
			t.Error("a client, or the youngest, is closed")
		}
		c.settle()
		last := late[len(late)-1]
		last.send(&mqtt.Connect{Version: mqtt.V5, CleanStart: true, ClientID: []byte("last")})
		if r := last.one(mqtt.CONNACK).Connack.Reason; r != mqtt.Success {
			t.Errorf("CONNACK %v", r)
		}
	})
}
