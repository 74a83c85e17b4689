package websocket

import (
	"bufio"
	"bytes"
	"net/http"
	"strings"
	"testing"
)

// hello is a good request with what is changed of it: "Name: value" replaces a field,
// "Name:" leaves it out, "+Name: value" adds one, and what begins otherwise is the
// first line.
func hello(changes ...string) string {
	start := "GET /mqtt HTTP/1.1"
	fields := []string{
		"Host: broker.example.com:8083", "Upgrade: websocket", "Connection: Upgrade",
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Protocol: mqtt",
	}
	for _, c := range changes {
		name, value, isField := strings.Cut(c, ":")
		if !isField || strings.Contains(name, " ") {
			start = c
			continue
		}
		if added, ok := strings.CutPrefix(c, "+"); ok {
			fields = append(fields, added)
			continue
		}
		for k, f := range fields {
			if strings.HasPrefix(f, name+":") {
				fields[k] = c
				if value == "" {
					fields = append(fields[:k], fields[k+1:]...)
				}
				break
			}
		}
	}
	return start + "\r\n" + strings.Join(fields, "\r\n") + "\r\n\r\n"
}

var requests = []struct {
	name string
	in   string
	want Refusal
}{
	{"good", hello(), Accepted},
	{"query", hello("GET /mqtt?token=x&y HTTP/1.1"), Accepted},
	{"as browsers ask", hello("Connection: keep-alive, Upgrade", "+Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits", "+Origin: https://broker.example.com"), Accepted},
	{"names in small letters", hello("Host:", "+host: b", "Upgrade: WebSocket", "Connection: upgrade"), Accepted},
	{"lists in several fields", hello("Sec-WebSocket-Protocol: x", "+Sec-WebSocket-Protocol: y, mqtt", "Connection: close", "+Connection: x ,\tupgrade"), Accepted},
	{"mqttv3.1 only", hello("Sec-WebSocket-Protocol: mqttv3.1"), Accepted},
	{"both", hello("Sec-WebSocket-Protocol: mqttv3.1, mqtt"), Accepted},
	{"empty body", hello("+Content-Length: 0"), Accepted},

	{"MQTT", "\x10\x0c\x00\x04MQTT", Malformed},
	{"TLS", "\x16\x03\x01", Malformed},
	{"empty line", "\r\n" + hello(), Malformed},
	{"HTTP/1.0", hello("GET /mqtt HTTP/1.0"), Malformed},
	{"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Malformed},
	{"no version", hello("GET /mqtt"), Malformed},
	{"proxy request", hello("GET http://a/mqtt HTTP/1.1"), Malformed},
	{"two spaces", hello("GET  /mqtt HTTP/1.1"), Malformed},
	{"no host", hello("Host:"), Malformed},
	{"two hosts", hello("+Host: a"), Malformed},
	{"two origins", hello("+Origin: http://a", "+Origin: http://b"), Malformed},
	{"two keys", hello("+Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), Malformed},
	{"no key", hello("Sec-WebSocket-Key:"), Malformed},
	{"short key", hello("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j"), Malformed},
	{"key of 17 bytes", hello("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZTE="), Malformed},
	{"key that is not base64", hello("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j!!=="), Malformed},
	{"folded field", hello("+X: a\r\n b"), Malformed},
	{"space before the colon", hello("+X : a"), Malformed},
	{"field without colon", hello("+X: a\r\nb"), Malformed},
	{"line feed alone", hello("+X: a\nY: b"), Malformed},
	{"zero byte", hello("+X: a\x00"), Malformed},
	{"body", hello("+Content-Length: 5"), Malformed},
	{"chunked body", hello("+Transfer-Encoding: chunked"), Malformed},
	{"too large", hello("+Cookie: " + strings.Repeat("c", MaxRequest)), TooLarge},
	{"other path", hello("GET / HTTP/1.1"), OtherPath},
	{"path beyond", hello("GET /mqtt/ HTTP/1.1"), OtherPath},
	{"post", hello("POST /mqtt HTTP/1.1"), OtherMethod},
	{"page", hello("Upgrade:", "Connection: keep-alive"), NotUpgrade},
	{"upgrade to something else", hello("Upgrade: h2c"), NotUpgrade},
	{"upgrade of which the connection says nothing", hello("Connection: keep-alive"), NotUpgrade},
	{"old version", hello("Sec-WebSocket-Version: 8"), OtherVersion},
	{"no version of WebSocket", hello("Sec-WebSocket-Version:"), OtherVersion},
	{"foreign page", hello("+Origin: https://example.org"), ForeignOrigin},
	{"no subprotocol", hello("Sec-WebSocket-Protocol:"), NoSubprotocol},
	{"another subprotocol", hello("Sec-WebSocket-Protocol: MQTT, stomp"), NoSubprotocol},
}

var gate = Gate{Path: "/mqtt", Origins: Origins{sameHost: true}}

func TestJudge(t *testing.T) {
	const more = "\x82\x80abcd"
	for _, tt := range requests {
		t.Run(tt.name, func(t *testing.T) {
			answer, n, why := gate.Judge(nil, []byte(tt.in+more), false)
			if why != tt.want {
				t.Fatalf("%s, want %s", why, tt.want)
			}
			resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(answer)), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if why == Accepted {
				if n != len(tt.in) || resp.StatusCode != http.StatusSwitchingProtocols {
					t.Errorf("%d bytes of %d, %s", n, len(tt.in), resp.Status)
				}
				return
			}
			if n != 0 || resp.StatusCode < 400 || !resp.Close || resp.ContentLength < 10 {
				t.Errorf("%d bytes, %s, close %v, %d bytes of text", n, resp.Status, resp.Close, resp.ContentLength)
			}
		})
	}
}

func TestAcceptance(t *testing.T) {
	answer, _, _ := gate.Judge(nil, []byte(hello()), false)
	const want = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n" // the RFC's own example
	if string(answer) != want {
		t.Errorf("got  %q\nwant %q", answer, want)
	}
	for offer, want := range map[string]string{"mqttv3.1": "mqttv3.1", "mqttv3.1, mqtt": "mqtt", "mqtt,mqttv3.1": "mqtt"} {
		answer, _, _ := gate.Judge(nil, []byte(hello("Sec-WebSocket-Protocol: "+offer)), false)
		if !strings.HasSuffix(string(answer), "Sec-WebSocket-Protocol: "+want+"\r\n\r\n") {
			t.Errorf("offered %s, chosen %q", offer, answer)
		}
	}
}

func TestOrigins(t *testing.T) {
	for _, tt := range []struct {
		list         string // with spaces between
		origin, host string
		loopback     bool
		want         bool
	}{
		{"same-host", "", "b:1", false, true},
		{"same-host", "https://b", "b:8084", false, true},
		{"same-host", "http://B:3000", "b", false, true},
		{"same-host", "https://a.b", "b", false, false},
		{"same-host", "https://b.evil", "b", false, false},
		{"same-host", "null", "null", false, false},
		{"same-host", "b", "b", false, false},
		{"same-host", "http://[2001:db8::1]:80", "[2001:db8::1]:8083", false, true},
		{"same-host", "http://[2001:db8::1]", "[2001:db8::2]", false, false},
		{"same-host", "http://localhost:3000", "127.0.0.1:8083", true, true},
		{"same-host", "http://127.0.0.1", "[::1]:8083", true, true},
		{"same-host", "http://127.0.0.1", "localhost", false, true},
		{"same-host", "http://evil.example", "evil.example:8083", true, false}, // its name leads to 127.0.0.1 now
		{"same-host", "http://localhost.evil", "localhost:8083", true, false},
		{"same-host", "http://a:b:c", "a:b:c", false, false},
		{"", "http://b", "b", false, false},
		{"", "", "b", false, true},
		{"*", "null", "b", true, true},
		{"*", "https://anything", "b", true, true},
		{"null", "null", "b", true, true},
		{"null", "https://b", "b", true, false},
		{"https://app.example.com", "https://app.example.com", "b", true, true},
		{"https://App.example.com", "https://app.Example.com", "b", true, true},
		{"https://app.example.com", "http://app.example.com", "b", true, false},
		{"https://app.example.com", "https://app.example.com:444", "b", true, false},
		{"https://app.example.com", "https://app.example.com.evil", "b", true, false},
		{"https://*.example.com", "https://a.b.example.com", "b", true, true},
		{"https://*.example.com", "https://example.com", "b", true, false},
		{"https://*.example.com", "https://.example.com", "b", true, false},
		{"https://*.example.com", "https://evilexample.com", "b", true, false},
		{"https://a capacitor://localhost", "capacitor://localhost", "b", true, true},
	} {
		o, err := ParseOrigins(strings.Fields(tt.list))
		if err != nil {
			t.Fatal(err)
		}
		if got := o.allow([]byte(tt.origin), []byte(tt.host), tt.loopback); got != tt.want {
			t.Errorf("%q allows %q at %q: %v", tt.list, tt.origin, tt.host, got)
		}
	}
	for _, bad := range []string{"", "example.com", "https://", "https://a/", "https://*", "https://*.", "https://a.*.b", "https://a b", "samehost"} {
		if _, err := ParseOrigins([]string{bad}); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// A request that comes in pieces is judged as one that comes at once, and one that
// becomes a WebSocket is one to net/http too.
func FuzzJudge(f *testing.F) {
	for _, tt := range requests {
		if len(tt.in) < 1<<10 {
			f.Add([]byte(tt.in))
		}
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		whole, size, why := gate.Judge(nil, in, false)
		for k := range len(in) + 1 {
			answer, n, w := gate.Judge(nil, in[:k:k], false)
			if n == 0 && w == Accepted {
				if len(answer) != 0 {
					t.Fatalf("%d bytes: an answer before the request is there", k)
				}
				continue
			}
			if n != size || w != why || !bytes.Equal(answer, whole) {
				t.Fatalf("%d bytes: %d %s, all of them: %d %s", k, n, w, size, why)
			}
			break
		}
		if why != Accepted || size == 0 {
			return
		}
		q, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(in[:size])))
		if err != nil {
			t.Fatalf("net/http: %v", err)
		}
		if q.Method != "GET" || q.URL.EscapedPath() != "/mqtt" || q.ContentLength > 0 || q.Header.Get("Sec-WebSocket-Version") != "13" {
			t.Fatalf("net/http sees %s %s", q.Method, q.URL)
		}
	})
}

func BenchmarkJudge(b *testing.B) {
	in := []byte(hello("Connection: keep-alive, Upgrade", "+Origin: https://broker.example.com",
		"+User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0.0.0 Safari/537.36",
		"+Accept-Encoding: gzip, deflate", "+Accept-Language: en-US,en;q=0.9", "+Cache-Control: no-cache", "+Pragma: no-cache",
		"+Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"))
	var answer []byte
	b.ReportAllocs()
	for b.Loop() {
		a, n, why := gate.Judge(answer[:0], in, false)
		if n != len(in) {
			b.Fatal(why)
		}
		answer = a
	}
}
