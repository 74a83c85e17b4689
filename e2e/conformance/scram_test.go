package conformance

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
	"github.com/xdg-go/scram"

	"dunlin/e2e/harness"
	"dunlin/proto/mqtt"
)

// prover is Paho's part of an authentication by SCRAM, as another maker's library speaks it.
// After a failure it says nothing more.
type prover struct {
	t      *testing.T
	method string
	client *scram.Client
	conv   *scram.ClientConversation
	done   atomic.Int32 // times that the server was found to know the password
}

func newProver(t *testing.T, method, user, pass string) *prover {
	t.Helper()
	hash := map[string]scram.HashGeneratorFcn{"SCRAM-SHA-256": scram.SHA256, "SCRAM-SHA-512": scram.SHA512}[method]
	client, err := hash.NewClient(user, pass, "")
	if err != nil {
		t.Fatal(err)
	}
	return &prover{t: t, method: method, client: client}
}

// begin is the first message of a conversation.
func (p *prover) begin() []byte {
	p.t.Helper()
	p.conv = p.client.NewConversation()
	return p.step(nil)
}

func (p *prover) step(said []byte) []byte {
	p.t.Helper()
	s, err := p.conv.Step(string(said))
	if err != nil {
		p.t.Errorf("the server said %q: %v", said, err)
	}
	return []byte(s)
}

// Authenticate answers the server's AUTH.
func (p *prover) Authenticate(a *paho.Auth) *paho.Auth {
	if a.ReasonCode != byte(mqtt.ContinueAuthentication) || a.Properties.AuthMethod != p.method {
		p.t.Errorf("AUTH %+v", a)
	}
	return &paho.Auth{ReasonCode: byte(mqtt.ContinueAuthentication),
		Properties: &paho.AuthProperties{AuthMethod: p.method, AuthData: p.step(a.Properties.AuthData)}}
}

// Authenticated is told of success, without what the server proves itself by.
func (p *prover) Authenticated() { p.done.Add(1) }

// connect has Paho connect. Of a refusal it returns the CONNACK.
func (p *prover) connect(n *harness.Node, id string) (*client5, *paho.Connack) {
	p.t.Helper()
	c, ack := dialAuth(p.t, n, p, id, p.method, p.begin())
	if ack.ReasonCode == 0 {
		if ack.Properties.AuthMethod != p.method { // [MQTT-4.12.0-5]
			p.t.Errorf("CONNACK with method %q", ack.Properties.AuthMethod)
		}
		if p.step(ack.Properties.AuthData); !p.conv.Valid() {
			p.t.Errorf("the server has not proved to know the password: %q", ack.Properties.AuthData)
		}
	}
	return c, ack
}

// dialAuth has Paho connect by a method. Of a refusal it returns the CONNACK.
func dialAuth(t *testing.T, n *harness.Node, part paho.Auther, id, method string, data []byte) (*client5, *paho.Connack) {
	t.Helper()
	conn, err := net.Dial("tcp", n.MQTT)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	c := &client5{in: make(chan *paho.Publish, 10000)}
	c.Client = paho.NewClient(paho.ClientConfig{
		Conn: packets.NewThreadSafeConn(conn), AuthHandler: part, PacketTimeout: patience,
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(r paho.PublishReceived) (bool, error) {
			c.in <- r.Packet
			return true, nil
		}},
	})
	expiry := uint32(60)
	ack, err := c.Connect(t.Context(), &paho.Connect{ClientID: id, CleanStart: true, KeepAlive: 60,
		Properties: &paho.ConnectProperties{SessionExpiryInterval: &expiry, AuthMethod: method, AuthData: data}})
	if ack == nil {
		t.Fatal(err)
	}
	return c, ack
}

// again authenticates anew.
func (p *prover) again(c *client5) (*paho.AuthResponse, error) {
	p.t.Helper()
	return c.again(p.t, p.method, p.begin())
}

// again has Paho authenticate anew by a method.
func (c *client5) again(t *testing.T, method string, data []byte) (*paho.AuthResponse, error) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return c.Client.Authenticate(ctx, &paho.Auth{ReasonCode: byte(mqtt.ReAuthenticate),
		Properties: &paho.AuthProperties{AuthMethod: method, AuthData: data}})
}

// passwd gives users passwords in a file.
func passwd(t *testing.T, file, user, pass string, flags ...string) {
	t.Helper()
	cmd := exec.Command(harness.Binary(t), append([]string{"user", "passwd", "--file", file, "--scram-iterations", "4096", user}, flags...)...)
	cmd.Stdin = strings.NewReader(pass + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// Paho, with another maker's SCRAM, connects and authenticates anew while messages flow, of
// which none is lost or comes twice; and no more once the password has changed.
func TestScramWithPaho(t *testing.T) {
	t.Parallel()
	users := filepath.Join(t.TempDir(), "users")
	passwd(t, users, "ann", "geheim")
	passwd(t, users, "bob=,", "pa ss", "--scram", "SCRAM-SHA-256,SCRAM-SHA-512", "--hash=false")
	passwd(t, users, "eve", "secret", "--scram", "none")
	rules := filepath.Join(t.TempDir(), "rules")
	if err := os.WriteFile(rules, []byte("rules: [{allow: all, topics: [\"#\"]}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	n := harness.Start(t, harness.Options{Config: fmt.Sprintf("auth: {users-file: %s}\nacl: {file: %s}\n", users, rules)}).Nodes[0]

	for _, c := range []struct {
		method, user, pass string
		want               mqtt.Reason
	}{
		{"SCRAM-SHA-256", "ann", "geheim", mqtt.Success},
		{"SCRAM-SHA-256", "bob=,", "pa ss", mqtt.Success},
		{"SCRAM-SHA-512", "bob=,", "pa ss", mqtt.Success},
		{"SCRAM-SHA-256", "ann", "wrong", mqtt.BadUsernameOrPassword},
		{"SCRAM-SHA-512", "ann", "geheim", mqtt.BadUsernameOrPassword}, // has no verifier for it
		{"SCRAM-SHA-256", "eve", "secret", mqtt.BadUsernameOrPassword}, // has none
		{"SCRAM-SHA-256", "nobody", "geheim", mqtt.BadUsernameOrPassword},
	} {
		p := newProver(t, c.method, c.user, c.pass)
		if _, ack := p.connect(n, c.method+c.user); ack.ReasonCode != byte(c.want) {
			t.Errorf("%s, user %q, password %q: CONNACK %#x", c.method, c.user, c.pass, ack.ReasonCode)
		}
	}
	// A password is still good for who has a hash of it, and no more for who has not.
	for user, want := range map[string]mqtt.Reason{"ann": mqtt.Success, "bob=,": mqtt.BadUsernameOrPassword} {
		got := harness.TryConnect(t, n.MQTT, mqtt.Connect{CleanStart: true, HasUsername: true, Username: []byte(user), HasPassword: true,
			Password: []byte(map[string]string{"ann": "geheim", "bob=,": "pa ss"}[user])})
		if got.Connack.Reason != want {
			t.Errorf("%q with a password: CONNACK %v", user, got.Connack.Reason)
		}
	}

	p := newProver(t, "SCRAM-SHA-256", "ann", "geheim")
	c, ack := p.connect(n, "flow")
	if ack.ReasonCode != 0 {
		t.Fatalf("CONNACK %#x", ack.ReasonCode)
	}
	c.subscribe(t, filter5("flow", 2))
	const messages = 500
	published := make(chan struct{})
	go func() {
		defer close(published)
		for i := range messages {
			if _, err := c.Publish(t.Context(), &paho.Publish{Topic: "flow", QoS: byte(i % 3), Payload: fmt.Append(nil, i)}); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	rounds := 0
	for flowing := true; flowing; rounds++ {
		select {
		case <-published:
			flowing = false
		default:
		}
		if r, err := p.again(c); err != nil || !r.Success {
			t.Fatalf("round %d: %+v, %v", rounds, r, err)
		}
	}
	next := [3]int{0, 1, 2}
	for range messages {
		m := take(t, c.in)
		if got, want := string(m.Payload), fmt.Sprint(next[m.QoS]); got != want {
			t.Errorf("QoS %d: message %s, want %s", m.QoS, got, want)
		}
		next[m.QoS] += 3
	}
	harness.Eventually(t, "all are counted", func() error {
		if got := n.Metrics()["dunlin_reauthentications_total"]; int(got) != rounds {
			return fmt.Errorf("%v of %d", got, rounds)
		}
		return nil
	})

	// Another user's session is not to be had (E6).
	hers, ack := newProver(t, "SCRAM-SHA-256", "ann", "geheim").connect(n, "hers")
	if ack.ReasonCode != 0 {
		t.Fatalf("CONNACK %#x", ack.ReasonCode)
	}
	if _, ack := newProver(t, "SCRAM-SHA-256", "bob=,", "pa ss").connect(n, "hers"); ack.ReasonCode != byte(mqtt.NotAuthorized) {
		t.Errorf("bob with ann's session: CONNACK %#x", ack.ReasonCode)
	}
	hers.publish(t, paho.Publish{Topic: "x", QoS: 1})
	// Nobody goes on who proves nothing anew, or to be another one.
	for _, q := range []*prover{
		newProver(t, "SCRAM-SHA-256", "ann", "wrong"), newProver(t, "SCRAM-SHA-256", "nobody", "geheim"), newProver(t, "SCRAM-SHA-256", "bob=,", "pa ss"),
	} {
		p := newProver(t, "SCRAM-SHA-256", "ann", "geheim")
		c, ack := p.connect(n, "anew")
		if ack.ReasonCode != 0 {
			t.Fatalf("CONNACK %#x", ack.ReasonCode)
		}
		p.client = q.client
		if r, err := p.again(c); err != nil || r.Success || r.ReasonCode != byte(mqtt.NotAuthorized) {
			t.Errorf("%+v, %v", r, err)
		}
	}

	passwd(t, users, "ann", "neu")
	n.Hangup()
	harness.Eventually(t, "the new password is taken", func() error {
		if _, ack := newProver(t, "SCRAM-SHA-256", "ann", "neu").connect(n, "new"); ack.ReasonCode != 0 {
			return fmt.Errorf("CONNACK %#x", ack.ReasonCode)
		}
		return nil
	})
	select {
	case <-c.Done():
	case <-time.After(patience):
		t.Error("who came by the former password stays")
	}
}

// Case 44: all nodes tell the same of a name that is not there, with other keys of gossip and
// after a restart too; and nothing by which it differs from one that is.
func TestScramNamesThatAreNotThere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	users, keys := filepath.Join(dir, "users"), filepath.Join(dir, "gossip.keys")
	passwd(t, users, "ann", "geheim")
	passwd(t, users, "eve", "secret", "--scram", "none")
	write := func(lines ...string) {
		t.Helper()
		if err := os.WriteFile(keys, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	one, two := base64.StdEncoding.EncodeToString(make([]byte, 32)), base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{1}, 32))
	write(one)
	nodes := harness.Start(t, harness.Options{Nodes: 2, Config: fmt.Sprintf("auth: {users-file: %s}\ngossip-key-file: %s\n", users, keys)}).Nodes
	told := func(n *harness.Node, user string) string {
		t.Helper()
		c := harness.Dial(t, n.MQTT)
		c.Send(&mqtt.Connect{Version: mqtt.V5, CleanStart: true, RequestProblemInfo: true, HasAuthMethod: true,
			AuthMethod: []byte("SCRAM-SHA-256"), AuthData: []byte("n,,n=" + user + ",r=x")})
		_, challenge, _ := bytes.Cut(c.Expect(mqtt.AUTH).Auth.Data, []byte(","))
		return string(challenge)
	}
	all := map[string]string{}
	same := func(when string) {
		t.Helper()
		for user, at := range all {
			for i, n := range nodes {
				if now := told(n, user); now != at {
					t.Errorf("%s, node %d: %s is told %q instead of %q", when, i, user, now, at)
				}
			}
		}
	}
	for _, user := range []string{"ann", "eve", "nobody", "nobody2"} {
		all[user] = told(nodes[0], user)
		if len(all[user]) != len(all["ann"]) || all[user][strings.LastIndex(all[user], ","):] != ",i=4096" {
			t.Errorf("%s: %q, unlike %q", user, all[user], all["ann"])
		}
	}
	if all["eve"] == all["nobody"] || all["nobody"] == all["nobody2"] {
		t.Errorf("the same salt: %v", all)
	}
	same("at first")
	for round, lines := range [][]string{{one, two}, {two, one}, {two}} {
		write(lines...)
		for _, n := range nodes {
			n.Hangup()
			harness.Eventually(t, "the keys are taken over", func() error {
				if times := strings.Count(n.Log(), "gossip keys reloaded"); times <= round {
					return fmt.Errorf("%d times", times)
				}
				return nil
			})
		}
	}
	same("with another key")
	nodes[1].Stop()
	nodes[1].Start()
	nodes[1].WaitReady()
	same("after a restart")
}
