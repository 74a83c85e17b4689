package cases

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"dunlin/e2e/harness"
)

// governed is a node whose API is beyond loopback on its way admin, and on loopback else.
var governed = &ground{name: "governed", config: func(*site) string { return "" }, lay: func(s *site) harness.Options {
	if s.via != admin {
		return s.everyListener(harness.Place{})
	}
	host := harness.Host(s.t)
	files := s.ca.Args("n1", host)
	return harness.Options{
		Config: fmt.Sprintf("http: {tls-cert: %s, tls-key: %s, open: [health]}\n", files[3], files[5]),
		Place: func(int) harness.Place {
			return harness.Place{Host: host, HTTP: fmt.Sprint("0.0.0.0:", apiPort)}
		},
	}
}}

// apiPort is free of other runs on this machine, most likely.
var apiPort = 20000 + os.Getpid()%10000

// dialAPI connects to the API, from an address of this machine or, with "", from any.
func (p *place) dialAPI(t *testing.T, from string) net.Conn {
	t.Helper()
	c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}).Dial("tcp", p.api())
	if err != nil {
		t.Fatal(err)
	}
	if p.via == admin {
		conf := p.ca.Trust()
		conf.ServerName, _, _ = net.SplitHostPort(p.nodes[0].MQTT)
		c = tls.Client(c, conf)
	}
	c.SetDeadline(time.Now().Add(patience))
	return c
}

// request sends one request from an address of its own and returns code and body; 0 if
// there is no answer.
func (p *place) request(t *testing.T, from, line string, header ...string) (int, string) {
	t.Helper()
	c := p.dialAPI(t, from)
	defer c.Close()
	body := ""
	if k := len(header) - 1; k >= 0 && strings.HasPrefix(header[k], "\n") {
		body, header = header[k][1:], append(header[:k:k], fmt.Sprint("Content-Length: ", len(header[k])-1))
	}
	if !strings.Contains(strings.Join(header, "\n"), "Host:") {
		header = append(header, "Host: localhost")
	}
	go fmt.Fprintf(c, "%s HTTP/1.1\r\n%s\r\nConnection: close\r\n\r\n%s", line, strings.Join(header, "\r\n"), body)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b)
}

// api is host and port of the API.
func (p *place) api() string {
	if p.via == admin {
		host, _, _ := net.SplitHostPort(p.nodes[0].MQTT)
		return fmt.Sprint(host, ":", apiPort)
	}
	return p.nodes[0].HTTP
}

// badRequestsOfAPI: beyond loopback nothing is served without a token of enough scope,
// whatever else comes, and on loopback nothing to pages of others.
func badRequestsOfAPI(t *testing.T, p *place) { // case 54
	victim := p.sub.ephemeral(t, "victim")
	const kick = "DELETE /api/v1/clients/victim"
	if p.via != admin {
		for name, h := range map[string]string{"another host": "Host: evil.example", "another origin": "Origin: https://evil.example", "a cross-site fetch": "Sec-Fetch-Site: cross-site"} {
			if code, body := p.request(t, "127.0.0.1", kick, h); code != http.StatusForbidden {
				t.Errorf("%s: %d %s", name, code, body)
			}
		}
		if code, _ := p.request(t, "127.0.0.1", "GET /api/v1/nodes", "Authorization: Bearer wrong"); code != http.StatusUnauthorized {
			t.Errorf("a wrong token on loopback: %d", code)
		}
		if _, defaults, _ := harness.Dunlin(t, "config", "show"); !strings.Contains(defaults, "127.0.0.1:18083") {
			t.Errorf("the API is not on loopback by default:\n%s", defaults)
		}
		p.badBodies(t, nil)
		victim.ExpectQuiet()
		return
	}
	n := p.nodes[0]
	token := func(name, scope string) string {
		t.Helper()
		code, out, errs := harness.Dunlin(t, "token", "create", name, "--scope", scope, "--data-dir", n.Dir)
		if code != 0 {
			t.Fatal(errs)
		}
		return strings.TrimSpace(out)
	}
	read, all := token("reader", "read"), token("admin", "admin")
	for path, want := range map[string]int{"/health/live": 200, "/": 200, "/metrics": 401, "/api/v1/nodes": 401, "/api/v1/clients": 401, "/api/v1/backup": 401, "/debug/pprof/heap": 401} {
		if code, body := p.request(t, "127.66.54.1", "GET "+path); code != want {
			t.Errorf("%s without a token: %d %.100s", path, code, body)
		}
	}
	for name, h := range map[string]string{
		"none": "X: x", "default password": "Authorization: Basic YWRtaW46cHVibGlj", "wrong": "Authorization: Bearer " + strings.Repeat("x", 43),
		"cookie": "Cookie: token=" + all, "two": "Authorization: Bearer " + all + "\r\nAuthorization: Bearer " + all, "cut": "Authorization: Bearer " + all[:40],
	} {
		if code, body := p.request(t, "127.66.54.2", kick, h); code != http.StatusUnauthorized {
			t.Errorf("%s: %d %s", name, code, body)
		}
	}
	if code, _ := p.request(t, "127.66.54.3", kick+"?access_token="+all); code != http.StatusUnauthorized {
		t.Errorf("a token in the query: %d", code)
	}
	if code, _ := p.request(t, "127.66.54.3", kick, "Authorization: Bearer "+read); code != http.StatusForbidden {
		t.Errorf("too small a scope: %d", code)
	}
	if code, _ := p.request(t, "127.66.54.3", kick, "Authorization: Bearer "+all, "Sec-Fetch-Site: cross-site"); code != http.StatusForbidden {
		t.Errorf("a page of another origin: %d", code)
	}
	for _, line := range []string{
		"GET //api/v1/clients", "GET /health/../api/v1/clients", "GET /health/live/../../api/v1/clients", "GET /%2e%2e/api/v1/clients", "GET /health/%2e%2e/api/v1/clients",
		"GET /health%2f..%2fapi/v1/clients", "GET /api/v1/clients/", "GET /api/v1/./clients", "GET /API/v1/clients", "GET /api/v1/clients;/health/live",
		"GET /api/v1/clients?/health/live", "HEAD /api/v1/clients", "TRACE /api/v1/clients", "CONNECT 127.0.0.1:80", "GET /api/v1/clients%00",
	} {
		if code, body := p.request(t, "127.66.54.4", line); code >= 200 && code < 300 || strings.Contains(body, "victim") {
			t.Errorf("%s: %d %s", line, code, body)
		}
	}
	blocked := 0
	for range 30 {
		if code, _ := p.request(t, "127.66.54.5", "GET /api/v1/nodes", "Authorization: Bearer wrong"); code == http.StatusTooManyRequests {
			blocked++
		}
	}
	if blocked != 10 {
		t.Errorf("%d of 30 wrong tokens were not looked at", blocked)
	}
	if code, _ := p.request(t, "127.66.54.6", "GET /api/v1/nodes", "Authorization: Bearer "+read); code != http.StatusOK {
		t.Errorf("a good token from elsewhere: %d", code)
	}
	p.badBodies(t, []string{"Authorization: Bearer " + all})
	victim.ExpectQuiet()
	for _, name := range []string{"reader", "admin"} {
		if code, _, errs := harness.Dunlin(t, "token", "revoke", name, "--data-dir", n.Dir); code != 0 {
			t.Error(errs)
		}
	}
}

// badBodies: a body, a header or an address that is too long is refused, and a header that
// does not end ends the connection.
func (p *place) badBodies(t *testing.T, with []string) {
	t.Helper()
	const from = "127.66.54.7"
	ask := func(line string, header ...string) int {
		code, _ := p.request(t, from, line, append(with[:len(with):len(with)], header...)...)
		return code
	}
	if code := ask("POST /api/v1/tokens", "\n"+`{"name":"`+strings.Repeat("x", 1<<20)+`"}`); code != http.StatusRequestEntityTooLarge {
		t.Errorf("a body of a megabyte: %d", code)
	}
	if code := ask("GET /api/v1/nodes", "X: "+strings.Repeat("x", 1<<20)); code != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a header of a megabyte: %d", code)
	}
	c := p.dialAPI(t, "")
	defer c.Close()
	if got := told(t, c, []byte("GET /api/v1/nodes HTTP/1.1\r\nX-")); strings.Contains(got, " 200 ") {
		t.Errorf("a header that does not end: %q", got)
	}
}
