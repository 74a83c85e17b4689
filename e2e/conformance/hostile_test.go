package conformance

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"dunlin/e2e/chaos/check"
	"dunlin/e2e/harness"
	"dunlin/proto/mqtt"
)

// hostileConfig has times and limits that are soon met, and a proxy before wss-addr.
const hostileConfig = `
connect-timeout: 2s
send-timeout: 1s
proxy-protocol:
  wss: [127.0.0.0/8]
`

// hostile is a node with every transport, and what its attackers need.
type hostile struct {
	*harness.Node
	trust *tls.Config
}

// Cases 48 to 50 of GUARANTEES section 5, and those of the cases before them that
// are different within TLS or WebSocket. Each runs beside a bystander, and after all of
// them the node holds what it held before.
func TestHostileTransports(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, "ca")
	h := hostile{secured(t, a, hostileConfig), a.trust()}
	by := newBystander(t, places{h.Node, h.Node, h.Node})
	by.check(t)
	h.shake(t, h.dial(t, h.MQTTS)).Close() // so that what is made once is there
	before := h.Held()
	for _, c := range []struct {
		name string
		test func(*testing.T, hostile)
	}{
		{"48 requests", badRequests},
		{"48 frames", badFrames},
		{"48 packet in frames of a byte", tinyFrames},
		{"49 header", badHeaders},
		{"49 all at once", allAtOnce},
		{"50 not TLS", notTLS},
		{"50 old versions", oldVersions},
		{"50 renegotiation", renegotiation},
		{"50 handshakes that do not go on", stuckHandshakes},
		{"6 hundreds that break off at each stage", breakOff},
		{"29 never reads", deafBehindLayers},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, h) })
		by.check(t)
	}
	harness.Eventually(t, "the node holds no more than before", func() error {
		after := h.Held()
		sample := func(n harness.Held) check.Sample {
			return check.Sample{Node: h.Name, Goroutines: n.Goroutines, Files: n.Files, Heap: n.Heap, Disk: n.Disk}
		}
		slack := check.DefaultSlack()
		slack.Goroutines, slack.Files = 0, 0
		for _, v := range check.Residue(sample(before), sample(after), slack) {
			return errors.New(v.String())
		}
		if m := h.Metrics(); m["dunlin_connections_opening"]+m["dunlin_tls_handshakes"] != 0 {
			return fmt.Errorf("%v opening, %v handshakes", m["dunlin_connections_opening"], m["dunlin_tls_handshakes"])
		}
		return nil
	})
}

func (h hostile) dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

// shake completes a handshake.
func (h hostile) shake(t *testing.T, c net.Conn) *tls.Conn {
	t.Helper()
	host, _, _ := net.SplitHostPort(h.MQTTS)
	conf := h.trust.Clone()
	conf.ServerName = host
	s := tls.Client(c, conf)
	if err := s.Handshake(); err != nil {
		t.Fatal(err)
	}
	return s
}

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

// upgrade is a request for a WebSocket, and hello a CONNECT.
func upgrade() []byte {
	return []byte("GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n")
}

func hello() []byte { return connect5(2, hx("00"), text("")) }

// framed is b, at most 125 bytes, in one binary frame of a client, under a mask of zeros.
func framed(b []byte) []byte { return append([]byte{0x82, 0x80 | byte(len(b)), 0, 0, 0, 0}, b...) }

func badRequests(t *testing.T, h hostile) {
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
		if got := told(t, h.dial(t, h.WS), c.send); !strings.HasPrefix(strings.TrimPrefix(got, "HTTP/1.1 "), c.status) {
			t.Errorf("%s: %q instead of %s", name, got, c.status)
		}
	}
}

func badFrames(t *testing.T, h hostile) {
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
		got := told(t, h.dial(t, h.WS), append(upgrade(), c.frame...))
		if _, got, _ = strings.Cut(got, "\r\n\r\n"); got != c.last {
			t.Errorf("%s: answered with %q instead of %q", name, got, c.last)
		}
	}
}

func tinyFrames(t *testing.T, h hostile) {
	b := upgrade()
	for _, c := range append(hello(), hx("c000 e000")...) {
		b = append(append(b, framed(nil)...), framed([]byte{c})...) // and an empty one
		b = append(b, "\x89\x80\x00\x00\x00\x00"...)                // and a ping
	}
	got := told(t, h.dial(t, h.WS), b)
	if _, got, _ = strings.Cut(got, "\r\n\r\n"); !strings.Contains(got, "\xd0\x00") || !strings.Contains(got, "\x8a\x00") {
		t.Errorf("no PINGRESP, or no pong, in %q", got)
	}
}

func badHeaders(t *testing.T, h hostile) {
	const signature = "\r\n\r\n\x00\r\nQUIT\n"
	for name, header := range map[string]string{
		"missing":      "\x16\x03\x01\x00\x05",
		"malformed":    "PROXY TCP4 1.2.3.4\r\n",
		"wrong kind":   "PROXY TCP4 ::1 ::1 1 2\r\n",
		"too long":     "PROXY UNKNOWN " + strings.Repeat("x", 100),
		"too long, 2":  signature + "\x21\x11\xff\xff",
		"too short, 2": signature + "\x21\x11\x00\x01x",
		"version 3":    signature + "\x31\x11\x00\x0c",
		"never ends":   "PROXY TCP4",
		"twice":        "PROXY UNKNOWN\r\nPROXY UNKNOWN\r\n",
	} {
		if got := told(t, h.dial(t, h.WSS), []byte(header)); len(got) > 7 { // an alert
			t.Errorf("%s: answered with %q", name, got)
		}
	}
	for _, addr := range []string{h.MQTT, h.MQTTS, h.WS} { // where none belongs
		if got := told(t, h.dial(t, addr), []byte("PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n\r\n")); strings.Contains(got, "101") {
			t.Errorf("%s: answered with %q", addr, got)
		}
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

// Header and ClientHello come in one piece, and request, frame, CONNECT, PINGREQ and
// DISCONNECT in another.
func allAtOnce(t *testing.T, h hostile) {
	s := h.shake(t, &gathered{Conn: h.dial(t, h.WSS), before: []byte("PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n")})
	got := told(t, s, append(upgrade(), framed(append(hello(), hx("c000 e000")...))...))
	if _, got, _ = strings.Cut(got, "\r\n\r\n"); !strings.Contains(got, "\xd0\x00") {
		t.Errorf("no PINGRESP in %q", got)
	}
}

func notTLS(t *testing.T, h hostile) {
	for _, b := range [][]byte{
		hello(), upgrade(), hx("16 0301 0005 01 00 00 01 00"), append(hx("16 0301 ffff"), make([]byte, 1<<17)...), hx("16 0301 0000"), hx("80 2e 01 0301"),
	} {
		if got := told(t, h.dial(t, h.MQTTS), b); len(got) > 7 { // an alert
			t.Errorf("%.20q: answered with %q", b, got)
		}
	}
}

func oldVersions(t *testing.T, h hostile) {
	for _, v := range []uint16{tls.VersionTLS10, tls.VersionTLS11} {
		conf := h.trust.Clone()
		conf.MinVersion, conf.MaxVersion, conf.InsecureSkipVerify = v, v, true
		if err := tls.Client(h.dial(t, h.MQTTS), conf).Handshake(); err == nil {
			t.Errorf("%s is spoken", tls.VersionName(v))
		}
	}
}

func renegotiation(t *testing.T, h hostile) {
	cmd := exec.CommandContext(t.Context(), harness.Tool(t, "openssl", "openssl"), "s_client", "-connect", h.MQTTS, "-tls1_2")
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

// Silent ones, a ClientHello that comes byte by byte for longer than connect-timeout,
// and one that nothing follows: all end, and one that only takes its time gets in.
func stuckHandshakes(t *testing.T, h hostile) {
	record := clientHello(t)
	slow := h.dial(t, h.MQTTS)
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
		c := h.dial(t, h.MQTTS)
		stuck.Go(func() { told(t, c, b) })
	}
	stuck.Wait()
	if err := <-dribbled; errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("one byte after the other keeps a connection open")
	}
	h.shake(t, &crumbs{h.dial(t, h.MQTTS)})
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

// They come to each stage and are gone, half of them with a reset.
func breakOff(t *testing.T, h hostile) {
	record := clientHello(t)
	proxied := append([]byte("PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n"), record...)
	for _, stage := range []struct {
		addr string
		send []byte
	}{
		{h.MQTTS, nil}, {h.MQTTS, record[:100]}, {h.MQTTS, record},
		{h.WS, upgrade()[:50]}, {h.WS, upgrade()}, {h.WS, append(upgrade(), framed(hello())[:9]...)}, {h.WS, append(upgrade(), framed(hello())...)},
		{h.WSS, proxied[:20]}, {h.WSS, proxied[:40]}, {h.WSS, proxied},
	} {
		for k := range 100 {
			c := h.dial(t, stage.addr)
			_, _ = c.Write(stage.send)
			if k%2 == 0 {
				_ = c.(*net.TCPConn).SetLinger(0)
			}
			c.Close()
		}
	}
	for range 20 { // secured, and gone without a word
		s := h.shake(t, h.dial(t, h.MQTTS))
		_, _ = s.Write(hello())
		_ = s.NetConn().Close()
	}
}

// Who does not read is closed, within TLS and WebSocket as without.
func deafBehindLayers(t *testing.T, h hostile) {
	subscribe := append(hello(), subscribe5("0001", hx("00"), text("deaf"), hx("00"))...)
	secured := h.shake(t, h.dial(t, h.MQTTS))
	_, err := secured.Write(subscribe)
	if err != nil {
		t.Fatal(err)
	}
	plain := h.dial(t, h.WS)
	if _, err = plain.Write(append(upgrade(), framed(subscribe)...)); err != nil {
		t.Fatal(err)
	}
	pub := ephemeral(t, h.Node, "deaf-pub")
	ping := bytes.Repeat([]byte("\x89\x80\x00\x00\x00\x00"), 1<<10)
	slow := h.Metrics()["dunlin_slow_consumers_total"]
	harness.Eventually(t, "who does not read is closed", func() error {
		for range 20 {
			pub.PublishPacket(mqtt.Publish{Topic: []byte("deaf"), Payload: make([]byte, 256<<10), QoS: 1})
		}
		_ = plain.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
		_, _ = plain.Write(ping)
		if n := h.Metrics()["dunlin_slow_consumers_total"] - slow; n < 2 {
			return fmt.Errorf("%v were", n)
		}
		return nil
	})
}
