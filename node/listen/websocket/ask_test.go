package websocket

import (
	"strings"
	"testing"
)

// What a client asks is what the gate accepts, and the other way round.
func TestAsk(t *testing.T) {
	nonce := Nonce{1, 2, 3}
	answer, n, why := gate.Judge(nil, AppendRequest(nil, "broker:8083", "/mqtt?x", nonce), false)
	if why != Accepted || n == 0 {
		t.Fatalf("%d %v", n, why)
	}
	full := string(answer) + "\x82\x00"
	for k := range len(full) + 1 {
		n, err := ParseAnswer([]byte(full[:k]), nonce)
		if want := len(answer); err != nil || k < want && n != 0 || k >= want && n != want {
			t.Fatalf("%d bytes: %d, %v", k, n, err)
		}
	}
	if _, err := ParseAnswer(answer, Nonce{}); err == nil {
		t.Error("an answer to another client is taken")
	}
	for _, tt := range []struct{ old, new, says string }{
		{"101 Switching Protocols", "403 Forbidden", `refused with "403 Forbidden"`},
		{"HTTP/1.1", "\x20\x02\x00\x00", "none"},
		{"Upgrade: websocket\r\n", "", "none"},
		{"Connection: Upgrade\r\n", "", "none"},
		{"Protocol: mqtt", "Protocol: stomp", "none"},
		{"Upgrade:", "Sec-WebSocket-Extensions: permessage-deflate\r\nUpgrade:", "none"},
		{"\r\n", "\r\nX: " + strings.Repeat("x", MaxAnswer), "none"},
	} {
		_, err := ParseAnswer([]byte(strings.Replace(string(answer), tt.old, tt.new, 1)), nonce)
		if err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%q for %q: %v", tt.new, tt.old, err)
		}
	}
}

func FuzzParseAnswer(f *testing.F) {
	answer, _, _ := gate.Judge(nil, []byte(hello()), false)
	f.Add(answer)
	f.Add([]byte("HTTP/1.1 403 Forbidden\r\n\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		n, err := ParseAnswer(in, Nonce{})
		if n > len(in) || n != 0 && err != nil {
			t.Errorf("%d of %d, %v", n, len(in), err)
		}
		for k := range len(in) {
			if m, err2 := ParseAnswer(in[:k], Nonce{}); m != 0 && m != n || err2 != nil && err == nil {
				t.Errorf("%d bytes: %d %v, all of them: %d %v", k, m, err2, n, err)
			}
		}
	})
}
