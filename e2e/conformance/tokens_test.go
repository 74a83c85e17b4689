package conformance

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	"github.com/go-jose/go-jose/v4"

	"dunlin/e2e/harness"
	"dunlin/proto/mqtt"
)

// provider is an OpenID Connect provider: it publishes its keys and grants tokens to
// clients that show their secret [RFC 6749, 4.4].
type provider struct {
	*httptest.Server
	t *testing.T

	mu     sync.Mutex
	key    *ecdsa.PrivateKey
	keyID  string
	away   bool
	claims map[string]any
}

func newProvider(t *testing.T) *provider {
	p := &provider{t: t}
	pages := http.NewServeMux()
	answer := func(w http.ResponseWriter, v any) {
		if p.away {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		json.NewEncoder(w).Encode(v)
	}
	pages.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		answer(w, map[string]string{"issuer": p.URL, "jwks_uri": p.URL + "/keys", "token_endpoint": p.URL + "/token"})
	})
	pages.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		answer(w, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &p.key.PublicKey, KeyID: p.keyID, Algorithm: "ES256", Use: "sig"}}})
	})
	pages.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		client, secret, _ := r.BasicAuth()
		if secret != "hush" || r.FormValue("grant_type") != "client_credentials" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		all := map[string]any{"iss": p.URL, "sub": client, "aud": "mqtt", "exp": time.Now().Add(time.Hour).Unix()}
		for name, v := range p.claims {
			all[name] = v
		}
		payload, _ := json.Marshal(all)
		s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: p.key}, (&jose.SignerOptions{}).WithHeader("kid", p.keyID))
		if err != nil {
			p.t.Error(err)
			return
		}
		signed, err := s.Sign(payload)
		if err != nil {
			p.t.Error(err)
			return
		}
		token, _ := signed.CompactSerialize()
		json.NewEncoder(w).Encode(map[string]any{"access_token": token, "token_type": "Bearer"})
	})
	p.Server = httptest.NewServer(pages)
	t.Cleanup(p.Close)
	p.rotate()
	return p
}

// rotate has a new key sign from now on, in place of the old one.
func (p *provider) rotate() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p.keyID += "k"
}

func (p *provider) setAway(away bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.away = away
}

// token is granted to a client, with these claims beside the usual ones.
func (p *provider) token(client string, claims map[string]any) string {
	p.t.Helper()
	p.mu.Lock()
	p.claims = maps.Clone(claims)
	p.mu.Unlock()
	req, err := http.NewRequestWithContext(p.t.Context(), http.MethodPost, p.URL+"/token", strings.NewReader(url.Values{"grant_type": {"client_credentials"}}.Encode()))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(client, "hush")
	resp, err := p.Client().Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	var got struct {
		Token string `json:"access_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil || got.Token == "" {
		p.t.Fatalf("no token: %s, %v", resp.Status, err)
	}
	return got.Token
}

// A client that was granted a token connects with it to any node, may do what it claims
// until it expires, and finds its session again with the next one; the provider may
// change its key, and be away.
func TestTokens(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	rules := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(rules, []byte("rules: [{allow: all, groups: [ops], topics: [\"#\"]}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	nodes := harness.Start(t, harness.Options{Nodes: 2, Config: fmt.Sprintf(`
auth:
  jwt: {discovery: true, issuer: %q, audience: mqtt, rights-claim: acl, groups-claim: roles, leeway: 0}
acl: {file: %s}
`, p.URL, rules)}).Nodes
	connect := func(node int, id, token string, more ...func(*mqtt.Connect)) *harness.Client {
		t.Helper()
		c := mqtt.Connect{ClientID: []byte(id), SessionExpiry: 60, HasPassword: true, Password: []byte(token)}
		for _, f := range more {
			f(&c)
		}
		return harness.TryConnect(t, nodes[node].MQTT, c)
	}
	tries := 0
	try := func(node int, token string) mqtt.Reason {
		t.Helper()
		tries++
		return connect(node, fmt.Sprint("try-", tries), token).Connack.Reason
	}
	acl := map[string]any{"acl": []any{
		map[string]any{"allow": "publish", "topics": []string{"up/${clientid}"}},
		map[string]any{"allow": "subscribe", "topics": []string{"down/${username}"}},
	}}
	device := connect(0, "d1", p.token("plant", acl))
	if device.Connack.Reason != mqtt.Success {
		t.Fatalf("CONNACK %v", device.Connack.Reason)
	}
	device.Send(&mqtt.Subscribe{PacketID: 1, Filters: []mqtt.Subscription{{Filter: []byte("down/plant"), QoS: 1}, {Filter: []byte("up/d1")}}})
	if got := device.Expect(mqtt.SUBACK).Suback.Reasons; got[0] != 1 || got[1] != mqtt.NotAuthorized {
		t.Errorf("SUBACK %v", got)
	}
	for topic, want := range map[string]bool{"up/d1": true, "up/d2": false, "down/plant": false} {
		device.Send(&mqtt.Publish{Topic: []byte(topic), QoS: 1, PacketID: 1})
		if got := device.Expect(mqtt.PUBACK).Ack.Reason; (got < mqtt.Unspecified) != want {
			t.Errorf("publish %s: %v", topic, got)
		}
	}
	// The command line has it as a password too; its role comes under the rules of the node.
	host, port, _ := net.SplitHostPort(nodes[1].MQTT)
	out, err := exec.Command(nodes[1].Bin, "pub", "-h", host, "-p", port, "-u", "any", "-P", p.token("ann", map[string]any{"roles": "x ops"}),
		"-t", "down/plant", "-m", "hello", "-q", "1").CombinedOutput()
	if err != nil {
		t.Errorf("pub: %v: %s", err, out)
	}
	if got := device.Expect(mqtt.PUBLISH).Publish; string(got.Payload) != "hello" {
		t.Errorf("got %q", got.Payload)
	} else {
		device.Send(&mqtt.Ack{Kind: mqtt.PUBACK, PacketID: got.PacketID})
	}

	old := p.token("plant", acl)
	p.rotate()
	for node := range nodes {
		if r := try(node, p.token("plant", nil)); r != mqtt.Success {
			t.Errorf("node %d, token of the new key: %v", node, r)
		}
		if r := try(node, old); r != mqtt.BadUsernameOrPassword {
			t.Errorf("node %d, token of the old key: %v", node, r)
		}
	}
	p.setAway(true)
	n := nodes[0]
	n.Hangup() // the keys are fetched, or not
	harness.Eventually(t, "that the provider is away is told of", func() error {
		if !strings.Contains(n.Log(), "token keys not fetched") {
			return fmt.Errorf("log: %s", n.Log())
		}
		return nil
	})
	if r := try(0, p.token("plant", nil)); r != mqtt.Success {
		t.Errorf("while the provider is away: %v", r)
	}

	// To 3.1.1 there is nothing to say at the end but goodbye.
	last := time.Now().Add(3 * time.Second).Unix()
	acl["exp"] = last
	brief := p.token("plant", acl)
	v3 := connect(1, "d3", brief, func(c *mqtt.Connect) { c.Version, c.HasUsername = mqtt.V311, true })
	device = connect(1, "d1", brief)
	if !device.Connack.SessionPresent || v3.Connack.Reason != mqtt.Success {
		t.Errorf("session present %v; 3.1.1: %v", device.Connack.SessionPresent, v3.Connack.Reason)
	}
	if r := device.Expect(mqtt.DISCONNECT).Disconnect.Reason; r != mqtt.MaximumConnectTime {
		t.Errorf("DISCONNECT %v", r)
	}
	if time.Now().Unix() < last {
		t.Error("ended before its time")
	}
	if packet, err := v3.Next(); err == nil {
		t.Errorf("3.1.1: %v", packet.Kind)
	}
	if r := try(0, brief); r != mqtt.BadUsernameOrPassword {
		t.Errorf("the token that is over: %v", r)
	}
	out, err = exec.Command(nodes[1].Bin, "pub", "-h", host, "-p", port, "-u", "any", "-P", p.token("ann", map[string]any{"roles": []string{"ops"}}),
		"-t", "down/plant", "-m", "kept", "-q", "1").CombinedOutput()
	if err != nil {
		t.Errorf("pub: %v: %s", err, out)
	}
	delete(acl, "exp")
	device = connect(0, "d1", p.token("plant", acl))
	if got := device.Expect(mqtt.PUBLISH).Publish; !device.Connack.SessionPresent || string(got.Payload) != "kept" {
		t.Errorf("back again: %q, session present %v", got.Payload, device.Connack.SessionPresent)
	}
	harness.Eventually(t, "both are counted", func() error {
		if n := nodes[1].Metrics()["dunlin_lapsed_total"]; n != 2 {
			return fmt.Errorf("%v connections lapsed", n)
		}
		return nil
	})
}

// bearer is Paho's part of an authentication by a token, for which it may be asked.
type bearer struct{ method, token string }

func (b *bearer) Authenticate(*paho.Auth) *paho.Auth {
	return &paho.Auth{ReasonCode: byte(mqtt.ContinueAuthentication), Properties: &paho.AuthProperties{AuthMethod: b.method, AuthData: []byte(b.token)}}
}

func (*bearer) Authenticated() {}

// A client whose token is its authentication data goes on with another one, and what that
// claims, when the first is over; with one that is not good, or another user's, it does not.
func TestTokensAnew(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	n := harness.Start(t, harness.Options{Config: fmt.Sprintf(
		"auth: {jwt: {discovery: true, issuer: %q, audience: mqtt, rights-claim: acl, leeway: 0}}\n", p.URL)}).Nodes[0]
	may := func(topic string, until time.Time) map[string]any {
		return map[string]any{"exp": until.Unix(), "acl": []any{map[string]any{"allow": "all", "topics": []string{topic}}}}
	}
	hour := time.Now().Add(time.Hour)
	const method = "JWT"
	for _, c := range []struct {
		method, now, later string // the token in CONNECT, and when it is asked for
		want               mqtt.Reason
	}{
		{method, p.token("plant", nil), "", mqtt.Success}, {method, "", p.token("plant", nil), mqtt.Success},
		{"OAUTH2-JWT", p.token("plant", nil), "", mqtt.Success}, {"CUSTOM-JWT", p.token("plant", nil), "", mqtt.Success},
		{method, p.token("plant", map[string]any{"aud": "x"}), "", mqtt.BadUsernameOrPassword},
		{method, "", "", mqtt.BadUsernameOrPassword}, {method, "secret", "", mqtt.BadUsernameOrPassword},
		{"jwt", p.token("plant", nil), "", mqtt.BadAuthenticationMethod}, {"SCRAM-SHA-256", "n,,n=plant,r=x", "", mqtt.BadAuthenticationMethod},
	} {
		if _, ack := dialAuth(t, n, &bearer{c.method, c.later}, "", c.method, []byte(c.now)); ack.ReasonCode != byte(c.want) {
			t.Errorf("method %s, token %.9q, then %.9q: CONNACK %#x", c.method, c.now, c.later, ack.ReasonCode)
		}
	}
	soon := time.Now().Add(5 * time.Second)
	brief := p.token("plant", may("old", soon))
	goes, ack := dialAuth(t, n, &bearer{method: method}, "goes", method, []byte(brief))
	stays, ack2 := dialAuth(t, n, &bearer{method: method}, "stays", method, []byte(brief))
	lapses := harness.TryConnect(t, n.MQTT, mqtt.Connect{ClientID: []byte("lapses"), HasPassword: true, Password: []byte(brief)})
	if ack.ReasonCode != 0 || ack2.ReasonCode != 0 || lapses.Connack.Reason != mqtt.Success {
		t.Fatalf("CONNACK %#x, %#x, %v", ack.ReasonCode, ack2.ReasonCode, lapses.Connack.Reason)
	}
	publish := func(c *client5, topic, payload string, want mqtt.Reason) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		r, err := c.Publish(ctx, &paho.Publish{Topic: topic, Payload: []byte(payload), QoS: 1})
		if r == nil || (want == mqtt.Success) != (r.ReasonCode < byte(mqtt.Unspecified)) {
			t.Errorf("publish %s to %s: %+v, %v", payload, topic, r, err)
		}
	}
	gets := func(payload string) {
		t.Helper()
		if got := string(take(t, stays.in).Payload); got != payload {
			t.Errorf("got %q, want %q", got, payload)
		}
	}
	stays.subscribe(t, filter5("old", 1))
	publish(stays, "new", "by the first", mqtt.NotAuthorized)
	publish(goes, "old", "at first", mqtt.Success)
	gets("at first")
	if r, err := stays.again(t, method, []byte(p.token("plant", may("new", hour)))); err != nil || !r.Success {
		t.Fatalf("with another token: %+v, %v", r, err)
	}
	publish(stays, "new", "by the second", mqtt.Success)
	publish(stays, "old", "by the second", mqtt.NotAuthorized)
	publish(goes, "old", "that it may not have", mqtt.Success)
	if r := lapses.Expect(mqtt.DISCONNECT).Disconnect.Reason; r != mqtt.MaximumConnectTime {
		t.Errorf("DISCONNECT %v", r)
	}
	select {
	case <-goes.Done():
	case <-time.After(patience):
		t.Error("who had no other token goes on")
	}
	publish(stays, "new", "beyond the first", mqtt.Success)
	if r, err := stays.again(t, method, []byte(p.token("plant", may("old", hour)))); err != nil || !r.Success {
		t.Fatalf("with a third token: %+v, %v", r, err)
	}
	publish(stays, "old", "by the third", mqtt.Success)
	gets("by the third")
	for what, token := range map[string]string{"over": brief, "of another": p.token("farm", nil), "for others": p.token("plant", map[string]any{"aud": "x"}), "none": ""} {
		c, _ := dialAuth(t, n, &bearer{method: method}, "", method, []byte(p.token("plant", nil)))
		if r, err := c.again(t, method, []byte(token)); err != nil || r.Success || r.ReasonCode != byte(mqtt.NotAuthorized) {
			t.Errorf("%s: %+v, %v", what, r, err)
		}
	}
	if log := n.Log(); strings.Contains(log, brief[:20]) {
		t.Error("the log has a token in it")
	}
}
