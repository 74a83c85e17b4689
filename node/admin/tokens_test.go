package admin

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"dunlin/node/audit"
	"dunlin/node/token"
)

// fakeTokens keep tokens in memory.
type fakeTokens struct{ all []token.Token }

func (f *fakeTokens) Find(secret string) (token.Token, bool) {
	return token.Find(f.all, secret, time.Now())
}

func (f *fakeTokens) List() (list []TokenInfo) {
	for _, t := range f.all {
		list = append(list, InfoOf(t, "cluster", time.Now()))
	}
	return list
}

func (f *fakeTokens) Create(_ context.Context, t token.Token) error {
	if slices.ContainsFunc(f.all, func(x token.Token) bool { return x.Name == t.Name }) {
		return Conflict(errors.New("there is one"))
	}
	f.all = append(f.all, t)
	return nil
}

func (f *fakeTokens) Revoke(_ context.Context, name string) error {
	n := len(f.all)
	f.all = slices.DeleteFunc(f.all, func(x token.Token) bool { return x.Name == name })
	if len(f.all) == n {
		return NotFound(errors.New("there is none"))
	}
	return nil
}

// withTokens gives f tokens of each scope, and an expired one, and returns them by name; the
// audit log is in the buffer when it is closed.
func withTokens(t *testing.T, f *fixture) (secrets map[string]string, written *bytes.Buffer) {
	t.Helper()
	all, secrets := new(fakeTokens), make(map[string]string)
	now := time.Now()
	for i, name := range append(slices.Clone(token.Scopes), "expired") {
		at, expires := now, time.Time{}
		if name == "expired" {
			at, expires = now.Add(-2*time.Hour), now.Add(-time.Hour)
		}
		secret, tok, err := token.New(name, min(token.Scope(i+1), token.Admin), at, expires)
		if err != nil {
			t.Fatal(err)
		}
		all.all, secrets[name] = append(all.all, tok), secret
	}
	written = new(bytes.Buffer)
	log, err := audit.Open(audit.Options{Log: slog.New(slog.NewJSONHandler(written, nil))})
	if err != nil {
		t.Fatal(err)
	}
	f.Tokens, f.Audit = all, log
	return secrets, written
}

// Case 54: beyond loopback each route wants a token of its scope, and nothing is done without.
func TestEachRouteWantsItsScope(t *testing.T) {
	f := newFixture()
	secrets, _ := withTokens(t, f)
	defer f.Audit.Close()
	known := make(map[string]bool)
	for _, r := range f.routes() {
		known[r.key()] = true
		served := false
		h := f.identified(r, f.restrict(bearing, r.needs(), http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served = true })))
		ask := func(header string, want int) {
			t.Helper()
			f.failures = token.Failures{}
			req := httptest.NewRequest(r.method, "/", nil)
			if header != "" {
				req.Header.Set("Authorization", header)
			}
			w := httptest.NewRecorder()
			served = false
			h.ServeHTTP(w, req)
			if w.Code != want || served != (want == 200) {
				t.Errorf("%s with %.12q: %d, served %v, want %d", r.key(), header, w.Code, served, want)
			}
			if (w.Header().Get("WWW-Authenticate") != "") != (want == 401 || want == 403) {
				t.Errorf("%s: %d with WWW-Authenticate %q", r.key(), w.Code, w.Header().Get("WWW-Authenticate"))
			}
		}
		if f.isOpen(r, bearing) {
			continue
		}
		for _, none := range []string{"", "Bearer", "Bearer ", "Bearer x", "Basic YWRtaW46cHVibGlj", secrets["admin"], "Bearer " + secrets["admin"] + "x", "Bearer " + secrets["expired"]} {
			ask(none, 401)
		}
		for i, name := range token.Scopes {
			want := 200
			if token.Scope(i+1) < r.needs() {
				want = 403
			}
			ask("Bearer "+secrets[name], want)
			ask("bearer "+secrets[name], want)
		}
		if r.method != http.MethodGet && r.needs() < token.Operate {
			t.Errorf("%s changes something and needs %v", r.key(), r.needs())
		}
	}
	for key := range needs {
		if !known[key] {
			t.Errorf("a scope is set for %s, which is not served", key)
		}
	}
	for path, open := range map[string]bool{"/": true, "/page.js": true, "/metrics": true, "/health/live": true, "/api/v1/nodes": false, "/debug/pprof/": false} {
		if code, _ := f.ask(bearing, "GET", path); (code == 200) != open {
			t.Errorf("%s without a token: %d", path, code)
		}
	}
	f.MetricsNeedToken, f.HealthNeedsToken = true, true
	for _, path := range []string{"/metrics", "/health/live", "/healthz"} {
		if code, _ := f.ask(bearing, "GET", path); code != 401 {
			t.Errorf("%s without a token where one is wanted: %d", path, code)
		}
		if code, _ := f.ask(bearing, "GET", path, "Authorization", "Bearer "+secrets["read"]); code != 200 {
			t.Errorf("%s with a token: %d", path, code)
		}
		if code, _ := f.ask(guarded, "GET", path); code != 200 {
			t.Errorf("%s on loopback: %d", path, code)
		}
	}
}

// Case 54: nothing that comes with a page of others is enough, and no way to write a path gets by.
func TestPagesAndPaths(t *testing.T) {
	f := newFixture("x")
	secrets, _ := withTokens(t, f)
	defer f.Audit.Close()
	good := "Bearer " + secrets["admin"]
	if code, _ := f.ask(bearing, "DELETE", "/api/v1/clients/x", "Authorization", good, "Sec-Fetch-Site", "cross-site"); code != 403 {
		t.Errorf("a page of another origin: %d", code)
	}
	if code, _ := f.ask(bearing, "DELETE", "/api/v1/clients/x", "Cookie", "token="+secrets["admin"]); code != 401 {
		t.Errorf("a cookie: %d", code)
	}
	if code, _ := f.ask(bearing, "DELETE", "/api/v1/clients/x?access_token="+secrets["admin"]); code != 401 {
		t.Errorf("a query: %d", code)
	}
	r := httptest.NewRequest("DELETE", "/api/v1/clients/x", nil)
	r.Header["Authorization"] = []string{good, good}
	w := httptest.NewRecorder()
	if f.handler(bearing).ServeHTTP(w, r); w.Code != 401 {
		t.Errorf("two tokens: %d", w.Code)
	}
	// A bad token is bad on loopback too; the file system alone says who uses the socket.
	if code, _ := f.ask(guarded, "GET", "/api/v1/nodes", "Authorization", "Bearer wrong"); code != 401 {
		t.Errorf("a wrong token on loopback: %d", code)
	}
	if code, _ := f.ask(guarded, "DELETE", "/api/v1/clients/x", "Authorization", "Bearer "+secrets["read"]); code != 403 {
		t.Errorf("too little scope on loopback: %d", code)
	}
	if code, _ := f.ask(everything, "GET", "/api/v1/nodes", "Authorization", "Bearer wrong"); code != 200 {
		t.Errorf("by the socket: %d", code)
	}
	if len(f.clients.all) != 1 {
		t.Error("the client was disconnected")
	}
	srv := httptest.NewServer(f.handler(bearing))
	defer srv.Close()
	for _, line := range []string{
		"GET //api/v1/clients", "GET /health/../api/v1/clients", "GET /health/live/../../api/v1/clients", "GET /%2e%2e/api/v1/clients",
		"GET /health/%2e%2e/api/v1/clients", "GET /health%2f..%2fapi/v1/clients", "GET /api/v1/clients/", "GET /api/v1/./clients", "GET /API/v1/clients",
		"GET http://127.0.0.1/api/v1/clients", "GET /api/v1/clients;/health/live", "GET /api/v1/clients?/health/live", "HEAD /api/v1/clients",
		"POST /api/v1/clients", "OPTIONS *", "TRACE /api/v1/clients", "CONNECT 127.0.0.1:80", "GET \\api\\v1\\clients", "GET /api/v1/clients%00",
	} {
		c, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		fmt.Fprintf(c, "%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", line)
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err == nil {
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.StatusCode < 300 && line != "OPTIONS *" || bytes.Contains(body, []byte("client_id")) {
				t.Errorf("%s: %s %s", line, resp.Status, body)
			}
		}
		_ = c.Close()
	}
}

// Case 54: wrong tokens are looked at so many times a minute, for each address.
func TestWrongTokensAreFew(t *testing.T) {
	f := newFixture()
	secrets, written := withTokens(t, f)
	blocked := 0
	for range 200 {
		code, _ := f.ask(bearing, "GET", "/api/v1/nodes", "Authorization", "Bearer "+strings.Repeat("x", 43))
		if code == 429 {
			blocked++
		}
	}
	if blocked != 180 {
		t.Errorf("%d of 200 were not looked at", blocked)
	}
	if code, _ := f.ask(bearing, "GET", "/api/v1/nodes", "Authorization", "Bearer "+secrets["read"]); code != 429 {
		t.Errorf("then a good one: %d", code)
	}
	r := httptest.NewRequest("GET", "/api/v1/nodes", nil)
	r.RemoteAddr = "198.51.100.7:1"
	r.Header.Set("Authorization", "Bearer "+secrets["read"])
	w := httptest.NewRecorder()
	if f.handler(bearing).ServeHTTP(w, r); w.Code != 200 {
		t.Errorf("from elsewhere: %d", w.Code)
	}
	f.Audit.Close()
	lines := strings.Count(written.String(), "\n")
	if lines < 2 || lines > 40 || strings.Contains(written.String(), "xxxx") || !strings.Contains(written.String(), `"left_out"`) {
		t.Errorf("%d lines for 201 refusals:\n%.2000s", lines, written)
	}
}

// A token is made, shown once, good, listed without its secret, and revoked.
func TestTokensAreMadeAndRevoked(t *testing.T) {
	f := newFixture()
	_, written := withTokens(t, f)
	ask := func(method, path, body string) (int, string) {
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		r.Host = "localhost"
		w := httptest.NewRecorder()
		f.handler(guarded).ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	for body, want := range map[string]int{
		`{"name":"ops","scope":"root"}`: 400, `{"name":"../x","scope":"read"}`: 400, `{"name":"","scope":"read"}`: 400,
		`{"name":"ops","scope":"read","expires_in_seconds":-1}`: 400, `{"name":"ops","scope":"read","expires_in_seconds":9223372036854775807}`: 400,
		`{"name":"ops","scope":"read","admin":true}`: 400, `no JSON`: 400, `{"name":"read","scope":"read"}`: 409,
		`{"name":"` + strings.Repeat("x", 70<<10) + `"}`: 413,
	} {
		if code, answer := ask("POST", "/api/v1/tokens", body); code != want {
			t.Errorf("%.60s: %d %s", body, code, answer)
		}
	}
	code, answer := ask("POST", "/api/v1/tokens", `{"name":"ops","scope":"operate","expires_in_seconds":3600}`)
	var made NewToken
	if err := json.Unmarshal([]byte(answer), &made); err != nil || code != 201 || len(made.Token) < 43 || made.Expires == nil {
		t.Fatalf("%d %s: %v", code, answer, err)
	}
	if code, _ := f.ask(bearing, "GET", "/api/v1/nodes", "Authorization", "Bearer "+made.Token); code != 200 {
		t.Errorf("the new token: %d", code)
	}
	if _, list := ask("GET", "/api/v1/tokens", ""); strings.Contains(list, made.Token) || strings.Contains(list, "hash") || !strings.Contains(list, `"ops"`) {
		t.Error(list)
	}
	for _, want := range []int{204, 404} {
		if code, _ := ask("DELETE", "/api/v1/tokens/ops", ""); code != want {
			t.Errorf("revoke: %d, want %d", code, want)
		}
	}
	if code, _ := f.ask(bearing, "GET", "/api/v1/nodes", "Authorization", "Bearer "+made.Token); code != 401 {
		t.Errorf("the revoked token: %d", code)
	}
	f.Audit.Close()
	log := written.String()
	for _, want := range []string{
		`"what":"POST /api/v1/tokens","who":"loopback"`, `"target":"token ops, scope operate","result":"done"`, `"result":"refused","why":"409"`,
		`"what":"DELETE /api/v1/tokens/{name}"`, `"what":"request"`,
	} {
		if !strings.Contains(log, want) {
			t.Errorf("the audit log has no %s:\n%s", want, log)
		}
	}
	if strings.Contains(log, made.Token) {
		t.Error("the audit log has a token")
	}
}

// By the socket it is written down which user of the machine did it.
func TestSocketUserIsWrittenDown(t *testing.T) {
	f := newFixture("x")
	_, written := withTokens(t, f)
	dir := t.TempDir()
	serve(t, f, dir)
	r, err := http.NewRequest("DELETE", "http://node/api/v1/clients/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := overSocket(dir).Do(r)
	if err != nil || resp.StatusCode != 204 {
		t.Fatalf("%v %v", resp, err)
	}
	resp.Body.Close()
	f.Audit.Close()
	if want := fmt.Sprintf(`"who":"uid %d"`, os.Getuid()); !strings.Contains(written.String(), want) && !strings.Contains(written.String(), `"who":"admin.sock"`) {
		t.Errorf("no %s in %s", want, written)
	}
}

// http-addr speaks TLS by the certificate of the moment, and nothing else; who says nothing
// holds a place for a while only.
func TestHTTPS(t *testing.T) {
	f := newFixture()
	now := new(atomic.Pointer[tls.Config])
	pools := make([]*x509.CertPool, 2)
	configs := make([]*tls.Config, 2)
	for i := range configs {
		configs[i], pools[i] = selfSigned(t)
	}
	now.Store(configs[0])
	f.TLS = now.Load
	serve(t, f, t.TempDir())
	get := func(pool *x509.CertPool) error {
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: pool}}}
		resp, err := client.Get("https://" + f.Addr().String() + "/api/v1/nodes")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != 200 {
			return errors.New(resp.Status)
		}
		return nil
	}
	for i := range configs {
		now.Store(configs[i])
		if err := get(pools[i]); err != nil {
			t.Errorf("certificate %d: %v", i, err)
		}
		if err := get(pools[1-i]); err == nil {
			t.Errorf("instead of certificate %d the other is shown", i)
		}
	}
	resp, err := http.Get("http://" + f.Addr().String() + "/api/v1/nodes")
	if err == nil {
		resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("without TLS: %s", resp.Status)
		}
	}
	if _, err := tls.Dial("tcp", f.Addr().String(), &tls.Config{RootCAs: pools[1], MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}); err == nil {
		t.Error("TLS 1.1 is spoken")
	}
}

func selfSigned(t *testing.T) (*tls.Config, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, NextProtos: []string{"http/1.1"}}, pool
}

// One address has so many connections, and gives them back.
func TestConnectionsOfAnAddress(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := limitEach(tcp, 2)
	defer l.Close()
	got := make(chan net.Conn)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				close(got)
				return
			}
			got <- c
		}
	}()
	dial := func(from string) net.Conn {
		t.Helper()
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		c, err := d.Dial("tcp", tcp.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	dial("127.0.0.1")
	first := <-got
	dial("127.0.0.1")
	<-got
	third := dial("127.0.0.1")
	_ = third.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := third.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the third of an address stays: %v", err)
	}
	dial("127.0.0.9")
	<-got
	_ = first.Close()
	_ = first.Close() // twice is once
	dial("127.0.0.1")
	<-got
	fourth := dial("127.0.0.1")
	_ = fourth.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := fourth.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a place was given back twice: %v", err)
	}
}

// A host of version 6 has very many addresses, and no more connections than another one.
func TestConnectionsOfAHost(t *testing.T) {
	l := limitEach(nil, 2).(*eachListener)
	for _, c := range []struct {
		from string
		in   bool
	}{{"2001:db8::1", true}, {"2001:db8::2", true}, {"2001:db8::ffff", false}, {"2001:db8:0:1::1", true}, {"::ffff:192.0.2.1", true}, {"192.0.2.1", true}, {"192.0.2.1", false}} {
		if got := l.take(token.HostOf(netip.MustParseAddr(c.from))); got != c.in {
			t.Errorf("%s: in %v", c.from, got)
		}
	}
}
