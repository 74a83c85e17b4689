package websocket

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
)

// Nonce is what a client proves with that the server has read its request: chance.
type Nonce [16]byte

func (n Nonce) key() []byte { return base64.StdEncoding.AppendEncode(nil, n[:]) }

// AppendRequest appends a client's opening handshake, for MQTT ([MQTT-6.0.0-3]). host
// is the server's, with the port; path may have a query.
func AppendRequest(dst []byte, host, path string, n Nonce) []byte {
	return fmt.Appendf(dst, "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n", path, host, n.key())
}

// MaxAnswer is the greatest length of the head of an answer, in bytes.
const MaxAnswer = 16 << 10

var errAnswer = errors.New("websocket: what answers is none")

// ParseAnswer reads the server's answer at the start of b. n is its length in bytes; 0
// without an error says that it is not all there yet. The error of a server that refuses
// has its status line.
func ParseAnswer(b []byte, nonce Nonce) (n int, err error) {
	end := bytes.Index(b[:min(len(b), MaxAnswer)], headEnd)
	const version = "HTTP/1."
	switch {
	case string(b[:min(len(b), len(version))]) != version[:min(len(b), len(version))]:
		return 0, errAnswer
	case end < 0 && len(b) >= MaxAnswer:
		return 0, errAnswer
	case end < 0:
		return 0, nil
	}
	line, rest, _ := bytes.Cut(b[:end], lineEnd)
	_, status, _ := bytes.Cut(line, []byte(" "))
	if code, _, _ := bytes.Cut(status, []byte(" ")); string(code) != "101" {
		return 0, fmt.Errorf("websocket: refused with %q", status)
	}
	var upgrade, connection, accept, protocol bool
	want := string(appendAccept(nil, nonce.key()))
	for len(rest) > 0 {
		line, rest, _ = bytes.Cut(rest, lineEnd)
		name, value, _ := bytes.Cut(line, []byte(":"))
		switch value = bytes.Trim(value, " \t"); {
		case is(name, "Upgrade"):
			upgrade = is(value, "websocket")
		case is(name, "Connection"):
			connection = connection || lists(value, "upgrade", is)
		case is(name, "Sec-WebSocket-Accept"):
			accept = string(value) == want
		case is(name, "Sec-WebSocket-Protocol"):
			protocol = string(value) == "mqtt" // [MQTT-6.0.0-4]
		case is(name, "Sec-WebSocket-Extensions"):
			return 0, errAnswer // none was asked for
		}
	}
	if !upgrade || !connection || !accept || !protocol {
		return 0, errAnswer
	}
	return end + len(headEnd), nil
}
