package cases

import (
	"testing"

	"github.com/xdg-go/scram"

	"dunlin/e2e/harness"
	"dunlin/proto/mqtt"
)

const sha256, sha512 = "SCRAM-SHA-256", "SCRAM-SHA-512"

// named opens a connection whose CONNECT names a method.
func (d door) named(t *testing.T, method, data string) *harness.Client {
	t.Helper()
	c := d.dial(t)
	c.Send(&mqtt.Connect{Version: mqtt.V5, CleanStart: true, RequestProblemInfo: true, ReceiveMaximum: 10,
		HasAuthMethod: true, AuthMethod: []byte(method), AuthData: []byte(data)})
	return c
}

// goOn is AUTH of an exchange that is under way.
func goOn(method string, data []byte) *mqtt.Auth {
	return &mqtt.Auth{Reason: mqtt.ContinueAuthentication, Method: []byte(method), Data: data}
}

// badExchanges: before CONNACK an exchange that is changed, goes on for ever, or not at all,
// ends with the connection.
func badExchanges(t *testing.T, p *place) { // case 47
	const first = "n,,n=user,r=x"
	var silent []*harness.Client
	for range 20 {
		c := p.sub.named(t, sha256, first)
		c.Expect(mqtt.AUTH)
		silent = append(silent, c)
	}
	for name, c := range map[string]struct {
		method, data string
		next         []harness.Packet // after the challenge, nil: there is none
		want         mqtt.Reason
	}{
		"unknown method":           {"NONE", "x", nil, mqtt.BadAuthenticationMethod},
		"method without a user":    {sha512, first, nil, mqtt.BadAuthenticationMethod},
		"no message":               {sha256, "rubbish", nil, mqtt.NotAuthorized},
		"channel binding":          {sha256, "p=tls-unique,,n=user,r=x", nil, mqtt.NotAuthorized},
		"method changed":           {sha256, first, []harness.Packet{goOn(sha512, []byte("x"))}, mqtt.BadAuthenticationMethod},
		"rubbish instead of proof": {sha256, first, []harness.Packet{goOn(sha256, []byte("rubbish"))}, mqtt.NotAuthorized},
		"megabytes":                {sha256, first, []harness.Packet{goOn(sha256, make([]byte, 65_000)), goOn(sha256, make([]byte, 65_000))}, mqtt.NotAuthorized},
		"publish meanwhile":        {sha256, first, []harness.Packet{&mqtt.Publish{Topic: []byte("open/x")}}, mqtt.ProtocolError},
		"begun again":              {sha256, first, []harness.Packet{&mqtt.Auth{Reason: mqtt.ReAuthenticate, Method: []byte(sha256), Data: []byte(first)}}, mqtt.ProtocolError},
	} {
		cl := p.sub.named(t, c.method, c.data)
		if c.next != nil {
			cl.Expect(mqtt.AUTH)
			cl.Send(c.next...)
		}
		if got := cl.Expect(mqtt.CONNACK).Connack.Reason; got != c.want {
			t.Errorf("%s: CONNACK %v instead of %v", name, got, c.want)
		}
		cl.ExpectClosed()
	}
	for _, user := range []string{"user", "nobody"} { // a wrong proof, and a user who is not there: the same
		conv := conversation(t, user, "wrong")
		c := p.sub.behind("127.66.47.1").named(t, sha256, step(t, conv, nil))
		c.Send(goOn(sha256, []byte(step(t, conv, c.Expect(mqtt.AUTH).Auth.Data))))
		if got := c.Expect(mqtt.CONNACK).Connack.Reason; got != mqtt.BadUsernameOrPassword {
			t.Errorf("%s: CONNACK %v", user, got)
		}
		c.ExpectClosed()
	}
	for _, c := range silent { // until connect-timeout
		if got := c.Expect(mqtt.CONNACK).Connack.Reason; got != mqtt.NotAuthorized {
			t.Errorf("silent: CONNACK %v", got)
		}
		c.ExpectClosed()
	}
	c := p.sub.dial(t)
	c.Send(goOn(sha256, []byte(first)))
	c.ExpectClosed()
}

// badExchangesAgain: who is in and authenticates anew is held to the same.
func badExchangesAgain(t *testing.T, p *place) { // case 47
	again := func(method string) *mqtt.Auth {
		return &mqtt.Auth{Reason: mqtt.ReAuthenticate, Method: []byte(method), Data: []byte("n,,n=user,r=x")}
	}
	for name, c := range map[string]struct {
		packets []harness.Packet
		want    mqtt.Reason
	}{
		"method changed":       {[]harness.Packet{again(sha512)}, mqtt.BadAuthenticationMethod},
		"method changed later": {[]harness.Packet{again(sha256), goOn(sha512, []byte("x"))}, mqtt.BadAuthenticationMethod},
		"begun twice":          {[]harness.Packet{again(sha256), again(sha256)}, mqtt.ProtocolError},
		"goes on with nothing": {[]harness.Packet{goOn(sha256, []byte("x"))}, mqtt.ProtocolError},
		"rubbish":              {[]harness.Packet{again(sha256), goOn(sha256, []byte("rubbish"))}, mqtt.NotAuthorized},
	} {
		conv := conversation(t, "user", "pencil")
		cl := p.sub.named(t, sha256, step(t, conv, nil))
		cl.Send(goOn(sha256, []byte(step(t, conv, cl.Expect(mqtt.AUTH).Auth.Data))))
		if got := cl.Expect(mqtt.CONNACK).Connack.Reason; got != mqtt.Success {
			t.Fatalf("CONNACK %v", got)
		}
		cl.ExpectQuiet()
		for k, packet := range c.packets {
			if cl.Send(packet); k < len(c.packets)-1 {
				cl.Expect(mqtt.AUTH)
			}
		}
		if got := cl.Expect(mqtt.DISCONNECT).Disconnect.Reason; got != c.want {
			t.Errorf("%s: DISCONNECT %v instead of %v", name, got, c.want)
		}
		cl.ExpectClosed()
	}
	// Whoever named no method cannot begin with one.
	for _, a := range []*mqtt.Auth{again(sha256), goOn(sha256, make([]byte, 60_000))} {
		c := p.sub.connect(t, mqtt.Connect{CleanStart: true})
		for range 100 {
			c.Send(a)
		}
		c.ExpectDisconnect(mqtt.ProtocolError)
	}
}

// conversation is another maker's client of SCRAM.
func conversation(t *testing.T, user, pass string) *scram.ClientConversation {
	t.Helper()
	c, err := scram.SHA256.NewClient(user, pass, "")
	if err != nil {
		t.Fatal(err)
	}
	return c.NewConversation()
}

func step(t *testing.T, c *scram.ClientConversation, said []byte) string {
	t.Helper()
	s, err := c.Step(string(said))
	if err != nil {
		t.Fatal(err)
	}
	return s
}
