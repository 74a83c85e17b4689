package node

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"dunlin/node/config"
	"dunlin/proto/mqtt"
)

// provider is an OpenID Connect provider: it says where its keys are, and grants tokens to
// clients that show their secret.
type provider struct {
	*httptest.Server
	t *testing.T

	mu      sync.Mutex
	key     *ecdsa.PrivateKey
	keyID   string
	fetches int
	claims  map[string]map[string]any // by client
}

func newProvider(t *testing.T) *provider {
	p := &provider{t: t, claims: make(map[string]map[string]any)}
	pages := http.NewServeMux()
	pages.HandleFunc("GET /realm/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]string{"issuer": p.issuer(), "jwks_uri": p.URL + "/keys", "token_endpoint": p.URL + "/token"})
	})
	pages.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.fetches++
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &p.key.PublicKey, KeyID: p.keyID, Algorithm: "ES256", Use: "sig"}}})
	})
	pages.HandleFunc("POST /token", p.grant)
	p.Server = httptest.NewServer(pages)
	t.Cleanup(p.Close)
	p.rotate()
	return p
}

func (p *provider) issuer() string { return p.URL + "/realm" }

// rotate has tokens signed with a new key from now on, and forgets the old one.
func (p *provider) rotate() {
	p.mu.Lock()
	defer p.mu.Unlock()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		p.t.Fatal(err)
	}
	p.key, p.keyID = key, p.keyID+"k"
}

// grant is the client credentials grant [RFC 6749, 4.4].
func (p *provider) grant(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	client, secret, ok := r.BasicAuth()
	claims, known := p.claims[client]
	if !ok || !known || secret != "secret of "+client || r.FormValue("grant_type") != "client_credentials" {
		http.Error(w, `{"error":"invalid_client"}`, http.StatusUnauthorized)
		return
	}
	all := map[string]any{"iss": p.issuer(), "sub": client, "aud": []string{"account", "mqtt"}, "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()}
	for name, v := range claims {
		all[name] = v
	}
	payload, _ := json.Marshal(all)
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: p.key}, (&jose.SignerOptions{}).WithType("at+jwt").WithHeader("kid", p.keyID))
	if err == nil {
		var signed *jose.JSONWebSignature
		if signed, err = s.Sign(payload); err == nil {
			token, _ := signed.CompactSerialize()
			_ = json.NewEncoder(w).Encode(map[string]any{"access_token": token, "token_type": "Bearer", "expires_in": 3600})
		}
	}
	if err != nil {
		p.t.Error(err)
	}
}

// token has a client ask for one that says so.
func (p *provider) token(client string, claims map[string]any) string {
	p.t.Helper()
	p.mu.Lock()
	p.claims[client] = claims
	p.mu.Unlock()
	req, err := http.NewRequestWithContext(p.t.Context(), http.MethodPost, p.URL+"/token", strings.NewReader(url.Values{"grant_type": {"client_credentials"}}.Encode()))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(client, "secret of "+client)
	resp, err := p.Client().Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	var got struct {
		Token string `json:"access_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil || got.Token == "" {
		p.t.Fatalf("status %d, %v", resp.StatusCode, err)
	}
	return got.Token
}

// device is a client that a test moves.
type device struct {
	t       *testing.T
	c       net.Conn
	version mqtt.Version
	in      []byte
}

// openDevice opens a connection.
func openDevice(t *testing.T, addr string, version mqtt.Version) *device {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &device{t: t, c: c, version: version}
}

// dialDevice connects with a token, and returns what CONNACK says.
func dialDevice(t *testing.T, addr, id, token string) (*device, mqtt.Connack) {
	t.Helper()
	d := openDevice(t, addr, mqtt.V5)
	d.send(&mqtt.Connect{Version: mqtt.V5, ClientID: []byte(id), SessionExpiry: 60, ReceiveMaximum: 10,
		HasUsername: true, Username: []byte(id), HasPassword: true, Password: []byte(token)})
	return d, d.next(mqtt.CONNACK).Connack
}

func (d *device) send(p interface {
	Append([]byte, mqtt.Version) []byte
}) {
	d.t.Helper()
	if _, err := d.c.Write(p.Append(nil, d.version)); err != nil {
		d.t.Fatal(err)
	}
}

// next reads a packet, which has to be of that kind.
func (d *device) next(kind mqtt.Kind) *mqtt.Packet {
	d.t.Helper()
	p, err := d.read()
	if err != nil || p.Kind != kind {
		d.t.Fatalf("%v instead of %v, %v", p.Kind, kind, err)
	}
	return p
}

// isClosed reads the end of the connection, or a packet that should not be there.
func (d *device) isClosed() bool {
	d.t.Helper()
	_, err := d.read()
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)
}

// read reads a packet.
func (d *device) read() (*mqtt.Packet, error) {
	d.t.Helper()
	_ = d.c.SetReadDeadline(time.Now().Add(15 * time.Second))
	for {
		f, n, err := mqtt.Cut(d.in, 1<<20)
		if err != nil {
			d.t.Fatal(err)
		}
		if n > 0 {
			p := new(mqtt.Packet)
			err := mqtt.Decode(f, d.version, p)
			d.in = bytes.Clone(d.in[n:])
			return p, err
		}
		b := make([]byte, 4096)
		got, err := d.c.Read(b)
		if err != nil {
			return &mqtt.Packet{}, err
		}
		d.in = append(d.in[:len(d.in):len(d.in)], b[:got]...)
	}
}

func (d *device) publish(topic string) mqtt.Reason {
	d.t.Helper()
	d.send(&mqtt.Publish{Topic: []byte(topic), Payload: []byte("x"), QoS: 1, PacketID: 1})
	return d.next(mqtt.PUBACK).Ack.Reason
}

func (d *device) subscribe(filter string) mqtt.Reason {
	d.t.Helper()
	d.send(&mqtt.Subscribe{PacketID: 2, Filters: []mqtt.Subscription{{Filter: []byte(filter), QoS: 1}}})
	return d.next(mqtt.SUBACK).Suback.Reasons[0]
}

// lines is a log that can be read while it is written.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// runNode runs a node with one listener until the test ends.
func runNode(t *testing.T, change func(*config.Config), log io.Writer) (n *Node, addr string) {
	t.Helper()
	return runNodeWith(t, change, func(*Node) {}, log)
}

// runNodeWith is runNode of one that is prepared before it runs.
func runNodeWith(t *testing.T, change func(*config.Config), prepare func(*Node), log io.Writer) (n *Node, addr string) {
	t.Helper()
	host := fmt.Sprintf("127.%d.%d.%d", 1+mathrand.IntN(250), mathrand.IntN(256), 1+mathrand.IntN(250))
	c := config.Default()
	c.DataDir, c.HTTPAddr = t.TempDir(), ""
	c.MQTTAddr, c.GossipAddr, c.ClusterAddr = host+":1883", host+":7946", host+":7947"
	change(&c)
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	n, err := New(c, slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		t.Fatal(err)
	}
	prepare(n)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	eventually(t, func() error {
		if !n.serving.Load() {
			return errors.New("not ready")
		}
		return nil
	})
	return n, c.MQTTAddr
}

// eventually polls until there is no error.
func eventually(t *testing.T, f func() error) {
	t.Helper()
	for end := time.Now().Add(15 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// A client is granted a token, connects with it, and may do what it says and what rules
// say of its groups, until it expires; keys change meanwhile.
func TestTokensOfAProvider(t *testing.T) {
	p := newProvider(t)
	rules := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(rules, []byte("rules: [{allow: subscribe, groups: [readers], topics: [\"news/#\"]}, {allow: all, topics: [\"own/${username}/#\"]}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	log := new(lines)
	n, addr := runNode(t, func(c *config.Config) {
		j := &c.Auth.JWT
		j.Discovery, j.Issuer, j.Audience = true, p.issuer(), []string{"mqtt"}
		j.RightsClaim, j.GroupsClaim, j.Leeway = "acl", "realm_access.roles", 0
		c.ACL.File = rules
	}, log)
	acl := []map[string]any{
		{"deny": "publish", "topics": []string{"own/${username}/sealed"}},
		{"allow": "publish", "topics": []string{"plant/${clientid}/up"}, "qos": []int{1}},
	}
	roles := map[string]any{"roles": []string{"x", "readers"}}
	var tokens []string
	token := func(claims map[string]any) string {
		t.Helper()
		s := p.token("sensor", claims)
		tokens = append(tokens, s)
		return s
	}
	d, ack := dialDevice(t, addr, "s1", token(map[string]any{"acl": acl, "realm_access": roles}))
	if ack.Reason != mqtt.Success {
		t.Fatalf("CONNACK %v: %s", ack.Reason, log)
	}
	const no = mqtt.NotAuthorized
	for topic, want := range map[string]mqtt.Reason{
		"plant/s1/up": mqtt.NoMatchingSubscribers, "plant/s2/up": no, "own/sensor/a": mqtt.NoMatchingSubscribers,
		"own/sensor/sealed": no, "own/other/a": no, "news/x": no,
	} {
		if got := d.publish(topic); got != want {
			t.Errorf("publish %s: %v, want %v", topic, got, want)
		}
	}
	for filter, want := range map[string]mqtt.Reason{"news/#": 1, "own/sensor/#": 1, "plant/s1/up": no, "#": no} {
		if got := d.subscribe(filter); got != want {
			t.Errorf("subscribe %s: %v, want %v", filter, got, want)
		}
	}
	for what, claims := range map[string]map[string]any{
		"for others": {"aud": "account"}, "over": {"exp": time.Now().Add(-time.Second).Unix()}, "of another": {"iss": p.URL},
		"early": {"nbf": time.Now().Add(time.Hour).Unix()}, "of nobody": {"sub": ""},
	} {
		if _, ack := dialDevice(t, addr, "s2 "+what, token(claims)); ack.Reason != mqtt.BadUsernameOrPassword {
			t.Errorf("a token %s: %v", what, ack.Reason)
		}
	}
	if _, ack := dialDevice(t, addr, "s2", token(map[string]any{"acl": "everything"})); ack.Reason != no {
		t.Errorf("rights that are none: %v", ack.Reason)
	}
	if _, ack := dialDevice(t, addr, "s2", "secret"); ack.Reason != mqtt.BadUsernameOrPassword {
		t.Errorf("no token: %v", ack.Reason)
	}

	// The provider has a new key.
	was := token(nil)
	p.rotate()
	if _, ack := dialDevice(t, addr, "s3", token(nil)); ack.Reason != mqtt.Success {
		t.Errorf("a token of the new key: %v", ack.Reason)
	}
	if _, ack := dialDevice(t, addr, "s4", was); ack.Reason != mqtt.BadUsernameOrPassword {
		t.Errorf("a token of the key that it took back: %v", ack.Reason)
	}

	// The connection ends with its token, the session does not.
	brief, ack := dialDevice(t, addr, "s5", token(map[string]any{"exp": time.Now().Add(3 * time.Second).Unix()}))
	if ack.Reason != mqtt.Success || brief.subscribe("own/sensor/q") != 1 {
		t.Fatalf("CONNACK %v", ack.Reason)
	}
	if r := brief.next(mqtt.DISCONNECT).Disconnect.Reason; r != mqtt.MaximumConnectTime {
		t.Errorf("DISCONNECT %v", r)
	}
	pub, _ := dialDevice(t, addr, "s6", token(nil))
	if r := pub.publish("own/sensor/q"); r != mqtt.Success {
		t.Errorf("PUBACK %v", r)
	}
	brief, ack = dialDevice(t, addr, "s5", token(nil))
	if ack.Reason != mqtt.Success || !ack.SessionPresent {
		t.Errorf("with another token: %v, session present %v", ack.Reason, ack.SessionPresent)
	}
	if got := brief.next(mqtt.PUBLISH).Publish; string(got.Topic) != "own/sensor/q" {
		t.Errorf("got %s", got.Topic)
	}

	counts := map[string]uint64{}
	for o, n := range n.access.tokens.Stats().All {
		counts[o.String()] = n
	}
	for outcome, want := range map[string]uint64{
		"good": 5, "wrong_audience": 1, "expired": 1, "wrong_issuer": 1, "early": 1, "bad_user": 1, "bad_rights": 1, "unknown_key": 1, "malformed": 0,
	} {
		if counts[outcome] != want {
			t.Errorf("%s: %d, want %d", outcome, counts[outcome], want)
		}
	}
	eventually(t, func() error {
		if s := n.broker.Stats(); s.Lapsed != 1 {
			return fmt.Errorf("%d lapsed", s.Lapsed)
		}
		return nil
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fetches < 2 || p.fetches > 4 {
		t.Errorf("keys were fetched %d times", p.fetches)
	}
	for _, s := range tokens {
		for _, part := range strings.Split(s, ".") {
			if strings.Contains(log.String(), part) {
				t.Errorf("the log has a part of a token")
			}
		}
	}
	if !strings.Contains(log.String(), "wrong_audience") {
		t.Error("the log does not say why a token is refused")
	}
}
