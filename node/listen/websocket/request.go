package websocket

import (
	"bytes"
	"encoding/base64"
)

// request is what the opening handshake needs of an HTTP request. It lies in the bytes
// it was read from.
type request struct {
	method, path   []byte
	host, origin   []byte
	hosts, origins int
	key, version   []byte
	keys, versions int
	upgrade        bool // Upgrade has websocket
	connection     bool // Connection has upgrade
	body           bool
	mqtt, mqttv31  bool // subprotocols on offer
}

var (
	lineEnd = []byte("\r\n")
	headEnd = []byte("\r\n\r\n")
)

// parseRequest reads a whole head, up to and without the empty line. False: it is not
// HTTP/1.1 as it should be.
func parseRequest(b []byte) (q request, ok bool) {
	line, rest, _ := bytes.Cut(b, lineEnd)
	if !q.start(line) {
		return q, false
	}
	for len(rest) > 0 {
		line, rest, _ = bytes.Cut(rest, lineEnd)
		name, value, found := bytes.Cut(line, []byte(":"))
		if !found || !isToken(name) {
			return q, false
		}
		value = bytes.Trim(value, " \t")
		if !isFieldValue(value) {
			return q, false
		}
		q.field(name, value)
	}
	return q, q.hosts == 1 && len(q.host) > 0 && q.origins <= 1 && q.keys <= 1 && q.versions <= 1 && !q.body
}

// start reads the first line.
func (q *request) start(line []byte) bool {
	method, rest, ok := bytes.Cut(line, []byte(" "))
	target, version, ok2 := bytes.Cut(rest, []byte(" "))
	if !ok || !ok2 || !isToken(method) || string(version) != "HTTP/1.1" || len(target) == 0 || target[0] != '/' {
		return false
	}
	for _, c := range target {
		if c <= ' ' || c >= 0x7f {
			return false
		}
	}
	q.method = method
	q.path, _, _ = bytes.Cut(target, []byte("?"))
	return true
}

// field takes note of one header field.
func (q *request) field(name, value []byte) {
	switch {
	case is(name, "Host"):
		q.host, q.hosts = value, q.hosts+1
	case is(name, "Origin"):
		q.origin, q.origins = value, q.origins+1
	case is(name, "Upgrade"):
		q.upgrade = q.upgrade || lists(value, "websocket", is)
	case is(name, "Connection"):
		q.connection = q.connection || lists(value, "upgrade", is)
	case is(name, "Sec-WebSocket-Key"):
		q.key, q.keys = value, q.keys+1
	case is(name, "Sec-WebSocket-Version"):
		q.version, q.versions = value, q.versions+1
	case is(name, "Sec-WebSocket-Protocol"):
		q.mqtt = q.mqtt || lists(value, "mqtt", exactly)
		q.mqttv31 = q.mqttv31 || lists(value, "mqttv3.1", exactly)
	case is(name, "Transfer-Encoding"):
		q.body = true
	case is(name, "Content-Length"):
		q.body = q.body || string(value) != "0"
	}
}

// validKey says whether the key is 16 bytes in base64.
func (q *request) validKey() bool {
	var b [18]byte
	if len(q.key) != 24 {
		return false
	}
	n, err := base64.StdEncoding.Decode(b[:], q.key)
	return err == nil && n == 16
}

// is compares names of fields, of which s is one.
func is(b []byte, s string) bool { return len(b) == len(s) && bytes.EqualFold(b, []byte(s)) }

// exactly compares names in which the size of letters counts.
func exactly(b []byte, s string) bool { return string(b) == s }

// lists says whether a list with commas has an element.
func lists(list []byte, element string, same func([]byte, string) bool) bool {
	for e := range bytes.SplitSeq(list, []byte(",")) {
		if same(bytes.Trim(e, " \t"), element) {
			return true
		}
	}
	return false
}

func isToken(b []byte) bool {
	for _, c := range b {
		if !isTokenByte(c) {
			return false
		}
	}
	return len(b) > 0
}

func isTokenByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), c) >= 0
}

func isFieldValue(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}
