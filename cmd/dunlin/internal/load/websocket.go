package load

import (
	"bufio"
	"bytes"
	"crypto/sha1" //nolint:gosec // RFC 6455 wants it, and nothing depends on it
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
)

// upgradeRequest asks for a WebSocket of MQTT (RFC 6455, section 4.1; [MQTT-6.0.0-3]).
func upgradeRequest(host, path string, key [16]byte) []byte {
	return fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Key: %s\r\n\r\n",
		path, host, base64.StdEncoding.EncodeToString(key[:]))
}

// maxUpgrade bounds the answer to it.
const maxUpgrade = 16 << 10

// upgraded reads the answer: n is its length, 0 if it is not all there.
func upgraded(b []byte, key [16]byte) (n int, err error) {
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		if len(b) > maxUpgrade {
			return 0, errors.New("no end to the answer to a WebSocket's request")
		}
		return 0, nil
	}
	n = end + 4
	r, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(b[:n])), nil)
	if err != nil {
		return 0, errors.New("no HTTP where a WebSocket was asked for")
	}
	r.Body.Close()
	sum := sha1.Sum([]byte(base64.StdEncoding.EncodeToString(key[:]) + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // as above
	switch {
	case r.StatusCode != http.StatusSwitchingProtocols:
		return 0, fmt.Errorf("no WebSocket: %s", r.Status)
	case r.Header.Get("Sec-WebSocket-Accept") != base64.StdEncoding.EncodeToString(sum[:]):
		return 0, errors.New("no WebSocket: its answer has the wrong key")
	}
	return n, nil
}
