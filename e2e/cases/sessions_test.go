package cases

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"dunlin/e2e/harness"
	"dunlin/proto/mqtt"
)

// randomSessions: who leaves a session behind under each new name is refused when there are
// as many as may be; those that are there can be resumed.
func randomSessions(t *testing.T, p *place) { // case 34
	var ids []string
	refused := false
	for k := 0; !refused; k++ {
		if k == 300 {
			t.Fatal("there is no bound")
		}
		id := fmt.Sprint("random-", k)
		c := p.sub.try(t, mqtt.Connect{ClientID: []byte(id), CleanStart: true, SessionExpiry: 3600})
		switch c.Connack.Reason {
		case mqtt.Success:
			ids = append(ids, id)
			c.Disconnect()
		case mqtt.QuotaExceeded:
			c.ExpectClosed()
			refused = true
			old := p.sub.try(t, mqtt.Connect{Version: mqtt.V311, ClientID: []byte(id)})
			if r := old.Connack.Reason; r != mqtt.ServerUnavailable {
				t.Errorf("3.1.1: CONNACK %v", r)
			}
		default:
			t.Fatalf("CONNACK %v", c.Connack.Reason)
		}
	}
	c := p.again.connect(t, mqtt.Connect{ClientID: []byte(ids[0]), SessionExpiry: 3600})
	if !c.Connack.SessionPresent {
		t.Error("the first session is not there")
	}
	c.Disconnect()
	for _, id := range ids {
		p.again.forget(t, id)
	}
}

// sessionsOfUser: one user has his part of them, and others have theirs.
func sessionsOfUser(t *testing.T, p *place) { // case 34
	greedy := p.sub.as("greedy")
	var ids []string
	for k := 0; ; k++ {
		if k == 50 {
			t.Fatal("there is no bound")
		}
		id := fmt.Sprint("greedy-", k)
		c := greedy.try(t, mqtt.Connect{ClientID: []byte(id), CleanStart: true, SessionExpiry: 3600})
		if c.Connack.Reason == mqtt.QuotaExceeded {
			c.ExpectClosed()
			break
		}
		if c.Connack.Reason != mqtt.Success {
			t.Fatalf("CONNACK %v", c.Connack.Reason)
		}
		ids = append(ids, id)
		c.Disconnect()
	}
	if len(ids) < 10 || len(ids) > 20 {
		t.Errorf("%d sessions, where 10 are allowed", len(ids))
	}
	p.sub.as("modest").connect(t, mqtt.Connect{ClientID: []byte("modest"), CleanStart: true, SessionExpiry: 3600}).Disconnect()
	p.sub.as("modest").forget(t, "modest")
	for _, id := range ids {
		greedy.forget(t, id)
	}
}

// forEver: who wants his session, or his will, kept for ever is told for how long it is.
func forEver(t *testing.T, p *place) { // case 35
	const most = 30 * 24 * 3600
	c := p.sub.connect(t, mqtt.Connect{ClientID: []byte("for-ever"), CleanStart: true, SessionExpiry: 0xFFFFFFFF})
	if !c.Connack.HasSessionExpiry || c.Connack.SessionExpiry != most {
		t.Errorf("told %v: %d s", c.Connack.HasSessionExpiry, c.Connack.SessionExpiry)
	}
	c.Drop()
	p.again.forget(t, "for-ever")

	// A will is due at the end of the session at the latest [MQTT-3.1.3-9].
	sub := p.again.ephemeral(t, "heir")
	sub.Subscribe("will/late", 1)
	dead := p.sub.connect(t, mqtt.Connect{ClientID: []byte("late"), CleanStart: true, SessionExpiry: 1, HasWill: true,
		Will: mqtt.Will{Topic: []byte("will/late"), Payload: []byte("gone"), QoS: 1, Delay: 0xFFFFFFFF}})
	dead.Drop()
	sub.ExpectMessage("will/late", "gone")
}

// fight: two clients of one identifier that take it from one another are slowed down, and
// one of them keeps it; others do not feel it.
func fight(t *testing.T, p *place) { // case 36
	hello := mqtt.Connect{ClientID: []byte("both"), SessionExpiry: 100}
	var holder *harness.Client
	for k := 0; ; k++ {
		c := []door{p.sub, p.pub}[k%2].try(t, hello)
		if c.Connack.Reason == mqtt.ConnectionRateExceeded {
			c.ExpectClosed()
			break
		}
		if c.Connack.Reason != mqtt.Success || k == 50 {
			t.Fatalf("after %d takeovers: CONNACK %v", k, c.Connack.Reason)
		}
		if holder != nil {
			holder.ExpectDisconnect(mqtt.SessionTakenOver)
		}
		holder = c
	}
	old := hello
	old.Version = mqtt.V311
	if r := p.sub.try(t, old).Connack.Reason; r != mqtt.ServerUnavailable {
		t.Errorf("3.1.1: CONNACK %v", r)
	}
	holder.ExpectQuiet()
	p.sub.connect(t, mqtt.Connect{ClientID: []byte("another"), SessionExpiry: 100}).Disconnect()
	p.sub.forget(t, "another")
	holder.Send(&mqtt.Disconnect{HasSessionExpiry: true}) // it ends with its connection
	holder.ExpectClosed()
}

// connectStorm: an address that connects again and again is told so before a password is
// looked at, and others get in.
func connectStorm(t *testing.T, p *place) { // case 37
	const storm, rate, burst = 200, 20, 40
	from := p.sub.behind(fmt.Sprint("127.66.37.", 1+len(p.via))).as("bob")
	before := p.sub.node.Metrics()["dunlin_passwords_total"]
	began := time.Now()
	in := 0
	for k := range storm {
		version := []mqtt.Version{mqtt.V5, mqtt.V311}[k%2]
		c, why, closed := from.attempt(t, mqtt.Connect{Version: version})
		switch want := map[mqtt.Version]mqtt.Reason{mqtt.V5: mqtt.ConnectionRateExceeded, mqtt.V311: mqtt.ServerUnavailable}[version]; {
		case closed && p.via.isTLS(): // there is no word before the handshake
		case closed:
			t.Fatal("closed without a word")
		case why == mqtt.Success:
			in++
		case why != want:
			t.Fatalf("CONNACK %v", why)
		}
		if c != nil {
			c.Drop()
		}
	}
	if most := burst + rate*int(time.Since(began)/time.Second+1); in < burst/2 || in > most {
		t.Errorf("%d let in, at most %d may be", in, most)
	}
	harness.Eventually(t, "what was looked at is counted", func() error {
		if looked := p.sub.node.Metrics()["dunlin_passwords_total"] - before; looked < float64(in) || looked > float64(in)+1 {
			return fmt.Errorf("%v passwords for %d who were let in", looked, in)
		}
		return nil
	})
	if _, why, closed := p.sub.behind("127.66.37.99").as("bob").attempt(t, mqtt.Connect{}); closed || why != mqtt.Success {
		t.Errorf("from another address: %v, closed %v", why, closed)
	}
}

// silent: connections on which nothing comes are bounded for an address, and in all; the
// oldest make room. Who is connected is not disturbed.
func silent(t *testing.T, p *place) { // case 6
	const each = 300
	from := p.sub.behind("127.66.6.1")
	for range each {
		from.raw(t)
	}
	harness.Eventually(t, "one more from the address is turned away", func() error {
		switch c, why, closed := from.attempt(t, mqtt.Connect{}); {
		case closed:
			return nil
		case why == mqtt.QuotaExceeded:
			c.Drop()
			return nil
		default:
			return fmt.Errorf("%v", why)
		}
	})
	if _, why, closed := p.sub.attempt(t, mqtt.Connect{}); closed || why != mqtt.Success {
		t.Errorf("from another address: %v, closed %v", why, closed)
	}
	most := 9216 // see docs/limits.md
	if p.via != tcp {
		most = 4096
	}
	oldest := p.sub.raw(t)
	for range most - each {
		p.sub.raw(t)
	}
	for k := 0; ; k++ { // the loops have to see them all first
		p.sub.raw(t)
		oldest.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
		if _, err := oldest.Read(make([]byte, 1)); err != nil && !strings.Contains(err.Error(), "timeout") {
			break
		}
		if k == 1000 {
			t.Fatal("the oldest is still there")
		}
	}
	if _, why, closed := p.sub.attempt(t, mqtt.Connect{}); closed || why != mqtt.Success {
		t.Errorf("a client that comes now: %v, closed %v", why, closed)
	}
}
