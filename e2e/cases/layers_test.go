package cases

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"dunlin/e2e/harness"
	"dunlin/proto/mqtt"
)

// told sends b and returns all that comes until the node has ended the connection.
// That it ends it with a reset, because it does not want the rest, is fine.
func told(t *testing.T, c net.Conn, b []byte) string {
	t.Helper()
	go func() { _, _ = c.Write(b) }()
	got, err := io.ReadAll(c)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%.40q: the connection is left open", b)
	}
	return string(got)
}

func badRequests(t *testing.T, p *place) {
	change := func(old, with string) []byte { return bytes.Replace(upgrade(), []byte(old), []byte(with), 1) }
	for name, c := range map[string]struct {
		send   []byte
		status string
	}{
		"subprotocol":   {change("Protocol: mqtt", "Protocol: chat"), "400"},
		"origin":        {change("Host:", "Origin: https://evil.example\r\nHost:"), "403"},
		"two hosts":     {change("Host:", "Host: evil.example\r\nHost:"), "400"},
		"folded":        {change("Host:", " a: b\r\nHost:"), "400"},
		"path":          {change("/mqtt", "/mqtt/.."), "404"},
		"megabyte":      {change("Host:", "X: "+strings.Repeat("x", 1<<20)+"\r\nHost:"), "431"},
		"mqtt":          {hello(), "400"},
		"tls":           {hx("16 0301 0005 0100000100"), "400"},
		"never ends":    {upgrade()[:60], ""},
		"a body behind": {change("Host:", "Content-Length: 10\r\nHost:"), "400"},
	} {
		if got := told(t, within(t, p.sub), c.send); !strings.HasPrefix(strings.TrimPrefix(got, "HTTP/1.1 "), c.status) {
			t.Errorf("%s: %q instead of %s", name, got, c.status)
		}
	}
}

func badFrames(t *testing.T, p *place) {
	const normal, protocol, kind = "\x88\x02\x03\xe8", "\x88\x02\x03\xea", "\x88\x02\x03\xeb"
	for name, c := range map[string]struct{ frame, last string }{
		"text":                    {"\x81\x80\x00\x00\x00\x00", kind},
		"unmasked":                {"\x82\x00", protocol},
		"compressed":              {"\xc2\x80\x00\x00\x00\x00", protocol},
		"continuation of nothing": {"\x80\x80\x00\x00\x00\x00", protocol},
		"unknown kind":            {"\x83\x80\x00\x00\x00\x00", protocol},
		"half a ping":             {"\x09\x80\x00\x00\x00\x00", protocol},
		"long ping":               {"\x89\xfe\x01\x00\x00\x00\x00\x00", protocol},
		"negative length":         {"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00", protocol},
		// What is announced is not waited for longer than a CONNECT, and not allocated.
		"huge and silent": {"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00", normal},
		"huge CONNECT":    {"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00\x10\xff\xff\xff\x7f", normal},
	} {
		got := told(t, within(t, p.sub), append(upgrade(), c.frame...))
		if _, got, _ = strings.Cut(got, "\r\n\r\n"); got != c.last {
			t.Errorf("%s: answered with %q instead of %q", name, got, c.last)
		}
	}
}

func tinyFrames(t *testing.T, p *place) {
	b := upgrade()
	for _, c := range append(hello(), hx("c000 e000")...) {
		b = append(append(b, inFrame(nil)...), inFrame([]byte{c})...) // and an empty one
		b = append(b, "\x89\x80\x00\x00\x00\x00"...)                  // and a ping
	}
	got := told(t, within(t, p.sub), b)
	if _, got, _ = strings.Cut(got, "\r\n\r\n"); !strings.Contains(got, "\xd0\x00") || !strings.Contains(got, "\x8a\x00") {
		t.Errorf("no PINGRESP, or no pong, in %q", got)
	}
}

// badHeaders: without a good PROXY header from a proxy that is known nobody gets in; a client is
// held to limits by the address that the header tells.
func badHeaders(t *testing.T, p *place) { // case 49
	const signature = "\r\n\r\n\x00\r\nQUIT\n"
	for name, header := range map[string]string{
		"missing":      "\x16\x03\x01\x00\x05",
		"MQTT":         string(hello()),
		"malformed":    "PROXY TCP4 1.2.3.4\r\n",
		"wrong kind":   "PROXY TCP4 ::1 ::1 1 2\r\n",
		"too long":     "PROXY UNKNOWN " + strings.Repeat("x", 100),
		"too long, 2":  signature + "\x21\x11\xff\xff",
		"too short, 2": signature + "\x21\x11\x00\x01x",
		"version 3":    signature + "\x31\x11\x00\x0c",
		"never ends":   "PROXY TCP4",
	} {
		bad := p.sub
		bad.first = ""
		if got := told(t, bad.raw(t), []byte(header)); got != "" {
			t.Errorf("%s: answered with %q", name, got)
		}
	}
	stranger := p.sub
	stranger.from = "127.66.49.1"
	if got := told(t, stranger.raw(t), nil); got != "" {
		t.Errorf("a stranger with a good header is told %q", got)
	}
	header := func(from string) string { return "PROXY TCP4 " + from + " 192.0.2.9 49152 1883\r\n" }
	one, other := p.sub, p.sub
	one.first, other.first = header("198.51.100.1"), header("198.51.100.2")
	for range 3 {
		one.connect(t, mqtt.Connect{CleanStart: true})
	}
	if _, why, closed := one.attempt(t, mqtt.Connect{}); !closed && why != mqtt.QuotaExceeded || closed != p.via.isTLS() {
		t.Errorf("the fourth of an address: %v, closed %v", why, closed)
	}
	other.connect(t, mqtt.Connect{CleanStart: true, ClientID: []byte("proxied")})
	if shown := p.sub.node.API(http.MethodGet, "/api/v1/clients/proxied"); !strings.Contains(shown, "198.51.100.2:49152") {
		t.Errorf("the client's address is not shown: %s", shown)
	}
}

// strangeHeader: where no PROXY header belongs, one is what it is: no CONNECT, no TLS, no request.
func strangeHeader(t *testing.T, p *place) { // cases 1 and 49
	if got := told(t, p.sub.raw(t), []byte("PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n\r\n")); strings.Contains(got, "101") || p.via == tcp && got != "" {
		t.Errorf("answered with %q", got)
	}
}

// gathered holds back what is written until flush, to send it in one piece with what is
// before it.
type gathered struct {
	net.Conn
	before []byte
}

func (g *gathered) Write(b []byte) (int, error) {
	if _, err := g.Conn.Write(append(g.before, b...)); err != nil {
		return 0, err
	}
	g.before = nil
	return len(b), nil
}

// allAtOnce: PROXY header and ClientHello come in one piece, and request, frame, CONNECT,
// PINGREQ and DISCONNECT in another.
func allAtOnce(t *testing.T, p *place) { // case 49
	d := p.sub
	d.first = ""
	header := []byte("PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n")
	all := append(hello(), hx("c000 e000")...)
	if p.via.isWS() {
		all = append(upgrade(), inFrame(all)...)
	}
	var c net.Conn = &gathered{Conn: d.raw(t), before: header}
	if p.via.isTLS() {
		conf := d.trust.Clone()
		conf.ServerName = "localhost"
		s := tls.Client(c, conf)
		if err := s.Handshake(); err != nil {
			t.Fatal(err)
		}
		c = s
	}
	if got := told(t, c, all); !strings.Contains(got, "\xd0\x00") {
		t.Errorf("no PINGRESP in %q", got)
	}
}

func notTLS(t *testing.T, p *place) {
	for _, b := range [][]byte{
		hello(), upgrade(), hx("16 0301 0005 01 00 00 01 00"), append(hx("16 0301 ffff"), make([]byte, 1<<17)...), hx("16 0301 0000"), hx("80 2e 01 0301"),
	} {
		if got := told(t, p.sub.raw(t), b); len(got) > 7 { // an alert
			t.Errorf("%.20q: answered with %q", b, got)
		}
	}
}

func oldVersions(t *testing.T, p *place) {
	for _, v := range []uint16{tls.VersionTLS10, tls.VersionTLS11} {
		conf := p.sub.trust.Clone()
		conf.MinVersion, conf.MaxVersion, conf.InsecureSkipVerify = v, v, true
		if err := tls.Client(p.sub.raw(t), conf).Handshake(); err == nil {
			t.Errorf("%s is spoken", tls.VersionName(v))
		}
	}
}

func renegotiation(t *testing.T, p *place) {
	cmd := exec.CommandContext(t.Context(), harness.Tool(t, "openssl", "openssl"), "s_client", "-connect", p.sub.addr(), "-tls1_2")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(in, "R\n")
	// It ends by itself, since the node ends the connection.
	if err := cmd.Wait(); err == nil || !strings.Contains(out.String(), "RENEGOTIATING") {
		t.Errorf("%v:\n%s", err, &out)
	}
}

// stuckHandshakes: silent ones, a ClientHello that comes byte by byte for longer than
// connect-timeout, and one that nothing follows all end, and one that only takes its time
// gets in.
func stuckHandshakes(t *testing.T, p *place) { // case 50
	record := clientHello(t)
	slow := p.sub.raw(t)
	dribbled := make(chan error, 1)
	go func() {
		for k := range record {
			if _, err := slow.Write(record[k : k+1]); err != nil {
				dribbled <- nil
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
		_, err := io.Copy(io.Discard, slow)
		dribbled <- err
	}()
	var stuck sync.WaitGroup
	for _, b := range [][]byte{nil, record[:3], record[:len(record)-1], record} {
		c := p.sub.raw(t)
		stuck.Go(func() { told(t, c, b) })
	}
	stuck.Wait()
	if err := <-dribbled; errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("one byte after the other keeps a connection open")
	}
	conf := p.sub.trust.Clone()
	conf.ServerName = "localhost"
	if err := tls.Client(&crumbs{p.sub.raw(t)}, conf).Handshake(); err != nil {
		t.Error(err)
	}
}

// crumbs sends each byte in a segment of its own.
type crumbs struct{ net.Conn }

func (c *crumbs) Write(b []byte) (int, error) {
	for k := range b {
		if _, err := c.Conn.Write(b[k : k+1]); err != nil {
			return k, err
		}
	}
	return len(b), nil
}

// clientHello is the first record of a handshake.
func clientHello(t *testing.T) []byte {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	go func() { _ = tls.Client(a, &tls.Config{ServerName: "localhost"}).Handshake() }()
	record := make([]byte, 16<<10)
	n, err := b.Read(record)
	if err != nil {
		t.Fatal(err)
	}
	return record[:n]
}

// breakOff: hundreds come to each stage and are gone, half of them with a reset.
func breakOff(t *testing.T, p *place) { // case 6
	record := clientHello(t)
	stages := map[way][][]byte{
		tcp:       {nil, hello()[:5], hello()},
		overTLS:   {nil, record[:100], record},
		webSocket: {upgrade()[:50], upgrade(), append(upgrade(), inFrame(hello())[:9]...), append(upgrade(), inFrame(hello())...)},
		secureWS:  {nil, record[:100], record},
	}[p.via]
	for _, b := range stages {
		for k := range 100 {
			c := p.sub.raw(t)
			_, _ = c.Write(b)
			if k%2 == 0 {
				_ = c.(*net.TCPConn).SetLinger(0)
			}
			c.Close()
		}
	}
	for range 20 { // let in, and gone without a word
		c := within(t, p.sub)
		if p.via.isWS() {
			_, _ = c.Write(append(upgrade(), inFrame(hello())...))
		} else {
			_, _ = c.Write(hello())
		}
		if s, ok := c.(*tls.Conn); ok {
			c = s.NetConn()
		}
		c.Close()
	}
}

// badCertificates: a client's certificate that is over, or that another authority has
// signed, ends the handshake.
func badCertificates(t *testing.T, p *place) { // case 50
	device := func(c x509.Certificate) *x509.Certificate {
		c.DNSNames, c.ExtKeyUsage = []string{"device"}, append(c.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
		return &c
	}
	stranger := harness.NewCA(t)
	stranger.Issue("device", device(x509.Certificate{}))
	p.ca.Issue("over", device(x509.Certificate{NotAfter: time.Now().Add(-time.Minute)}))
	p.ca.Issue("server-only", &x509.Certificate{DNSNames: []string{"device"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	foreign := p.sub.trust.Clone()
	foreign.Certificates = stranger.Trust("device").Certificates
	for name, trust := range map[string]*tls.Config{"over": p.ca.Trust("over"), "another authority's": foreign, "a server's": p.ca.Trust("server-only")} {
		d := p.sub
		d.trust = trust
		if _, why, closed := d.attempt(t, mqtt.Connect{}); !closed {
			t.Errorf("%s: CONNACK %v", name, why)
		}
	}
}

// namesInCertificates: a certificate names exactly one user by an exact name, or lets nobody in.
func namesInCertificates(t *testing.T, p *place) { // case 51
	type names []string
	for name, c := range map[string]struct {
		dns  names
		user string
		want mqtt.Reason
	}{
		"good":         {names{"ann"}, "", mqtt.Success},
		"under it":     {names{"ann"}, "ann", mqtt.Success},
		"wildcard":     {names{"*.example"}, "", mqtt.NotAuthorized},
		"several":      {names{"ann", "bob"}, "", mqtt.NotAuthorized},
		"none":         {nil, "", mqtt.NotAuthorized},
		"NUL":          {names{"ann\x00.evil.example"}, "", mqtt.NotAuthorized},
		"filter":       {names{"a+b"}, "", mqtt.NotAuthorized},
		"without":      {names{"-"}, "", mqtt.NotAuthorized},
		"without, ann": {names{"-"}, "ann", mqtt.BadUsernameOrPassword}, // who has to prove it
	} {
		d := p.sub
		if fmt.Sprint(c.dns) == "[-]" {
			d.own()
		} else {
			p.ca.Issue("who", &x509.Certificate{DNSNames: c.dns, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
			d.own("who")
		}
		for _, version := range []mqtt.Version{mqtt.V311, mqtt.V5} {
			cl, why, closed := d.attempt(t, mqtt.Connect{Version: version, ClientID: []byte("by-certificate"), HasUsername: c.user != "", Username: []byte(c.user)})
			if closed || why != c.want {
				t.Errorf("%s, version %v: CONNACK %v, closed %v", name, version, why, closed)
				continue
			}
			if why != mqtt.Success {
				cl.ExpectClosed()
				continue
			}
			if version == mqtt.V5 {
				if ask(cl, "u/ann/x") != mqtt.GrantedQoS1 || ask(cl, "u/bob/x") != mqtt.NotAuthorized {
					t.Errorf("%s: has not the rights of ann", name)
				}
			}
			cl.Disconnect()
		}
	}
}

// within is a connection within TLS, where there is TLS.
func within(t *testing.T, d door) net.Conn {
	t.Helper()
	c, err := d.inner(t)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
