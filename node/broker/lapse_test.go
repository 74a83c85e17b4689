package broker

import (
	"fmt"
	"testing"
	"time"

	"dunlin/node/auth"
	"dunlin/proto/mqtt"
	"dunlin/session"
)

// passes is an authenticator whose word is good for a while; 0: always.
type passes struct{ left time.Duration }

func (p *passes) Authenticate(r auth.Request, _ func(*auth.Principal, error)) (*auth.Principal, error) {
	return p.principal(string(r.Connect.ClientID)), nil
}

func (p *passes) principal(user string) *auth.Principal {
	who := auth.NewPrincipal(user)
	if p.left != 0 {
		who = who.With(auth.Extras{Expires: time.Now().Add(p.left)})
	}
	return who
}

// A connection ends with what let it in, neither sooner nor much later, and its session
// does not.
func TestConnectionsLapse(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		p := &passes{}
		c := newCell(t, 1, 1, func(o *Options) { o.Auth = p })
		p.left = 20 * time.Second
		brief := c.persistent(0, 0, "brief")
		brief.subscribe("t", 1)
		old := c.dial(0, 0)
		old.version = mqtt.V311
		old.send(&mqtt.Connect{Version: mqtt.V311, CleanStart: true, ClientID: []byte("old")})
		old.one(mqtt.CONNACK)
		p.left = 35 * time.Second
		longer := c.connect(0, 0, "longer")
		p.left = 0
		always := c.connect(0, 0, "always")
		c.sleep(19 * time.Second)
		brief.none()
		old.none()
		c.sleep(3 * time.Second)
		if d := brief.one(mqtt.DISCONNECT).Disconnect; d.Reason != mqtt.MaximumConnectTime || !brief.closed {
			t.Errorf("DISCONNECT %v, closed %v", d.Reason, brief.closed)
		}
		if old.none(); !old.closed {
			t.Error("the client of 3.1.1 is still there")
		}
		always.publish("t", "meanwhile", 1, 1)
		always.one(mqtt.PUBACK)
		brief.none() // deliveries stop with the connection
		p.left = time.Hour
		back := c.dial(0, 0)
		back.send(&mqtt.Connect{Version: mqtt.V5, ClientID: []byte("brief"), SessionExpiry: 100})
		if ps := back.recv(); len(ps) != 2 || !ps[0].Connack.SessionPresent || string(ps[1].Publish.Payload) != "meanwhile" {
			t.Errorf("back again it got %v", kinds(ps))
		}
		longer.none()
		c.sleep(15 * time.Second)
		if longer.one(mqtt.DISCONNECT); always.closed || back.closed {
			t.Error("who has time left was ended")
		}
		if n := c.nodes[0].b.Stats().Lapsed; n != 3 {
			t.Errorf("%d counted", n)
		}
	})
}

// Who has proved anew who it is goes on for as long as that is good, longer or shorter.
func TestTrustedAnew(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		p := &passes{left: 20 * time.Second}
		c := newCell(t, 1, 1, func(o *Options) { o.Auth = p })
		var conns []*testConn
		for i := range 3 {
			conns = append(conns, c.connect(0, 0, fmt.Sprint("c", i)))
		}
		w := c.nodes[0].b.workers[0]
		for i, left := range []time.Duration{time.Minute, 5 * time.Second, 0} {
			p.left = left
			w.trust(w.conn(conns[i].id), p.principal(fmt.Sprint("c", i)))
		}
		for _, step := range []struct {
			after  time.Duration
			closed [3]bool
		}{
			{4 * time.Second, [3]bool{}},
			{3 * time.Second, [3]bool{false, true, false}},
			{50 * time.Second, [3]bool{false, true, false}},
			{5 * time.Second, [3]bool{true, true, false}},
			{10 * time.Minute, [3]bool{true, true, false}},
		} {
			c.sleep(step.after)
			for i, conn := range conns {
				if conn.closed != step.closed[i] {
					t.Errorf("%v later: connection %d: closed %v", step.after, i, conn.closed)
				}
			}
		}
	})
}

// A crowd whose time is over at once ends within a few turns, each of them bounded.
func TestManyLapseAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		p := &passes{left: time.Minute}
		c := newCell(t, 1, 1, func(o *Options) { o.Auth = p })
		const crowd = turnLapses + slabChunk/2
		for i := range crowd {
			c.connect(0, 0, fmt.Sprint("c", i))
		}
		time.Sleep(62 * time.Second)
		w := c.nodes[0].b.workers[0]
		w.Tick()
		if n := w.counters.Lapsed; n != turnLapses || !w.lapsing {
			t.Errorf("%d ended in the first turn", n)
		}
		c.settle() // further turns, without a tick
		if n := w.counters.Lapsed; n != crowd || w.lapsing {
			t.Errorf("%d ended", n)
		}
		w.Tick()
		for k, at := range w.lapses {
			if at != 0 {
				t.Errorf("chunk %d is looked at again", k)
			}
		}
	})
}

func TestLapseAfter(t *testing.T) {
	const s = session.Time(time.Second)
	for _, c := range []struct {
		now  session.Time
		left time.Duration
		want uint32
	}{
		{0, 0, 1}, {0, 1, 1}, {5 * s, 0, 5}, {5 * s, -time.Hour, 5}, {5*s + 1, time.Second, 7}, {5 * s, time.Second, 6},
		{5 * s, 1<<63 - 1, uint32(5 + farthest/time.Second)},
	} {
		if got := lapseAfter(c.now, c.left); got != c.want {
			t.Errorf("after %v and %v: %d, want %d", c.now, c.left, got, c.want)
		}
	}
}
