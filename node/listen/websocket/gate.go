package websocket

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"strconv"
)

// MaxRequest is the greatest length of a request, in bytes. Browsers send the cookies
// of the broker's host along.
const MaxRequest = 16 << 10

// Gate judges requests: which become a WebSocket that carries MQTT. It is read-only,
// for any number of connections.
type Gate struct {
	Path    string  // the only one; the query behind it is ignored
	Origins Origins // which pages may ask
}

// Refusal is why a request does not become a WebSocket.
type Refusal uint8

// The refusals. Accepted is none.
const (
	Accepted      Refusal = iota
	Malformed             // no HTTP/1.1 request as it should be
	TooLarge              // longer than MaxRequest
	OtherPath             // a path that is not the gate's
	OtherMethod           // no GET
	NotUpgrade            // no Upgrade to websocket
	OtherVersion          // a Sec-WebSocket-Version that is not 13
	ForeignOrigin         // a page that may not ask
	NoSubprotocol         // neither mqtt nor mqttv3.1 on offer
	refusals              // how many there are
)

// Refusals is the number of values of Refusal.
const Refusals = int(refusals)

// refused holds for each refusal its name in metrics, the status line, and what the
// peer is told.
var refused = [...]struct{ name, status, header, text string }{
	Malformed:     {"malformed", "400 Bad Request", "", "This is not the opening handshake of a WebSocket."},
	TooLarge:      {"too-large", "431 Request Header Fields Too Large", "", "The request is longer than " + strconv.Itoa(MaxRequest) + " bytes."},
	OtherPath:     {"path", "404 Not Found", "", "There is no WebSocket at this path."},
	OtherMethod:   {"method", "405 Method Not Allowed", "Allow: GET\r\n", "A WebSocket is opened with GET."},
	NotUpgrade:    {"no-upgrade", "426 Upgrade Required", "Connection: Upgrade\r\nUpgrade: websocket\r\n", "Here is MQTT over WebSocket, for MQTT clients."},
	OtherVersion:  {"version", "426 Upgrade Required", "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n", "The version of WebSocket spoken here is 13."},
	ForeignOrigin: {"origin", "403 Forbidden", "", "Pages of this origin may not connect; the broker's setting websocket.origins names those that may."},
	NoSubprotocol: {"subprotocol", "400 Bad Request", "", "Offer the subprotocol mqtt, or mqttv3.1."},
}

// String is the refusal's name in metrics.
func (r Refusal) String() string { return refused[r].name }

// Judge reads the request at the start of b and appends the answer to it to dst. n is
// the request's length in bytes; 0 with Accepted says that it is not all there yet. Of
// a request that is refused nothing is to be used, and the connection ends with the
// answer. loopback says that the listener is bound to a loopback address.
func (g *Gate) Judge(dst, b []byte, loopback bool) (answer []byte, n int, why Refusal) {
	end := bytes.Index(b[:min(len(b), MaxRequest)], headEnd)
	switch {
	case end >= 0:
	case len(b) > 0 && !isTokenByte(b[0]): // what speaks MQTT or TLS would wait for an answer
		return deny(dst, Malformed)
	case len(b) >= MaxRequest:
		return deny(dst, TooLarge)
	default:
		return dst, 0, Accepted
	}
	q, ok := parseRequest(b[:end])
	if !ok {
		return deny(dst, Malformed)
	}
	if why := g.judge(&q, loopback); why != Accepted {
		return deny(dst, why)
	}
	return accept(dst, &q), end + len(headEnd), Accepted
}

func (g *Gate) judge(q *request, loopback bool) Refusal {
	switch {
	case string(q.path) != g.Path:
		return OtherPath
	case string(q.method) != "GET":
		return OtherMethod
	case !q.upgrade || !q.connection:
		return NotUpgrade
	case string(q.version) != "13":
		return OtherVersion
	case !q.validKey():
		return Malformed
	case !g.Origins.allow(q.origin, q.host, loopback):
		return ForeignOrigin
	case !q.mqtt && !q.mqttv31: // [MQTT-6.0.0-3]
		return NoSubprotocol
	}
	return Accepted
}

// accept appends the answer that makes the connection a WebSocket. mqtt is the name to
// return where there is a choice ([MQTT-6.0.0-4]); the other one belongs to clients of
// MQTT 3.1 that know no better.
func accept(dst []byte, q *request) []byte {
	protocol := "mqtt"
	if !q.mqtt {
		protocol = "mqttv3.1"
	}
	dst = append(dst, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "...)
	dst = appendAccept(dst, q.key)
	dst = append(dst, "\r\nSec-WebSocket-Protocol: "...)
	return append(append(dst, protocol...), headEnd...)
}

// appendAccept appends what proves that the key was read (RFC 6455, 4.2.2).
func appendAccept(dst, key []byte) []byte {
	const magic = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
	var b [24 + len(magic)]byte
	sum := sha1.Sum(append(append(b[:0], key...), magic...))
	return base64.StdEncoding.AppendEncode(dst, sum[:])
}

func deny(dst []byte, why Refusal) ([]byte, int, Refusal) {
	r := &refused[why]
	dst = append(append(dst, "HTTP/1.1 "...), r.status...)
	dst = append(dst, "\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n"...)
	dst = append(append(dst, r.header...), "Content-Length: "...)
	dst = strconv.AppendInt(dst, int64(len(r.text)+1), 10)
	dst = append(append(append(dst, headEnd...), r.text...), '\n')
	return dst, 0, why
}
