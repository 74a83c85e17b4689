package config

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestDefaultIsValid(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Fatal(err)
	}
}

// write makes a configuration file and returns its path.
func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "dunlin.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPrecedence(t *testing.T) {
	path := write(t, `
# comment
node-name: from-file
loops: 2
log-level: debug
join: [127.0.0.1:1, "127.0.0.1:2"]
limits:
  max-keepalive: 60s
  max-packet-size: 2MB
  queue-policy: drop-oldest
connect-timeout: 5s
`)
	c, origins, err := Load(Source{
		File: path,
		Env: []string{
			"HOME=/x", "DUNLIN_LOOPS=3", "DUNLIN_LIMITS__MAX_KEEPALIVE=1m30s", "DUNLIN_LOG_LEVEL=warn",
			"DUNLIN_SERVICE_HOST=10.0.0.1", "DUNLIN_PORT=tcp://10.0.0.1:1883", "DUNLIN_PORT_1883_TCP_ADDR=10.0.0.1",
			"DUNLIN_HEADLESS_SERVICE_PORT_MQTT=1883", "DUNLIN_TOKEN=no-setting-of-a-node",
		},
		Flags: map[string]string{"log-level": "error", "portable-loops": "true"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.NodeName, want.Loops, want.LogLevel, want.PortableLoops = "from-file", 3, slog.LevelError, true
	want.Join = []string{"127.0.0.1:1", "127.0.0.1:2"}
	want.Limits.MaxKeepalive = 90 * time.Second
	want.Limits.MaxPacketSize = 2 << 20
	want.Limits.QueuePolicy = DropOldest
	want.ConnectTimeout = 5 * time.Second
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
	for key, origin := range map[string]string{
		"node-name": path + ":3", "loops": "DUNLIN_LOOPS", "log-level": "--log-level",
		"limits.max-keepalive": "DUNLIN_LIMITS__MAX_KEEPALIVE", "limits.max-packet-size": path + ":9", "shards": "default",
	} {
		if origins[key] != origin {
			t.Errorf("origin of %s is %q, want %q", key, origins[key], origin)
		}
	}
}

func TestFileNamedByEnvironment(t *testing.T) {
	path := write(t, "loops: 7\n")
	c, _, err := Load(Source{Env: []string{"DUNLIN_CONFIG=" + path}})
	if err != nil || c.Loops != 7 {
		t.Errorf("got loops %d, %v", c.Loops, err)
	}
}

func TestEmptyFile(t *testing.T) {
	for _, text := range []string{"", "# nothing\n", "---\n", "~\n", "limits: {}\n"} {
		if _, _, err := Load(Source{File: write(t, text)}); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// Every rejection is one line with place, key, value and what is allowed.
func TestErrors(t *testing.T) {
	for _, tt := range []struct {
		name, file string
		env        []string
		flags      map[string]string
		want       string
	}{
		{"unknown key", "mqtt-adr: 127.0.0.1:1\n", nil, nil,
			`dunlin.yaml:1: "mqtt-adr": unknown setting, did you mean mqtt-addr?`},
		{"unknown nested key", "limits:\n  max-keep-alive: 3s\n", nil, nil,
			`dunlin.yaml:2: "limits.max-keep-alive": unknown setting, did you mean limits.max-keepalive?`},
		{"nested key at the top", "max-keepalive: 3s\n", nil, nil,
			`dunlin.yaml:1: "max-keepalive": unknown setting, did you mean limits.max-keepalive?`},
		{"nothing near", "zzzzzzzz: 1\n", nil, nil, `dunlin.yaml:1: "zzzzzzzz": unknown setting`},
		{"key with newline", "\"a\\nb\": 1\n", nil, nil, `dunlin.yaml:1: "a\nb": unknown setting`},
		{"bad duration", "a: &x\nlimits:\n  max-keepalive: 5x\n", nil, nil, `dunlin.yaml:1: "a": unknown setting`},
		{"bad value", "limits:\n  max-keepalive: 5x\n", nil, nil,
			`dunlin.yaml:2: limits.max-keepalive: "5x" is not allowed: want a duration from 1s to 18h12m15s, such as 30s or 5m, or 0 (what clients ask for)`},
		{"part of a second", "limits: {max-keepalive: 1500ms}\n", nil, nil,
			`dunlin.yaml:1: limits.max-keepalive: "1500ms" is not allowed: want a duration from 1s to 18h12m15s, such as 30s or 5m, or 0 (what clients ask for)`},
		{"too large", "limits:\n  max-packet-size: 1GB\n", nil, nil,
			`dunlin.yaml:2: limits.max-packet-size: "1GB" is not allowed: want a size from 256 to 256MB`},
		{"list for a scalar", "loops: [1]\n", nil, nil, `dunlin.yaml:1: loops: want a whole number from 0 to 255`},
		{"scalar for a group", "limits: 3\n", nil, nil,
			`dunlin.yaml:1: limits: want keys and values, such as "mqtt-addr: 127.0.0.1:1883"`},
		{"twice", "loops: 1\nloops: 2\n", nil, nil, `dunlin.yaml:2: loops: stands twice`},
		{"two documents", "loops: 1\n---\nloops: 2\n", nil, nil, `dunlin.yaml: want a single YAML document`},
		{"not YAML", "loops: [1\n", nil, nil, `dunlin.yaml:1: not YAML: did not find expected ',' or ']'`},
		{"environment", "", []string{"DUNLIN_LOPS=1"}, nil,
			`environment: DUNLIN_LOPS: unknown setting, did you mean DUNLIN_LOOPS?`},
		{"environment value", "", []string{"DUNLIN_LOOPS=x\ny"}, nil,
			`environment: DUNLIN_LOOPS: "x\ny" is not allowed: want a whole number from 0 to 255`},
		{"flag value", "", nil, map[string]string{"log-format": "xml"},
			`flag: --log-format: "xml" is not allowed: want text or json`},
		{"secret is not shown", "gossip-key: hush\n", nil, nil,
			`dunlin.yaml:1: gossip-key: want base64 of 16, 24 or 32 bytes`},
		{"secret file", "gossip-key: ${FILE:/nowhere/key}\n", nil, nil,
			`dunlin.yaml:1: gossip-key: read "/nowhere/key": no such file or directory`},
		// Case 46.
		{"beyond loopback", "mqtt-addr: 0.0.0.0:1883\n", nil, nil,
			`dunlin.yaml:1: mqtt-addr: "0.0.0.0:1883" is not allowed: beyond loopback anybody could connect; want auth.users-file, auth.store, auth.certificate, auth.jwt or auth.webhook to say who may, ` +
				`a loopback address, or allow-anonymous to say that it is meant`},
		{"all interfaces", "", nil, map[string]string{"mqtt-addr": ":1883"},
			`flag: --mqtt-addr: ":1883" is not allowed: beyond loopback anybody could connect; want auth.users-file, auth.store, auth.certificate, auth.jwt or auth.webhook to say who may, ` +
				`a loopback address, or allow-anonymous to say that it is meant`},
		{"TLS without a certificate", "wss-addr: 127.0.0.1:8084\n", nil, nil,
			`dunlin.yaml:1: wss-addr: "127.0.0.1:8084" is not allowed: TLS needs a certificate: set tls.cert and tls.key, ` +
				`in the file or by DUNLIN_TLS__CERT and DUNLIN_TLS__KEY`},
		{"certificate without a key", "tls: {cert: a.pem}\n", nil, nil,
			`dunlin.yaml:1: tls.cert: "a.pem" is not allowed: a certificate needs its key: set tls.key`},
		{"more certificates than keys", "tls:\n  cert: [a.pem, b.pem]\n  key: a.key\n", nil, nil,
			`dunlin.yaml:3: tls.key: "a.key" is not allowed: want a key for each tls.cert, which are 2`},
		{"key without a certificate", "tls: {key: a.key}\n", nil, nil,
			`dunlin.yaml:1: tls.key: "a.key" is not allowed: want a key for each tls.cert, which are 0`},
		{"certificate that is not there", "tls: {cert: [no-such.pem], key: no-such.key}\n", nil, nil,
			`dunlin.yaml:1: tls.cert: "no-such.pem" is not allowed: no such file or directory`},
		{"certificates of clients that nobody signs", "tls:\n  client-auth: require\n", nil, nil,
			`dunlin.yaml:2: tls.client-auth: "require" is not allowed: without tls.client-ca no certificate is good: set it, or want none`},
		{"kind of client authentication", "", []string{"DUNLIN_TLS__CLIENT_AUTH=maybe"}, nil,
			`environment: DUNLIN_TLS__CLIENT_AUTH: "maybe" is not allowed: want none or request or require`},
		{"version of TLS", "tls: {min-version: 1.1}\n", nil, nil,
			`dunlin.yaml:1: tls.min-version: "1.1" is not allowed: want 1.2 or 1.3`},
		{"WebSocket beyond loopback", "ws-addr: :8083\n", nil, nil,
			`dunlin.yaml:1: ws-addr: ":8083" is not allowed: beyond loopback anybody could connect; want auth.users-file, auth.store, auth.certificate, auth.jwt or auth.webhook to say who may, ` +
				`a loopback address, or allow-anonymous to say that it is meant`},
		{"WebSocket on the address of another", "ws-addr: 127.0.0.1:1883\n", nil, nil,
			`dunlin.yaml:1: ws-addr: "127.0.0.1:1883" is not allowed: it is that of mqtt-addr too, want another one`},
		{"every interface on the port of another", "", nil, map[string]string{"ws-addr": "0.0.0.0:1883", "allow-anonymous": "true"},
			`flag: --ws-addr: "0.0.0.0:1883" is not allowed: it takes in that of mqtt-addr, "127.0.0.1:1883", want another port`},
		{"one host by two names", "http-addr: localhost:1883\n", nil, nil,
			`dunlin.yaml:1: http-addr: "localhost:1883" is not allowed: it takes in that of mqtt-addr, "127.0.0.1:1883", want another port`},
		{"address without a port", "ws-addr: 127.0.0.1\n", nil, nil,
			`dunlin.yaml:1: ws-addr: "127.0.0.1" is not allowed: want host:port, such as 127.0.0.1:1883, or nothing for off`},
		{"path with a query", "websocket:\n  path: /mqtt?a\n", nil, nil,
			`dunlin.yaml:2: websocket.path: "/mqtt?a" is not allowed: want a path, such as /mqtt`},
		{"origin without scheme", "websocket: {origins: [app.example.com]}\n", nil, nil,
			`dunlin.yaml:1: websocket.origins: "app.example.com" is not allowed: want same-host, null, *, or origins such as ` +
				`https://app.example.com or https://*.example.com, with commas between`},
		{"network with bits behind its length", "proxy-protocol: {mqtt: [10.0.0.1/8]}\n", nil, nil,
			`dunlin.yaml:1: proxy-protocol.mqtt: "10.0.0.1/8" is not allowed: want networks such as 10.0.0.0/8 (not 10.0.0.1/8) or addresses such as 192.0.2.7, with commas between`},
		{"proxies before nothing", "", []string{"DUNLIN_PROXY_PROTOCOL__WS=10.0.0.0/8,192.0.2.7"}, nil,
			`environment: DUNLIN_PROXY_PROTOCOL__WS: "10.0.0.0/8,192.0.2.7/32" is not allowed: there is no such listener, set ws-addr or leave this out`},
		{"gossip to strangers", "gossip-addr: 10.0.0.1:7946\n", nil, nil,
			`dunlin.yaml:1: gossip-addr: "10.0.0.1:7946" is not allowed: a cluster port beyond loopback never accepts a stranger: set gossip-key-file or gossip-key`},
		{"streams to strangers", "cluster-addr: 10.0.0.1:7947\n", nil, nil,
			`dunlin.yaml:1: cluster-addr: "10.0.0.1:7947" is not allowed: a cluster port beyond loopback never accepts a stranger: set cluster-tls-cert, -key and -ca`},
		{"unreachable address", "gossip-addr: 0.0.0.0:7946\ngossip-key: MDEyMzQ1Njc4OWFiY2RlZg==\n", nil, nil,
			`dunlin.yaml:1: gossip-addr: "0.0.0.0:7946" is not allowed: peers cannot use this address: set gossip-advertise-addr too`},
		{"half of TLS", "cluster-tls-cert: c.pem\n", nil, nil,
			`default: cluster-tls-key: "" is not allowed: want a path, for cluster-tls-cert, -key and -ca go together`},
		{"two sources of gossip keys", "gossip-key: MDEyMzQ1Njc4OWFiY2RlZg==\ngossip-key-file: keys\n", nil, nil,
			`dunlin.yaml:2: gossip-key-file: "keys" is not allowed: gossip-key is set too: want one of the two`},
		{"gossip keys that are not there", "gossip-key-file: no-such\n", nil, nil,
			`dunlin.yaml:1: gossip-key-file: "no-such" is not allowed: no such file or directory`},
		{"certificates of the cluster that are not there", "cluster-tls-cert: c.pem\ncluster-tls-key: c.key\ncluster-tls-ca: ca.pem\n", nil, nil,
			`dunlin.yaml:1: cluster-tls-cert: "c.pem" is not allowed: cluster: certificate c.pem: no such file or directory`},
		{"key of HTTP without certificate", "http: {tls-key: k.pem}\n", nil, nil,
			`dunlin.yaml:1: http.tls-key: "k.pem" is not allowed: there is no certificate: set http.tls-cert too, or leave this out`},
		{"certificate of HTTP without key", "http: {tls-cert: c.pem}\n", nil, nil,
			`dunlin.yaml:1: http.tls-cert: "c.pem" is not allowed: a certificate needs its key: set http.tls-key`},
		{"certificate of HTTP that is not there", "http: {tls-cert: c.pem, tls-key: k.pem}\n", nil, nil,
			`dunlin.yaml:1: http.tls-cert: "c.pem" is not allowed: no such file or directory`},
		{"HTTP with and without TLS", "http: {tls-cert: c.pem, tls-key: k.pem, plaintext: true}\n", nil, nil,
			`dunlin.yaml:1: http.plaintext: "true" is not allowed: http-addr speaks TLS by http.tls-cert: leave out one of the two`},
		{"tokens that are not there", "http: {token-file: no-such}\n", nil, nil,
			`dunlin.yaml:1: http.token-file: "no-such" is not allowed: no such file or directory`},
		{"open to what", "http: {open: [api]}\n", nil, nil,
			`dunlin.yaml:1: http.open: "api" is not allowed: want health, metrics, or both with a comma between`},
		{"users that are not there", "auth: {users-file: no-such}\n", nil, nil,
			`dunlin.yaml:1: auth.users-file: "no-such" is not allowed: no such file or directory`},
		{"certificates that nobody is asked for", "auth: {certificate: dns}\n", nil, nil,
			`dunlin.yaml:1: auth.certificate: "dns" is not allowed: no client is asked for a certificate: set tls.client-auth to request or require, or want none`},
		{"own identifiers of nobody", "auth: {own-client-id: true}\n", nil, nil,
			`dunlin.yaml:1: auth.own-client-id: "true" is not allowed: nobody is asked who he is: want auth.users-file, auth.store, auth.certificate, auth.jwt or auth.webhook too, or false`},
		{"tokens without keys", "auth:\n  jwt:\n    issuer: https://login.example.com\n", nil, nil,
			`default: auth.jwt.keys-file: "" is not allowed: want the keys of tokens: set this, auth.jwt.secret-file, auth.jwt.keys-url or ` +
				`auth.jwt.discovery, or leave out what else is said of auth.jwt`},
		{"keys of tokens that are not there", "auth: {jwt: {keys-file: no-such}}\n", nil, nil,
			`dunlin.yaml:1: auth.jwt.keys-file: "no-such" is not allowed: no such file or directory`},
		{"keys of tokens in the clear", "", []string{"DUNLIN_AUTH__JWT__KEYS_URL=http://login.example.com/keys"}, nil,
			`environment: DUNLIN_AUTH__JWT__KEYS_URL: "http://login.example.com/keys" is not allowed: want https, or http to a loopback address, without a user name`},
		{"discovery without an issuer", "auth: {jwt: {discovery: true}}\n", nil, nil,
			`default: auth.jwt.issuer: "" is not allowed: auth.jwt.discovery asks the issuer: want a URL such as https://login.example.com/keys`},
		{"two places for keys", "auth: {jwt: {discovery: true, issuer: \"https://a.example\", keys-url: \"https://a.example/k\"}}\n", nil, nil,
			`dunlin.yaml:1: auth.jwt.discovery: "true" is not allowed: the keys' place is said by auth.jwt.keys-url, set one of them`},
		{"keys that do not last", "auth: {jwt: {keys-url: \"https://a.example/k\", refresh: 2h, keep: 1h}}\n", nil, nil,
			`dunlin.yaml:1: auth.jwt.keep: "1h" is not allowed: keys would not last until the next are fetched: want at least auth.jwt.refresh, 2h`},
		{"authorities that are not there", "auth: {jwt: {keys-url: \"https://a.example/k\", ca-file: no-such}}\n", nil, nil,
			`dunlin.yaml:1: auth.jwt.ca-file: "no-such" is not allowed: no such file or directory`},
		{"claim without a name", "auth:\n  jwt:\n    required-claims: [\"=x\"]\n", nil, nil,
			`dunlin.yaml:3: auth.jwt.required-claims: "=x" is not allowed: want claims, such as scope or realm_access.roles=mqtt, with commas between`},
		{"unknown setting of tokens", "auth:\n  jwt:\n    isuer: x\n", nil, nil,
			`dunlin.yaml:3: "auth.jwt.isuer": unknown setting, did you mean auth.jwt.issuer?`},
		{"lists of certificates that nobody is asked for", "tls:\n  crl-file: a.crl\n", nil, nil,
			`dunlin.yaml:2: tls.crl-file: "a.crl" is not allowed: no client is asked for a certificate: set tls.client-ca and tls.client-auth, or leave this out`},
		{"webhook in the clear", "auth: {webhook: {url: \"http://192.0.2.1/\"}}\n", nil, nil,
			`dunlin.yaml:1: auth.webhook.url: "http://192.0.2.1/" is not allowed: passwords would cross the network in the clear; want https, a loopback address, ` +
				`or auth.webhook.plain-http to say that it is meant`},
		{"webhook with a password", "", []string{"DUNLIN_AUTH__WEBHOOK__URL=https://user:pass@example.com/"}, nil,
			`environment: DUNLIN_AUTH__WEBHOOK__URL: "https://user:pass@example.com/" is not allowed: want no user name or password in it: use auth.webhook.secret-file`},
		{"secret of no webhook", "auth: {webhook: {secret-file: a}}\n", nil, nil,
			`dunlin.yaml:1: auth.webhook.secret-file: "a" is not allowed: nobody is asked: set auth.webhook.url, or leave this out`},
		{"secret that is not there", "auth: {webhook: {url: \"https://example.com/\", secret-file: no-such}}\n", nil, nil,
			`dunlin.yaml:1: auth.webhook.secret-file: "no-such" is not allowed: no such file or directory`},
		{"authority of no https", "auth: {webhook: {url: \"http://127.0.0.1/\", ca-file: no-such}}\n", nil, nil,
			`dunlin.yaml:1: auth.webhook.ca-file: "no-such" is not allowed: auth.webhook.url is not https: leave this out`},
		{"header of HTTP's own", "auth: {webhook: {secret-header: Host}}\n", nil, nil,
			`dunlin.yaml:1: auth.webhook.secret-header: "Host" is not allowed: want the name of an HTTP header`},
		{"rules that are not there", "acl:\n  file: no-such\n", nil, nil,
			`dunlin.yaml:2: acl.file: "no-such" is not allowed: no such file or directory`},
		{"no listener", "mqtt-addr: \"\"\n", nil, nil,
			`dunlin.yaml:1: mqtt-addr: "" is not allowed: want at least one listener`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			src := Source{Env: tt.env, Flags: tt.flags}
			if tt.file != "" {
				src.File = write(t, tt.file)
			}
			_, _, err := Load(src)
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("got %v, want an *Error", err)
			}
			got := strings.TrimPrefix(err.Error(), filepath.Dir(src.File)+"/")
			if got != tt.want {
				t.Errorf("\ngot  %s\nwant %s", got, tt.want)
			}
			if strings.Contains(got, "\n") {
				t.Error("more than one line")
			}
			if e.Flag != (tt.flags != nil) {
				t.Errorf("Flag is %v", e.Flag)
			}
		})
	}
}

func TestMissingFile(t *testing.T) {
	_, _, err := Load(Source{File: "/nowhere/dunlin.yaml"})
	if err == nil || err.Error() != "/nowhere/dunlin.yaml: no such file or directory" {
		t.Error(err)
	}
}

func TestSecretFromFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte("MDEyMzQ1Njc4OWFiY2RlZg==\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, _, err := Load(Source{File: write(t, "gossip-key: ${FILE:"+path+"}\n")})
	if err != nil || string(c.GossipKey) != "0123456789abcdef" {
		t.Fatalf("key %q, %v", c.GossipKey, err)
	}
	for _, s := range Settings(&c) {
		if s.Key == "gossip-key" && strings.Contains(s.Shown(), "MDEy") {
			t.Error("the secret is shown")
		}
	}
}

// What a setting prints, it reads; its name gives flag and variable.
func TestSettingsReadWhatTheyPrint(t *testing.T) {
	c, d := Default(), Config{}
	into := Settings(&d)
	for i, s := range Settings(&c) {
		if !into[i].set(s.Value()) {
			t.Errorf("%s does not take its own %q", s.Key, s.Value())
		}
		if s.Group == "" || s.Help == "" || s.Allowed == "" || strings.HasSuffix(s.Help, ".") {
			t.Errorf("%s is not documented in the house's form", s.Key)
		}
	}
	if !reflect.DeepEqual(c, d) {
		t.Errorf("got  %+v\nwant %+v", d, c)
	}
}

func TestBootstrap(t *testing.T) {
	for _, tt := range []struct {
		join   []string
		expect int
		want   int
	}{
		{nil, 0, 1}, {nil, 3, 3}, {[]string{"127.0.0.1:1"}, 0, 0}, {[]string{"127.0.0.1:1"}, 3, 3},
	} {
		if got := (Config{Join: tt.join, BootstrapExpect: tt.expect}).Bootstrap(); got != tt.want {
			t.Errorf("join %v expect %d: %d, want %d", tt.join, tt.expect, got, tt.want)
		}
	}
}

func TestIsLoopback(t *testing.T) {
	for addr, want := range map[string]bool{
		"127.0.0.1:1": true, "127.9.9.9:1": true, "[::1]:1": true, "localhost:1": true, "[::ffff:127.0.0.1]:1": true,
		":1": false, "0.0.0.0:1": false, "[::]:1": false, "10.0.0.1:1": false, "example.com:1": false,
		"localhost.example.com:1": false, "127.0.0.1": false, "": false,
	} {
		if IsLoopback(addr) != want {
			t.Errorf("%q: want %v", addr, want)
		}
	}
}

func TestSizes(t *testing.T) {
	for s, want := range map[string]int64{
		"0": 0, "512": 512, "512B": 512, "1KB": 1024, "1kb": 1024, "64KiB": 65536, "1.5MB": 3 << 19, "2 GB": 2 << 30,
		"": -1, "MB": -1, "-1": -1, "1TB": -1, "0.3": -1, "1e400": -1, "NaN": -1, "0x10": -1, "99999999999999999GB": -1,
	} {
		n, ok := parseSize(s)
		if !ok {
			n = -1
		}
		if n != want {
			t.Errorf("%q: got %d, want %d", s, n, want)
		}
	}
}

func FuzzYAML(f *testing.F) {
	f.Add([]byte("node-name: a\nlimits:\n  max-keepalive: 60s\njoin: [127.0.0.1:1]\n"))
	f.Add([]byte("limits: &a {}\nacl: *a\n"))
	f.Add([]byte("a: [1\n"))
	f.Add([]byte("? [a]\n: b\n"))
	f.Add([]byte("gossip-key: !!binary x\n---\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := Default()
		leaves, err := parseYAML("f.yaml", b, Settings(&c))
		for _, l := range leaves {
			if strings.HasPrefix(l.value, "${FILE:") {
				continue // a fuzzer reads no files
			}
			if e := l.apply(); e != nil && strings.ContainsAny(e.Error(), "\n\x1b") {
				t.Errorf("not one printable line: %q", e.Error())
			}
		}
		if err != nil && strings.ContainsAny(err.Error(), "\n\x1b") {
			t.Errorf("not one printable line: %q", err.Error())
		}
		if err := c.Validate(); err != nil && strings.ContainsAny(err.Error(), "\n\x1b") {
			t.Errorf("not one printable line: %q", err.Error())
		}
	})
}

// FuzzSize reads sizes: each is at least 0 and has a form that is read alike.
func FuzzSize(f *testing.F) {
	for _, s := range []string{"0", "512B", "64KiB", "1.5MB", "1e3KB", "-1", "0x10", "NaN", "inf", "9999999999GB", " 1 kb"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, ok := parseSize(s)
		if !ok {
			return
		}
		if again, ok := parseSize(formatSize(n)); n < 0 || !ok || again != n {
			t.Fatalf("%q is %d, and that %q, which is %d", s, n, formatSize(n), again)
		}
	})
}
