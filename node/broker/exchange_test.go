package broker

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"dunlin/node/auth"
	"dunlin/proto/mqtt"
	"dunlin/router"
)

// quiz is a method by which a client is whom it says in answer to as many questions as
// there are; the errors that it may name are the answer to it, and the last word is the
// server's.
type quiz struct {
	questions int
	closed    bool
	slow      bool // it answers by the calls that it keeps
	kept      []func()
	asked     []auth.Request
	welcome   string        // of a client that is let in
	left      time.Duration // that it is good for; 0: for ever
	gone      string        // a user who is let in no more; ""
}

func (q *quiz) Name() string { return "QUIZ" }

func (q *quiz) Begin(r auth.Request) auth.Exchange {
	q.asked = append(q.asked, r)
	if q.closed {
		return nil
	}
	return &asking{quiz: q}
}

type asking struct {
	*quiz
	said []string
}

func (a *asking) User() (string, bool) {
	if len(a.said) > a.questions {
		return a.said[len(a.said)-1], true
	}
	return "", false
}

var quizErrors = map[string]error{
	"wrong": auth.ErrBadCredentials, "refuse": auth.ErrRefused, "busy": auth.ErrBusy, "often": auth.ErrTooOften, "down": errors.New("down"),
	"away": auth.ErrUnavailable,
}

func (a *asking) Step(data []byte, later func(auth.Reply, error)) (auth.Reply, error) {
	a.said = append(a.said, string(data))
	clear(data) // they are borrowed
	reply, err := auth.Reply{Data: fmt.Append(nil, "question ", len(a.said))}, error(nil)
	if len(a.said) > a.questions {
		reply = auth.Reply{Data: []byte(a.welcome), Done: true, Who: (&passes{a.left}).principal(a.said[len(a.said)-1])}
		if err = quizErrors[reply.Who.User()]; err != nil {
			reply = auth.Reply{}
		}
	}
	if a.slow {
		a.kept = append(a.kept, func() { later(reply, err) })
		return auth.Reply{}, auth.ErrLater
	}
	return reply, err
}

// answer lets the answers go that were kept back.
func (q *quiz) answer(c *cell) {
	kept := q.kept
	q.kept = nil
	for _, f := range kept {
		f()
	}
	c.settle()
}

// quizzed is a cell whose clients may be asked; others are nobody.
func quizzed(t *testing.T, nodes int, adjust func(*Options)) (*cell, *quiz) {
	t.Helper()
	q := &quiz{questions: 1, welcome: "welcome"}
	c := newCell(t, nodes, 1, func(o *Options) {
		o.Former = func(p *auth.Principal) bool { return q.gone != "" && p.User() == q.gone }
		o.Methods = []auth.Method{&quiz{}, q}
		o.Methods[0] = renamed{o.Methods[0]}
		if adjust != nil {
			adjust(o)
		}
	})
	t.Cleanup(func() {
		for _, n := range c.nodes {
			if left := len(n.loops[0].worker().exchanges); left > 0 {
				t.Errorf("%d exchanges left", left)
			}
		}
	})
	return c, q
}

// renamed is a method by another name.
type renamed struct{ auth.Method }

func (renamed) Name() string { return "OTHER" }

// hello is a CONNECT that names the method.
func hello(id string) *mqtt.Connect {
	return &mqtt.Connect{Version: mqtt.V5, CleanStart: true, ClientID: []byte(id), RequestProblemInfo: true,
		HasAuthMethod: true, AuthMethod: []byte("QUIZ"), AuthData: []byte("hello")}
}

// says is an AUTH of the method.
func says(why mqtt.Reason, data string) *mqtt.Auth {
	return &mqtt.Auth{Reason: why, Method: []byte("QUIZ"), Data: []byte(data)}
}

const more, anew = mqtt.ContinueAuthentication, mqtt.ReAuthenticate

// question takes the server's AUTH.
func (c *testConn) question() string {
	c.cell.t.Helper()
	a := c.one(mqtt.AUTH).Auth
	if a.Reason != more || string(a.Method) != "QUIZ" {
		c.cell.t.Errorf("AUTH %v with method %q", a.Reason, a.Method)
	}
	return string(a.Data)
}

// quizzed connects a client as a user.
func (c *cell) quizzed(id, user string) *testConn {
	c.t.Helper()
	conn := c.dial(0, 0)
	conn.send(hello(id))
	conn.question()
	conn.send(says(more, user))
	if r := conn.one(mqtt.CONNACK).Connack.Reason; r != mqtt.Success {
		c.t.Fatalf("CONNACK %v", r)
	}
	return conn
}

// [MQTT-4.12.0-2] [MQTT-4.12.0-3] [MQTT-4.12.0-5]: a client that names a method is let in
// when it has said enough, at once or later, and is who it was found to be (E6).
func TestAuthenticationBySeveralPackets(t *testing.T) {
	for _, slow := range []bool{false, true} {
		for questions := range 3 {
			t.Run(fmt.Sprint(questions, " questions, slow ", slow), func(t *testing.T) {
				inBubble(t, func(t *testing.T) {
					c, q := quizzed(t, 1, nil)
					q.questions, q.slow = questions, slow
					conn := c.dial(0, 0)
					h := hello("x")
					h.SessionExpiry = 100
					conn.send(h)
					for i := range questions {
						if slow {
							conn.none()
							conn.send(says(more, "eager")) // is not read yet
							conn.none()
							conn.in = nil
							q.answer(c)
						}
						if got := conn.question(); got != fmt.Sprint("question ", i+1) {
							t.Fatalf("asked %q", got)
						}
						conn.send(says(more, "ann"))
					}
					q.answer(c)
					ack := conn.one(mqtt.CONNACK).Connack
					if ack.Reason != mqtt.Success || string(ack.AuthMethod) != "QUIZ" || string(ack.AuthData) != "welcome" {
						t.Errorf("%+v", ack)
					}
					want := "ann"
					if questions == 0 {
						want = "hello"
					}
					w := conn.loop.worker()
					if got := w.conn(conn.id).client.who.User(); got != want || conn.paused {
						t.Errorf("it is %q, paused %v", got, conn.paused)
					}
					r := q.asked[0]
					if len(q.asked) != 1 || r.Connect == nil || r.Listener != "mqtt" || r.Remote.Port() != 9 {
						t.Errorf("asked with %+v", r)
					}
					conn.subscribe("t", 1)
				})
			})
		}
	}
}

// Without a method, or in another version, there is no AUTH and nothing of it in CONNACK
// [MQTT-4.12.0-6] [MQTT-4.12.0-7], and a method that nobody knows is refused [MQTT-4.12.0-1]
// (case 47).
func TestClientsWithoutTheMethod(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c, q := quizzed(t, 1, nil)
		conn := c.dial(0, 0)
		conn.send(&mqtt.Connect{Version: mqtt.V5, CleanStart: true, ClientID: []byte("plain")})
		if ack := conn.one(mqtt.CONNACK).Connack; ack.AuthMethod != nil || ack.AuthData != nil {
			t.Errorf("CONNACK %+v", ack)
		}
		for _, why := range []mqtt.Reason{more, anew, mqtt.Success} {
			conn := c.connect(0, 0, "plain")
			conn.send(says(why, "x"))
			if r := conn.one(mqtt.DISCONNECT).Disconnect.Reason; r != mqtt.ProtocolError || !conn.closed {
				t.Errorf("AUTH %v: DISCONNECT %v", why, r)
			}
		}
		old := c.dial(0, 0)
		old.version = mqtt.V311
		old.send(&mqtt.Connect{Version: mqtt.V311, CleanStart: true, ClientID: []byte("old")})
		old.one(mqtt.CONNACK)
		old.in = says(anew, "x").Append(nil, mqtt.V5)
		c.settle()
		if len(old.out) > 0 || !old.closed {
			t.Errorf("3.1.1 was sent % x", old.out)
		}
		for _, name := range []string{"", "quiz", "QUIZ ", strings.Repeat("x", 60000)} {
			conn := c.dial(0, 0)
			h := hello("x")
			h.AuthMethod = []byte(name)
			conn.send(h)
			if r := conn.one(mqtt.CONNACK).Connack.Reason; r != mqtt.BadAuthenticationMethod || !conn.closed {
				t.Errorf("method %.20q: CONNACK %v", name, r)
			}
		}
		q.closed = true
		conn = c.dial(0, 0)
		conn.send(hello("x"))
		if r := conn.one(mqtt.CONNACK).Connack.Reason; r != mqtt.BadAuthenticationMethod {
			t.Errorf("a method by which nobody gets in: CONNACK %v", r)
		}
	})
	inBubble(t, func(t *testing.T) {
		c := newCell(t, 1, 1, nil)
		conn := c.dial(0, 0)
		conn.send(hello("x"))
		if r := conn.one(mqtt.CONNACK).Connack.Reason; r != mqtt.BadAuthenticationMethod {
			t.Errorf("a node without methods: CONNACK %v", r)
		}
	})
}

// [MQTT-4.12.0-4]: whoever is refused is told why, and nothing of it is left.
func TestRefusedByTheMethod(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		denied := map[string]string{}
		c, q := quizzed(t, 1, func(o *Options) {
			o.Denied = func(d Denial) {
				if d.What != AttemptConnect || d.ClientID != "x" {
					t.Errorf("denied %+v", d)
				}
				denied[d.User] = d.Why
			}
		})
		q.gone = "gone"
		for _, slow := range []bool{false, true} {
			q.slow = slow
			for user, want := range map[string]mqtt.Reason{
				"wrong": mqtt.BadUsernameOrPassword, "refuse": mqtt.NotAuthorized, "busy": mqtt.ServerBusy, "down": mqtt.ServerUnavailable,
				"often": mqtt.ConnectionRateExceeded, "away": mqtt.ServerUnavailable, "gone": mqtt.BadUsernameOrPassword,
			} {
				conn := c.dial(0, 0)
				conn.send(hello("x"))
				q.answer(c)
				conn.question()
				conn.send(says(more, user))
				q.answer(c)
				ack := conn.one(mqtt.CONNACK).Connack
				if ack.Reason != want || ack.AuthMethod != nil || !conn.closed {
					t.Errorf("%s: %+v, closed %v", user, ack, conn.closed)
				}
			}
		}
		q.slow = false
		if len(denied) != 4 || denied["wrong"] == "" || denied["gone"] != denied["wrong"] || denied["refuse"] == "" || denied["often"] == "" {
			t.Errorf("denied are %v", denied)
		}
		c.nodes[0].b.Denied = nil
		// Another's session, and a user name that is not the client's.
		h := hello("hers")
		h.SessionExpiry = 100
		ann := c.dial(0, 0)
		ann.send(h)
		ann.question()
		ann.send(says(more, "ann"))
		ann.one(mqtt.CONNACK)
		for name, h := range map[string]*mqtt.Connect{
			"of another (E6)": hello("hers"),
			"as another":      {Version: mqtt.V5, ClientID: []byte("y"), HasAuthMethod: true, AuthMethod: []byte("QUIZ"), HasUsername: true, Username: []byte("ann")},
			"as nobody":       {Version: mqtt.V5, ClientID: []byte("y"), HasAuthMethod: true, AuthMethod: []byte("QUIZ"), HasUsername: true},
		} {
			conn := c.dial(0, 0)
			conn.send(h)
			conn.question()
			conn.send(says(more, "bob"))
			if r := conn.one(mqtt.CONNACK).Connack.Reason; r != mqtt.NotAuthorized || !conn.closed {
				t.Errorf("%s: CONNACK %v", name, r)
			}
		}
		ann.none()
		conn := c.dial(0, 0)
		conn.send(&mqtt.Connect{Version: mqtt.V5, ClientID: []byte("y"), HasAuthMethod: true, AuthMethod: []byte("QUIZ"), HasUsername: true, Username: []byte("bob"), HasPassword: true})
		conn.question()
		conn.send(says(more, "bob"))
		if r := conn.one(mqtt.CONNACK).Connack.Reason; r != mqtt.Success {
			t.Errorf("with the right user name: CONNACK %v", r)
		}
	})
}

// Case 47: what a client may not send before its CONNACK [MQTT-3.1.2-30] is answered by one,
// since before it there is no DISCONNECT [MQTT-3.14.0-1].
func TestWrongTurnsBeforeConnack(t *testing.T) {
	other := says(more, "ann")
	other.Method = []byte("OTHER")
	for name, c := range map[string]struct {
		send []byte
		want mqtt.Reason
	}{
		"AUTH that begins":        {says(anew, "ann").Append(nil, mqtt.V5), mqtt.ProtocolError},
		"AUTH that succeeds":      {says(mqtt.Success, "ann").Append(nil, mqtt.V5), mqtt.ProtocolError},
		"AUTH of another method":  {other.Append(nil, mqtt.V5), mqtt.BadAuthenticationMethod},
		"AUTH without a method":   {[]byte{0xf0, 2, 0x18, 0}, mqtt.ProtocolError}, // case 7
		"AUTH without anything":   {[]byte{0xf0, 0}, mqtt.ProtocolError},
		"AUTH with flags":         {[]byte{0xf1, 2, 0x18, 0}, mqtt.MalformedPacket}, // [MQTT-3.15.1-1]
		"AUTH with trailing byte": {append([]byte{0xf0, 10, 0x18, 7, 0x15, 0, 4}, "QUIZ!"...), mqtt.MalformedPacket},
		"AUTH of another reason":  {append([]byte{0xf0, 9, 0x1a, 7, 0x15, 0, 4}, "QUIZ"...), mqtt.ProtocolError}, // [MQTT-3.15.2-1]
		"AUTH of 64 KiB and more": {[]byte{0xf0, 0x81, 0x80, 0x04}, mqtt.PacketTooLarge},                         // case 3
		"PUBLISH":                 {[]byte{0x30}, mqtt.ProtocolError},
		"SUBSCRIBE":               {[]byte{0x82}, mqtt.ProtocolError},
		"PINGREQ":                 {[]byte{0xc0, 0}, mqtt.ProtocolError},
		"second CONNECT":          {hello("x").Append(nil, mqtt.V5), mqtt.ProtocolError}, // case 9
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				cell, _ := quizzed(t, 1, nil)
				conn := cell.dial(0, 0)
				conn.send(hello("x"))
				conn.question()
				conn.in = append(c.send, says(more, "ann").Append(nil, mqtt.V5)...)
				cell.settle()
				if r := conn.one(mqtt.CONNACK).Connack.Reason; r != c.want || !conn.closed {
					t.Errorf("CONNACK %v, want %v", r, c.want)
				}
			})
		})
	}
	inBubble(t, func(t *testing.T) {
		c, _ := quizzed(t, 1, nil)
		conn := c.dial(0, 0)
		conn.send(hello("x"))
		conn.question()
		conn.send(&mqtt.Disconnect{})
		if conn.none(); !conn.closed {
			t.Error("stays after DISCONNECT")
		}
		small := hello("x")
		small.MaximumPacketSize = 20
		conn = c.dial(0, 0)
		conn.send(small)
		if r := conn.one(mqtt.CONNACK).Connack.Reason; r != mqtt.PacketTooLarge || !conn.closed { // [MQTT-3.1.2-24]
			t.Errorf("CONNACK %v", r)
		}
	})
}

// Case 47: an authentication has a bound in packets, bytes and time, before CONNACK and
// after.
func TestEndlessAuthentication(t *testing.T) {
	type phase struct {
		name  string
		begin func(c *cell, q *quiz) *testConn
		end   func(conn *testConn) mqtt.Reason
	}
	for _, p := range []phase{{
		"connect", func(c *cell, q *quiz) *testConn {
			q.questions = 1000
			conn := c.dial(0, 0)
			conn.send(hello("x"))
			return conn
		}, func(conn *testConn) mqtt.Reason { return conn.one(mqtt.CONNACK).Connack.Reason },
	}, {
		"anew", func(c *cell, q *quiz) *testConn {
			conn := c.quizzed("x", "ann")
			q.questions = 1000
			conn.send(says(anew, "hello"))
			return conn
		}, func(conn *testConn) mqtt.Reason { return conn.one(mqtt.DISCONNECT).Disconnect.Reason },
	}} {
		t.Run(p.name, func(t *testing.T) {
			for _, size := range []int{1, maxAuthBytes / 4} {
				inBubble(t, func(t *testing.T) {
					c, q := quizzed(t, 1, nil)
					conn := p.begin(c, q)
					taken := 0
					for ; !conn.closed && taken < 100; taken++ {
						conn.question()
						conn.send(says(more, strings.Repeat("x", size)))
					}
					if r := p.end(conn); r != mqtt.ProtocolError || taken > maxAuthRounds+1 || taken < 4 || size > 1 && taken > 5 {
						t.Errorf("%d bytes: %v after %d packets", size, r, taken)
					}
				})
			}
			inBubble(t, func(t *testing.T) { // as slow as it may be, but for the last
				c, q := quizzed(t, 1, nil)
				conn := p.begin(c, q)
				limit := c.nodes[0].b.ConnectTimeout
				for range 4 {
					conn.question()
					c.sleep(limit / 5)
					conn.send(says(more, "x"))
				}
				conn.question()
				c.sleep(limit/5 + time.Second)
				if r := p.end(conn); r != mqtt.NotAuthorized || !conn.closed {
					t.Errorf("%v, closed %v", r, conn.closed)
				}
			})
			inBubble(t, func(t *testing.T) { // nobody can say
				c, q := quizzed(t, 1, nil)
				conn := p.begin(c, q)
				conn.question()
				q.slow = true
				conn.send(says(more, "x"))
				c.sleep(c.nodes[0].b.ConnectTimeout + time.Second)
				if r := p.end(conn); r != mqtt.ServerUnavailable && r != mqtt.ServerBusy || !conn.closed {
					t.Errorf("%v, closed %v", r, conn.closed)
				}
				q.answer(c) // too late
				conn.none()
			})
		})
	}
}

// A client that goes in the middle of it leaves nothing, whether the server had the word or
// the client.
func TestGoneWhileAuthenticating(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c, q := quizzed(t, 1, nil)
		for _, slow := range []bool{false, true} {
			q.slow = slow
			conn := c.dial(0, 0)
			conn.send(hello("x"))
			conn.hangUp()
			q.answer(c)
			q.slow = false
			conn = c.quizzed("y", "ann")
			q.slow = slow
			conn.send(says(anew, "hello"))
			conn.hangUp()
			q.answer(c)
			q.slow = false
		}
	})
}

// principals remembers whom it was asked of.
type principals struct {
	auth.Denied
	of []*auth.Principal
}

func (p *principals) Unrestricted() bool { return false }

func (p *principals) MayPublish(id *auth.Identity, _ router.Topic, _ uint8, _ bool) bool {
	p.of = append(p.of, id.Principal)
	return true
}

// [MQTT-4.12.1-1] [MQTT-4.12.1-2]: a client that is connected authenticates anew while its
// messages go on, and from then on is whom it was found to be: with another expiry, or other
// rights, but no other user.
func TestReauthentication(t *testing.T) {
	for _, slow := range []bool{false, true} {
		inBubble(t, func(t *testing.T) {
			asked := &principals{}
			c, q := quizzed(t, 1, func(o *Options) { o.Access = asked })
			conn := c.quizzed("x", "ann")
			conn.subscribe("t", 1)
			id := uint16(0)
			flows := func() {
				t.Helper()
				id++
				conn.publish("t", "m", 1, id)
				ps := conn.recv()
				slices.SortFunc(ps, func(a, b *mqtt.Packet) int { return int(a.Kind) - int(b.Kind) })
				if len(ps) != 2 || ps[0].Kind != mqtt.PUBLISH || ps[1].Kind != mqtt.PUBACK {
					t.Fatalf("got %v", kinds(ps))
				}
				conn.ack(ps[0].Publish.PacketID)
			}
			q.slow = slow
			for round := range 40 { // more than one exchange may have
				flows()
				conn.send(says(anew, "hello"))
				if slow {
					flows()
				}
				q.answer(c)
				conn.question()
				flows()
				conn.send(says(more, "ann"))
				if slow {
					flows()
				}
				q.answer(c)
				a := conn.one(mqtt.AUTH).Auth
				if a.Reason != mqtt.Success || string(a.Method) != "QUIZ" || string(a.Data) != "welcome" {
					t.Fatalf("round %d: %+v", round, a)
				}
			}
			flows()
			if first, last := asked.of[0], asked.of[len(asked.of)-1]; first == last || last.User() != "ann" {
				t.Errorf("it is %p and was %p", last, first)
			}
			if r := q.asked[len(q.asked)-1]; r.Connect != nil || r.Certificate != nil || r.Was.User() != "ann" || r.Listener != "mqtt" || r.Remote.Port() != 9 {
				t.Errorf("asked with %+v", r)
			}
			c.sleep(time.Second)
			if s := c.nodes[0].b.Stats(); s.Reauthenticated != 40 || s.ReauthDenied != 0 || s.Exchanges != 0 || s.Packets[mqtt.AUTH] != 81 {
				t.Errorf("counted %+v", s)
			}
		})
	}
}

// Who fails to authenticate anew is disconnected, and its will is due; so is who does so out
// of place (case 47).
func TestFailedReauthentication(t *testing.T) {
	other := says(anew, "ann")
	other.Method = []byte("OTHER")
	unasked := func(conn *testConn, q *quiz) {
		q.slow = true
		conn.send(says(anew, "x"))
		conn.send(says(more, "ann"))
		q.slow = false
	}
	to := func(user string) func(*testConn, *quiz) {
		return func(conn *testConn, _ *quiz) {
			conn.send(says(anew, "x"))
			conn.question()
			conn.send(says(more, user))
		}
	}
	for name, s := range map[string]struct {
		do   func(*testConn, *quiz)
		want mqtt.Reason
	}{
		"wrong":             {to("wrong"), mqtt.NotAuthorized},
		"refused":           {to("refuse"), mqtt.NotAuthorized},
		"another user (E6)": {to("bob"), mqtt.NotAuthorized},
		"busy":              {to("busy"), mqtt.ServerBusy},
		"held off":          {to("often"), mqtt.ConnectionRateExceeded},
		"nobody can say":    {to("down"), mqtt.ServerBusy},
		"nobody can now":    {to("away"), mqtt.ServerBusy}, // there is no 0x88 in DISCONNECT
		"let in no more":    {func(conn *testConn, q *quiz) { q.gone = "ann"; to("ann")(conn, q) }, mqtt.NotAuthorized},
		"method is gone":    {func(conn *testConn, q *quiz) { q.closed = true; conn.send(says(anew, "ann")) }, mqtt.NotAuthorized},
		"another method":    {func(conn *testConn, _ *quiz) { conn.send(other) }, mqtt.BadAuthenticationMethod},
		"not begun":         {func(conn *testConn, _ *quiz) { conn.send(says(more, "ann")) }, mqtt.ProtocolError},
		"begun twice": {func(conn *testConn, _ *quiz) {
			conn.send(says(anew, "x"))
			conn.question()
			conn.send(says(anew, "ann"))
		}, mqtt.ProtocolError},
		"not asked":             {unasked, mqtt.ProtocolError},
		"success of the client": {func(conn *testConn, _ *quiz) { conn.send(says(mqtt.Success, "ann")) }, mqtt.ProtocolError},
		"without a method":      {func(conn *testConn, _ *quiz) { conn.in = []byte{0xf0, 2, 0x19, 0}; conn.cell.settle() }, mqtt.ProtocolError},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				var log strings.Builder
				var denied []Denial
				c, q := quizzed(t, 1, func(o *Options) {
					o.Denied = func(d Denial) { denied = append(denied, d) }
					o.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
				})
				watcher := c.connect(0, 0, "watcher")
				watcher.subscribe("will", 0)
				conn := c.dial(0, 0)
				h := hello("x")
				h.HasWill, h.Will = true, mqtt.Will{Topic: []byte("will")}
				conn.send(h)
				conn.question()
				conn.send(says(more, "ann"))
				conn.one(mqtt.CONNACK)
				s.do(conn, q)
				if r := conn.one(mqtt.DISCONNECT).Disconnect.Reason; r != s.want || !conn.closed {
					t.Errorf("DISCONNECT %v, want %v", r, s.want)
				}
				watcher.one(mqtt.PUBLISH)
				q.answer(c)
				conn.none()
				if s.want == mqtt.NotAuthorized && !strings.Contains(log.String(), "client=x remote=127.0.0.1:9 ") {
					t.Errorf("the log says %q", log.String())
				}
				if warned := strings.Contains(log.String(), "level=WARN"); warned != (name == "nobody can say") {
					t.Errorf("the log says %q", log.String()) // of who is away it was told already
				}
				if tried := s.want == mqtt.NotAuthorized || s.want == mqtt.ConnectionRateExceeded; tried != (len(denied) == 1 &&
					denied[0].What == AttemptConnect && denied[0].ClientID == "x" && denied[0].User == "ann" && strings.HasPrefix(denied[0].Why, "anew: ")) {
					t.Errorf("denied are %+v", denied)
				}
			})
		})
	}
}

// A client that authenticates anew in time goes on for as long as that is good, longer or
// shorter or for ever, and one that does not ends when it would have, whatever it has begun.
func TestReauthenticationInTime(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c, q := quizzed(t, 1, nil)
		q.left = 20 * time.Second
		renews, begins := c.quizzed("renews", "ann"), c.quizzed("begins", "ann")
		q.questions = 0
		for _, left := range []time.Duration{20 * time.Second, 30 * time.Second, 17 * time.Second, 20 * time.Second} {
			c.sleep(15 * time.Second)
			q.left = left
			renews.send(says(anew, "ann"))
			if a := renews.one(mqtt.AUTH).Auth; a.Reason != mqtt.Success {
				t.Fatalf("AUTH %v", a.Reason)
			}
			if !begins.closed {
				q.questions = 1
				begins.send(says(anew, "ann"))
				begins.question()
				q.questions = 0
				c.sleep(time.Second)
				begins.none()
				c.sleep(6 * time.Second)
				if d := begins.one(mqtt.DISCONNECT).Disconnect; d.Reason != mqtt.MaximumConnectTime || !begins.closed {
					t.Errorf("DISCONNECT %v, closed %v", d.Reason, begins.closed)
				}
				renews.send(says(anew, "ann"))
				renews.one(mqtt.AUTH)
			}
		}
		c.sleep(19 * time.Second)
		renews.none()
		q.left = 0
		renews.send(says(anew, "ann"))
		renews.one(mqtt.AUTH)
		c.sleep(10 * time.Minute)
		if renews.none(); renews.closed {
			t.Error("who has proved it for ever is closed")
		}
	})
}

// A client may take no packet as large as the CONNACK or the AUTH that it is due
// [MQTT-3.1.2-24].
func TestPacketsLargerThanTheClientTakes(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c, q := quizzed(t, 1, nil)
		q.questions = 0
		connect := func(h *mqtt.Connect, most int) (conn *testConn, size int, r mqtt.Reason) {
			t.Helper()
			h.MaximumPacketSize = uint32(most)
			conn = c.dial(0, 0)
			conn.send(h)
			size = len(conn.out)
			return conn, size, conn.one(mqtt.CONNACK).Connack.Reason
		}
		plain := &mqtt.Connect{Version: mqtt.V5, CleanStart: true, ClientID: []byte("plain")}
		for _, h := range []*mqtt.Connect{plain, hello("x")} {
			_, size, _ := connect(h, 0)
			if _, _, r := connect(h, size); r != mqtt.Success {
				t.Errorf("%s: CONNACK of %d bytes, which it takes: %v", h.ClientID, size, r)
			}
			if conn, told, r := connect(h, size-1); r != mqtt.PacketTooLarge || told >= size || !conn.closed {
				t.Errorf("%s: CONNACK of %d bytes for who takes less: %v in %d, closed %v", h.ClientID, size, r, told, conn.closed)
			}
		}
		conn, _, r := connect(hello("x"), 64)
		if r != mqtt.Success {
			t.Fatalf("CONNACK %v", r)
		}
		q.welcome = strings.Repeat("x", 64)
		conn.send(says(anew, "hello"))
		if r := conn.one(mqtt.DISCONNECT).Disconnect.Reason; r != mqtt.PacketTooLarge || !conn.closed {
			t.Errorf("DISCONNECT %v", r)
		}
	})
}
