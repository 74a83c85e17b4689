package cluster

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dunlin/e2e/harness"
	"dunlin/proto/mqtt"
)

var errNotYet = errors.New("not yet")

// web asks the API of a node at an address of TLS.
type web struct {
	base   string
	client http.Client
}

func newWeb(t *testing.T, ca, addr string) *web {
	t.Helper()
	pem, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	return &web{"https://" + addr, http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots}}}}
}

// ask returns the code, 0 if there is no answer.
func (w *web) ask(method, path, token string) (code int, body string) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, w.base+path, nil)
	if err != nil {
		return 0, err.Error()
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := w.client.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(b)
}

// TestAPIBeyondLoopback: at an address that is not loopback the API speaks TLS and wants a token of
// enough scope, made by the command line at the socket (case 54); what was done and who was refused
// stands in the audit log, without any secret (case 55).
func TestAPIBeyondLoopback(t *testing.T) {
	t.Parallel()
	ca, dir, host := harness.NewCA(t), t.TempDir(), harness.Host(t)
	files := make(map[string]string)
	args := ca.Args("n1", host)
	for i := 0; i < len(args); i += 2 {
		files[args[i]] = args[i+1]
	}
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	secret := make([]byte, 32)
	rand.Read(secret)
	bootstrap := base64.RawURLEncoding.EncodeToString(secret)
	tokenFile := write("token", bootstrap+"\n")
	trail := filepath.Join(dir, "audit.log")
	port := 20000 + os.Getpid()%10000
	config := fmt.Sprintf(`
http: {tls-cert: %s, tls-key: %s, token-file: %s, open: [health]}
audit: {file: %s}
acl: {deny-filters: ["secret/#"]}
`, files["--cluster-tls-cert"], files["--cluster-tls-key"], tokenFile, trail)
	c := harness.Lay(t, harness.Options{Config: config, Place: func(int) harness.Place {
		return harness.Place{Host: host, Args: []string{"--http-addr", fmt.Sprint("0.0.0.0:", port)}}
	}})
	n := c.Nodes[0]
	n.Start()
	addr := fmt.Sprint(host, ":", port)
	w := newWeb(t, files["--cluster-tls-ca"], addr)
	harness.Eventually(t, "the node is ready", func() error {
		if code, body := w.ask("GET", "/health/ready", ""); code != 200 {
			return fmt.Errorf("%d %s", code, body)
		}
		return nil
	})
	for path, want := range map[string]int{
		"/health/live": 200, "/": 200, "/page.js": 200, "/metrics": 401, "/api/v1/nodes": 401, "/api/v1/clients": 401, "/debug/pprof/heap": 401,
	} {
		if code, body := w.ask("GET", path, ""); code != want {
			t.Errorf("%s without a token: %d %.100s", path, code, body)
		}
	}
	if resp, err := http.Get("http://" + addr + "/health/live"); err == nil {
		resp.Body.Close()
		if resp.StatusCode == 200 {
			t.Error("health is served without TLS too")
		}
	}

	// The commands, by the socket first and then from afar.
	run := func(want int, args ...string) string {
		t.Helper()
		code, out, errs := harness.Dunlin(t, args...)
		if code != want {
			t.Errorf("dunlin %v: exit code %d: %s%s", args, code, out, errs)
		}
		return strings.TrimSpace(out)
	}
	reader := run(0, "token", "create", "reader", "--data-dir", n.Dir)
	afar := []string{"--http", addr, "--ca", files["--cluster-tls-ca"], "--token-file", tokenFile}
	operator := run(0, append([]string{"token", "create", "operator", "--scope", "operate", "--expires", "1h"}, afar...)...)
	if list := run(0, append([]string{"token", "list"}, afar...)...); !strings.Contains(list, "reader") || !strings.Contains(list, "operator") ||
		!strings.Contains(list, "file") || strings.Contains(list, reader) || strings.Contains(list, bootstrap) {
		t.Error(list)
	}
	run(1, append([]string{"token", "create", "reader"}, afar...)...)
	client(t, n, "victim")
	byReader := []string{"--http", addr, "--ca", files["--cluster-tls-ca"], "--token-file", write("reader", reader)}
	if list := run(0, append([]string{"clients", "ls"}, byReader...)...); !strings.Contains(list, "victim") {
		t.Error(list)
	}
	run(1, append([]string{"clients", "kick", "victim"}, byReader...)...)
	if code, _ := w.ask("DELETE", "/api/v1/clients/victim", operator); code != 204 {
		t.Errorf("kick by an operator: %d", code)
	}
	for path, want := range map[string]int{"/api/v1/backup": 403, "/api/v1/tokens": 403, "/debug/pprof/heap": 403, "/metrics": 200} {
		if code, _ := w.ask("GET", path, operator); code != want {
			t.Errorf("%s by an operator: %d", path, code)
		}
	}
	run(0, append([]string{"token", "revoke", "reader"}, afar...)...)
	if code, _ := w.ask("GET", "/api/v1/nodes", reader); code != 401 {
		t.Errorf("with a revoked token: %d", code)
	}

	sneak := client(t, n, "sneak\x1b[2J")
	if got := sneak.SubscribeAll(mqtt.Subscription{Filter: []byte("secret/plans")}); got[0] != mqtt.NotAuthorized {
		t.Errorf("a denied filter: %v", got)
	}
	tokenSays := map[string]bool{}
	harness.Eventually(t, "the audit log has it all", func() error {
		b, err := os.ReadFile(trail)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(b)) {
			var e struct{ What, Who, Target, Result, Client string }
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				return fmt.Errorf("%w: %q", err, line)
			}
			tokenSays[strings.Join([]string{e.What, e.Who, e.Target, e.Result}, "|")] = true
			if strings.ContainsAny(line[:len(line)-1], "\x1b\n") {
				t.Errorf("a raw line: %q", line)
			}
		}
		for _, secret := range []string{reader, operator, bootstrap} {
			if strings.Contains(string(b), secret) {
				t.Fatal("the audit log has a secret")
			}
		}
		for _, want := range []string{
			fmt.Sprintf("POST /api/v1/tokens|uid %d|token reader, scope read|done", os.Getuid()),
			"POST /api/v1/tokens|token file|token operator, scope operate|done",
			"POST /api/v1/tokens|token file|token reader, scope read|refused",
			"DELETE /api/v1/clients/{id}|token operator|/api/v1/clients/victim|done",
			"DELETE /api/v1/tokens/{name}|token file|/api/v1/tokens/reader|done",
			"request|token reader|DELETE /api/v1/clients/victim|refused",
			"request||GET /api/v1/nodes|refused",
			"subscribe||secret/plans|refused",
		} {
			if !tokenSays[want] {
				return fmt.Errorf("no %q in %v", want, tokenSays)
			}
		}
		return nil
	})
}

// TestSecretsOfTheClusterAreReplaced: the gossip key and the certificate authority of a cluster are replaced,
// node by node, by files and SIGHUP, without a node being lost; a node that starts afterwards joins by the
// new ones, and one with the old ones does not (case 52).
func TestSecretsOfTheClusterAreReplaced(t *testing.T) {
	t.Parallel()
	first, second := harness.NewCA(t), harness.NewCA(t)
	var files []map[string]string // of each node, by flag
	old := make(map[string]string)
	place := func(int) harness.Place {
		host := harness.Host(t)
		args := first.Args(fmt.Sprint("n", len(files)+1), host)
		mine := make(map[string]string)
		for i := 0; i < len(args); i += 2 { // in a place of its own
			path := filepath.Join(t.TempDir(), strings.TrimPrefix(args[i], "--"))
			b, err := os.ReadFile(args[i+1])
			if err == nil {
				err = os.WriteFile(path, b, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			mine[args[i]], args[i+1], old[args[i]] = path, path, string(b)
		}
		files = append(files, mine)
		return harness.Place{Host: host, Args: args}
	}
	trail := filepath.Join(t.TempDir(), "audit.log") // of all three: they append
	c := harness.Start(t, harness.Options{Nodes: 3, Place: place, Config: "audit: {file: " + trail + "}\n"})
	read := func(path string) string {
		t.Helper()
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	newKey := base64.StdEncoding.EncodeToString([]byte("abcdefghijklmnopqrstuvwxyz012345"))
	oldKey := old["--gossip-key-file"]
	oldCA := old["--cluster-tls-ca"]
	var newCA string
	renewed := func(i int) map[string]string {
		args := second.Args(fmt.Sprint("n", i+1), "127.0.0.1")
		by := make(map[string]string)
		for k := 0; k < len(args); k += 2 {
			by[args[k]] = read(args[k+1])
		}
		return by
	}
	newCA = renewed(0)["--cluster-tls-ca"]
	reloads := func(n *harness.Node, what string) int { return strings.Count(n.Log(), what+" reloaded") }
	replace := func(i int, what string, texts map[string]string) {
		t.Helper()
		n := c.Nodes[i]
		before := reloads(n, what)
		for flag, text := range texts {
			if err := os.WriteFile(files[i][flag], []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		n.Hangup()
		harness.Eventually(t, what+" are taken over", func() error {
			if reloads(n, what) == before {
				return errNotYet
			}
			return nil
		})
	}
	// Three rounds each: everybody takes the new one too, everybody uses it, nobody takes the old one.
	for _, keys := range []string{oldKey + "\n" + newKey, newKey + "\n" + oldKey, newKey} {
		for i := range c.Nodes {
			replace(i, "gossip keys", map[string]string{"--gossip-key-file": keys})
		}
	}
	const certificates = "certificates of the cluster"
	for i := range c.Nodes {
		replace(i, certificates, map[string]string{"--cluster-tls-ca": oldCA + newCA})
	}
	for i := range c.Nodes {
		by := renewed(i)
		replace(i, certificates, map[string]string{"--cluster-tls-cert": by["--cluster-tls-cert"], "--cluster-tls-key": by["--cluster-tls-key"]})
	}
	for i := range c.Nodes {
		replace(i, certificates, map[string]string{"--cluster-tls-ca": newCA})
	}
	for _, n := range c.Nodes {
		if err := n.Ready(); err != nil {
			t.Errorf("%s: %v", n.Name, err)
		}
		if m := n.Metrics()["dunlin_cluster_members"]; m != 3 {
			t.Errorf("%s sees %v members", n.Name, m)
		}
	}
	if text := read(trail); strings.Contains(text, "member.gone") || strings.Count(text, "member.up") != 6 {
		t.Errorf("a node was lost:\n%s", text)
	}
	// With the files as they are now a node comes back, and serves.
	c.Nodes[2].Kill()
	c.Nodes[2].Restart()
	sub := client(t, c.Nodes[2], "sub")
	sub.Subscribe("after", 1)
	client(t, c.Nodes[0], "pub").Publish("after", "x", 1)
	sub.ExpectMessage("after", "x")
	// With those of before it does not.
	c.Nodes[2].Kill()
	harness.Eventually(t, "its lease is revoked, and that is written down", func() error {
		if strings.Count(read(trail), `"what":"member.revoked","target":"`+c.Nodes[2].Name) < 2 { // by the two others
			return errNotYet
		}
		return nil
	})
	for flag, text := range old {
		if err := os.WriteFile(files[2][flag], []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const strangers = "dunlin_cluster_strangers_refused_total"
	before := c.Nodes[0].Metrics()[strangers]
	c.Nodes[2].Start()
	c.Nodes[2].WaitLive()
	harness.Eventually(t, "it is refused", func() error {
		if c.Nodes[0].Metrics()[strangers] == before {
			return errNotYet
		}
		return nil
	})
	if c.Nodes[2].Ready() == nil {
		t.Error("a node with the old key and certificate is ready")
	}
}
