package broker

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"dunlin/node/auth"
	"dunlin/node/auth/acl"
	"dunlin/node/listen"
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
		v3   mqtt.Reason // as the decoder has the code of 3.1.1
	}{
		{"wrong password (case 44)", auth.ErrBadCredentials, mqtt.BadUsernameOrPassword, mqtt.BadUsernameOrPassword},
		{"not let in (case 51)", auth.ErrRefused, mqtt.NotAuthorized, mqtt.NotAuthorized},
		{"too many wait (case 37)", auth.ErrBusy, mqtt.ServerBusy, mqtt.ServerUnavailable},
		{"nobody can say now", auth.ErrUnavailable, mqtt.ServerUnavailable, mqtt.ServerUnavailable},
		{"nobody can say", down, mqtt.ServerUnavailable, mqtt.ServerUnavailable},
		{"nobody can say, and that is known", auth.ErrUnavailable, mqtt.ServerUnavailable, mqtt.ServerUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				a := &scriptedAuth{}
				var log strings.Builder
				n := newCell(t, 1, 1, func(o *Options) {
					o.Auth = a
					o.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
				})
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
							want = c.v3
						}
						if r := conn.one(mqtt.CONNACK).Connack.Reason; r != want || !conn.closed {
							t.Errorf("late %v, version %v: CONNACK %v, closed %v", late, version, r, conn.closed)
						}
					}
				}
				if c.err == auth.ErrRefused && strings.Count(log.String(), "remote=127.0.0.1:9 ") != 4 {
					t.Errorf("the log says %q", log.String())
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

// Where a client identifier has to be the user's name, nobody has another's, be it free or not, and
// who leaves it to the node is let in.
func TestOwnClientID(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		a := &scriptedAuth{who: auth.NewPrincipal("ann")}
		c := newCell(t, 1, 1, func(o *Options) { o.Auth, o.OwnClientID = a, true })
		ann := c.persistent(0, 0, "ann")
		for _, x := range []struct {
			id   string
			who  *auth.Principal
			want mqtt.Reason
		}{
			{"bob", auth.NewPrincipal("bob"), mqtt.Success}, {"", auth.NewPrincipal("bob"), mqtt.Success}, {"", nil, mqtt.Success},
			{"ann", auth.NewPrincipal("bob"), mqtt.ClientIDNotValid}, {"free", auth.NewPrincipal("bob"), mqtt.ClientIDNotValid},
			{"Bob", auth.NewPrincipal("bob"), mqtt.ClientIDNotValid}, {"bob", nil, mqtt.ClientIDNotValid},
		} {
			a.who = x.who
			for _, version := range []mqtt.Version{mqtt.V311, mqtt.V5} {
				conn := c.dial(0, 0)
				conn.version = version
				conn.send(&mqtt.Connect{Version: version, CleanStart: true, ClientID: []byte(x.id), SessionExpiry: 9})
				if r := conn.one(mqtt.CONNACK).Connack.Reason; r != x.want || conn.closed != (x.want != mqtt.Success) {
					t.Errorf("%q of %q, version %v: CONNACK %v, closed %v", x.id, x.who.User(), version, r, conn.closed)
				}
			}
		}
		if ann.none(); ann.closed {
			t.Error("her connection was closed")
		}
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

// ruled is a cell whose brokers hold clients to rules, which the function changes.
func ruled(t *testing.T, nodes int, a auth.Authenticator, rules string) (c *cell, change func(rules string)) {
	t.Helper()
	var now *acl.Policy
	change = func(rules string) {
		t.Helper()
		var err error
		if now, err = acl.Read(strings.NewReader("rules:\n" + rules)); err != nil {
			t.Fatal(err)
		}
	}
	change(rules)
	return newCell(t, nodes, 1, func(o *Options) {
		o.Auth, o.Access = a, acl.Guard{Policy: func() *acl.Policy { return now }}
	}), change
}

// ask subscribes, and returns the answer to each filter.
func (c *testConn) ask(filters ...string) []mqtt.Reason {
	c.cell.t.Helper()
	s := mqtt.Subscribe{PacketID: 999}
	for _, f := range filters {
		s.Filters = append(s.Filters, mqtt.Subscription{Filter: []byte(f), QoS: 1})
	}
	c.send(&s)
	return c.one(mqtt.SUBACK).Suback.Reasons
}

// Case 40: a filter is granted only if all that it matches is; what a share group
// brings is held to the same.
func TestFiltersWiderThanTheRights(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c, _ := ruled(t, 1, auth.Anonymous{}, `
  - {deny: subscribe, topics: [home/safe/#]}
  - {allow: subscribe, topics: [home/#]}
  - {allow: publish, topics: ["#"]}`)
		sub := c.connect(0, 0, "sub")
		got := sub.ask("#", "+/x", "$share/g/#", "home/#", "$share/g/home/+/x", "home/safe", "$SYS/#", "home/x", "$share/g/home/x")
		const no = mqtt.NotAuthorized
		if want := []mqtt.Reason{no, no, no, no, no, no, no, 1, 1}; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("SUBACK %v", got)
		}
		pub := c.connect(0, 0, "pub")
		for i, topic := range []string{"home/safe", "home/safe/x", "other"} {
			pub.publish(topic, "secret", 1, uint16(i)+1)
		}
		sub.none()
	})
}

// Case 18: an alias that was set with a denied topic is of use where the topic is
// allowed later, and each use is judged.
func TestAliasOfADeniedTopic(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c, change := ruled(t, 1, auth.Anonymous{}, `
  - {deny: publish, topics: [no/#]}
  - {allow: all, topics: ["#"]}`)
		sub, pub := c.connect(0, 0, "sub"), c.connect(0, 0, "pub")
		sub.subscribe("no/#", 0)
		send := func(topic string, want mqtt.Reason) {
			t.Helper()
			pub.send(&mqtt.Publish{Topic: []byte(topic), TopicAlias: 1, QoS: 1, PacketID: 1})
			if r := pub.one(mqtt.PUBACK).Ack.Reason; r != want {
				t.Errorf("%q: PUBACK %v", topic, r)
			}
		}
		send("no/x", mqtt.NotAuthorized)
		send("", mqtt.NotAuthorized)
		sub.none()
		change(`
  - {allow: all, topics: ["#"]}`)
		send("", mqtt.Success)
		sub.one(mqtt.PUBLISH)
		change(`
  - {allow: subscribe, topics: ["#"]}`)
		send("", mqtt.NotAuthorized)
		sub.none()
	})
}

// Case 39: what a client calls itself stands for itself in the rules and is no pattern.
func TestNamesThatLookLikePatterns(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		a := &scriptedAuth{}
		c, _ := ruled(t, 1, a, `
  - {deny: all, topics: ["private/${username}"]}
  - {allow: all, topics: ["dev/${clientid}/x", "u/${username}/x", "private/+"]}`)
		victim := c.connect(0, 0, "victim")
		victim.subscribe("dev/victim/x", 1)
		for _, name := range []string{"+", "#", "a/b", ".*", "[a-z]+", "a\nb", "$share/g/#", "victim/x/.."} {
			a.who = auth.NewPrincipal(name)
			conn := c.connect(0, 0, name)
			for _, filter := range []string{"dev/+/x", "dev/victim/x", "dev/#", "u/+/x", "u/victim/x", "#"} {
				if r := conn.ask(filter)[0]; r != mqtt.NotAuthorized {
					t.Errorf("%q subscribes to %s: %v", name, filter, r)
				}
			}
			for i, topic := range []string{"dev/victim/x", "u/victim/x"} {
				conn.publish(topic, name, 1, uint16(i)+1)
				if r := conn.one(mqtt.PUBACK).Ack.Reason; r != mqtt.NotAuthorized {
					t.Errorf("%q publishes to %s: %v", name, topic, r)
				}
			}
			if strings.ContainsAny(name, "+#/$") { // nor does it slip out of what is denied to it
				if r := conn.ask("private/victim")[0]; r != mqtt.NotAuthorized {
					t.Errorf("%q reads what may be its own: %v", name, r)
				}
			}
		}
		victim.none()
	})
}

// Case 43: rights that are withdrawn end at once, on whatever way a message comes, and the
// session is kept.
func TestWithdrawnRights(t *testing.T) {
	const all, none = `
  - {allow: all, topics: ["#"]}`, `
  - {allow: publish, topics: ["#"]}
  - {allow: subscribe, topics: [free]}`
	inBubble(t, func(t *testing.T) {
		c, change := ruled(t, 2, auth.Anonymous{}, all)
		pub, far := c.connect(0, 0, "pub"), c.connect(1, 0, "far")
		live, away, stuck := c.connect(0, 0, "live"), c.persistent(0, 0, "away"), c.persistent(0, 0, "stuck")
		member := c.connect(0, 0, "member")
		for _, sub := range []*testConn{live, away, stuck, far} {
			sub.subscribe("t", 1)
			sub.subscribe("free", 1)
		}
		member.subscribe("$share/g/t", 1)
		away.hangUp()
		publish := func(topic, payload string) {
			t.Helper()
			pub.send(&mqtt.Publish{Topic: []byte(topic), Payload: []byte(payload), QoS: 1, PacketID: 1})
			pub.one(mqtt.PUBACK)
		}
		publish("t", "before")
		stuck.one(mqtt.PUBLISH) // and is not acknowledged: in flight
		member.ack(member.one(mqtt.PUBLISH).Publish.PacketID)
		for _, sub := range []*testConn{live, far} {
			sub.ack(sub.one(mqtt.PUBLISH).Publish.PacketID)
		}
		pub.send(&mqtt.Publish{Topic: []byte("kept"), Payload: []byte("kept"), Retain: true})
		change(none)
		publish("t", "after")
		for name, sub := range map[string]*testConn{"live": live, "far": far, "stuck": stuck, "member": member} {
			if got := payloads(sub.recv()); len(got) > 0 {
				t.Errorf("%s got %q", name, got)
			}
		}
		if r := live.ask("kept")[0]; r != mqtt.NotAuthorized {
			t.Errorf("SUBACK %v", r)
		}
		stuck.hangUp()
		for _, name := range []string{"away", "stuck"} { // queued, and in flight
			sub := c.resume(0, 0, mqtt.Connect{ClientID: []byte(name)})
			ps := sub.recv()
			if len(ps) == 0 || !ps[0].Connack.SessionPresent {
				t.Errorf("%s: %v", name, kinds(ps))
			}
			publish("free", "free")
			for _, got := range payloads(append(ps, sub.recv()...)) {
				if got != "free" {
					t.Errorf("%s got %q", name, got)
				}
			}
		}
		change(all)
		publish("t", "again")
		if got := payloads(live.recv()); len(got) == 0 || got[len(got)-1] != "again" {
			t.Errorf("given back, live got %q", got)
		}
	})
}

// Case 43: a will is judged when it fires, by the rights of then (case 42), and one that
// would not be allowed then is refused at once.
func TestWillOfACertificate(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		a := &scriptedAuth{who: auth.NewCertified("gate")}
		c, _ := ruled(t, 1, a, `
  - {allow: all, topics: ["cert/${cert}", "user/${username}"]}`)
		for topic, want := range map[string]mqtt.Reason{"cert/gate": mqtt.NotAuthorized, "user/gate": mqtt.Success} {
			conn := c.dial(0, 0)
			conn.send(&mqtt.Connect{Version: mqtt.V5, CleanStart: true, ClientID: []byte(topic), HasWill: true,
				Will: mqtt.Will{Topic: []byte(topic)}})
			if r := conn.one(mqtt.CONNACK).Connack.Reason; r != want {
				t.Errorf("will to %s: %v", topic, r)
			}
		}
	})
}

// Case 42: what is denied to a client by the rules that it has brought along, or for a group that
// it is in, cannot be said by its will either; and what only these allow is no will.
func TestWillOfAToken(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		own, err := acl.NewOwn([]acl.Rule{
			{Deny: "publish", Topics: []string{"denied/token"}}, {Allow: "publish", Topics: []string{"only/token", "both"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		a := &scriptedAuth{who: auth.NewPrincipal("ann").With(auth.Extras{Rights: own, Groups: []string{"guests"}})}
		c, _ := ruled(t, 1, a, `
  - {deny: publish, groups: [guests], topics: [denied/group]}
  - {allow: publish, groups: [guests], topics: [only/group]}
  - {allow: publish, topics: ["denied/+", both, free]}`)
		for topic, want := range map[string]mqtt.Reason{
			"denied/token": mqtt.NotAuthorized, "denied/group": mqtt.NotAuthorized, "only/token": mqtt.NotAuthorized, "only/group": mqtt.NotAuthorized,
			"both": mqtt.Success, "free": mqtt.Success, "denied/other": mqtt.Success,
		} {
			conn := c.dial(0, 0)
			conn.send(&mqtt.Connect{Version: mqtt.V5, CleanStart: true, ClientID: []byte(topic), HasWill: true,
				Will: mqtt.Will{Topic: []byte(topic)}})
			if r := conn.one(mqtt.CONNACK).Connack.Reason; r != want {
				t.Errorf("will to %s: %v", topic, r)
			}
		}
	})
}

// askedOf remembers the certificates that it is shown.
type askedOf struct{ certificates []*x509.Certificate }

func (a *askedOf) Authenticate(r auth.Request, _ func(*auth.Principal, error)) (*auth.Principal, error) {
	a.certificates = append(a.certificates, r.Certificate)
	return nil, nil
}

// Who is authenticated is shown the certificate if TLS has verified it, and nothing of it
// is kept.
func TestCertificatesAreShown(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		a := &askedOf{}
		c := newCell(t, 1, 1, func(o *Options) { o.Auth = a })
		leaf, root := new(x509.Certificate), new(x509.Certificate)
		verified := &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}, VerifiedChains: [][]*x509.Certificate{{leaf, root}}}
		unverified := &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}}
		for i, state := range []*tls.ConnectionState{nil, verified, unverified} {
			conn := c.dialAs(0, 0, listen.Info{TLS: state})
			conn.send(&mqtt.Connect{Version: mqtt.V5, CleanStart: true, ClientID: fmt.Append(nil, i)})
			conn.one(mqtt.CONNACK)
		}
		if want := []*x509.Certificate{nil, leaf, nil}; !slices.Equal(a.certificates, want) {
			t.Errorf("shown %v", a.certificates)
		}
		c.dialAs(0, 0, listen.Info{TLS: verified}).hangUp()
		if n := len(c.nodes[0].loops[0].worker().certificates); n != 0 {
			t.Errorf("%d certificates kept", n)
		}
	})
}

// Who is let in no more is cut off, told why, his will published and his session kept;
// others stay. A client that was found to be him before, and comes to be known after, is
// refused.
func TestExpel(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		a := &scriptedAuth{who: auth.NewEnrolled(auth.StoreRoll, "bob")}
		var former atomic.Pointer[auth.Principal]
		c := newCell(t, 1, 2, func(o *Options) {
			o.Auth, o.Former = a, func(p *auth.Principal) bool { return p != nil && p == former.Load() }
		})
		bob := c.connect(0, 0, "bobs")
		keeps := c.dial(0, 1)
		keeps.version = mqtt.V5
		keeps.send(&mqtt.Connect{
			Version: mqtt.V5, CleanStart: true, ClientID: []byte("keeps"), SessionExpiry: 99,
			HasWill: true, Will: mqtt.Will{Topic: []byte("will"), Payload: []byte("x")},
		})
		keeps.one(mqtt.CONNACK)
		old := c.dial(0, 0)
		old.version = mqtt.V311
		old.send(&mqtt.Connect{Version: mqtt.V311, CleanStart: true, ClientID: []byte("old")})
		old.one(mqtt.CONNACK)
		a.err = auth.ErrLater
		slow := c.dial(0, 1)
		slow.send(&mqtt.Connect{Version: mqtt.V5, CleanStart: true, ClientID: []byte("slow")})
		slow.none()
		a.err = nil
		was := a.who
		var stay []*testConn
		for name, who := range map[string]*auth.Principal{"nobody": nil, "ann": auth.NewEnrolled(auth.StoreRoll, "ann"), "bob again": auth.NewEnrolled(auth.StoreRoll, "bob")} {
			a.who = who
			stay = append(stay, c.connect(0, len(name)%2, name))
		}
		a.who = nil
		watch := c.connect(0, 1, "watch")
		watch.subscribe("will", 0)

		former.Store(was)
		done := make(chan struct{})
		go func() {
			defer close(done)
			if n, err := c.nodes[0].b.Expel(t.Context()); n != 3 || err != nil {
				t.Errorf("expelled %d, %v", n, err)
			}
		}()
		c.settle()
		<-done
		for _, conn := range []*testConn{bob, keeps} {
			if d := conn.one(mqtt.DISCONNECT).Disconnect; d.Reason != mqtt.NotAuthorized || !conn.closed {
				t.Errorf("reason %v, closed %v", d.Reason, conn.closed)
			}
		}
		if old.none(); !old.closed {
			t.Error("a client of 3.1.1 was not closed")
		}
		if got := payloads(watch.recv()); len(got) != 1 {
			t.Errorf("wills %v", got)
		}
		c.sleep(1e9) // for the counters to be shown
		if n := c.nodes[0].b.Stats().Expelled; n != 3 {
			t.Errorf("%d counted", n)
		}
		for _, conn := range append(stay, watch) {
			if conn.none(); conn.closed {
				t.Error("somebody else was closed")
			}
		}
		a.later(was, nil)
		c.settle()
		if r := slow.one(mqtt.CONNACK).Connack.Reason; r != mqtt.BadUsernameOrPassword || !slow.closed {
			t.Errorf("CONNACK %v, closed %v", r, slow.closed)
		}
		a.who = auth.NewEnrolled(auth.StoreRoll, "bob")
		again := c.dial(0, 0)
		again.send(&mqtt.Connect{Version: mqtt.V5, ClientID: []byte("keeps"), SessionExpiry: 99})
		if ack := again.one(mqtt.CONNACK).Connack; ack.Reason != mqtt.Success || !ack.SessionPresent {
			t.Errorf("CONNACK %v, session present %v", ack.Reason, ack.SessionPresent)
		}
	})
}
