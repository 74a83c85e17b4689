package load

import (
	"bufio"
	"bytes"
	"crypto/sha1" //nolint:gosec // RFC 6455 wants it, and nothing depends on it
	"encoding/base64"
	"encoding/binary"
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

// Kinds of frames.
const (
	opText   = 1
	opBinary = 2
	opClose  = 8
	opPing   = 9
	opPong   = 10
)

// appendFrame appends b as one frame of a client's, which are masked
// [RFC 6455, 5.3].
func appendFrame(dst []byte, op byte, key uint32, b []byte) []byte {
	dst = append(dst, 0x80|op)
	switch n := len(b); {
	case n < 126:
		dst = append(dst, 0x80|byte(n))
	case n < 1<<16:
		dst = binary.BigEndian.AppendUint16(append(dst, 0x80|126), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, 0x80|127), uint64(n))
	}
	dst = binary.BigEndian.AppendUint32(dst, key)
	at := len(dst)
	dst = append(dst, b...)
	masked, long := dst[at:], uint64(key)<<32|uint64(key)
	for len(masked) >= 8 {
		binary.BigEndian.PutUint64(masked, binary.BigEndian.Uint64(masked)^long)
		masked = masked[8:]
	}
	for i := range masked {
		masked[i] ^= byte(key >> (24 - 8*(i%4)))
	}
	return dst
}

// frames takes a server's frames apart, wherever they were cut.
type frames struct {
	head [10]byte // the beginning of a frame's header
	have int      // of it
	op   byte
	left uint64 // of the frame's payload
	ping []byte // payload of a ping that is not all there
}

var errWebSocketClosed = errors.New("WebSocket closed by the broker")

// unwrap replaces the frames in b by what they carry, which is returned as its
// length. ping is called for each ping, with its payload.
func (f *frames) unwrap(b []byte, ping func([]byte)) (n int, err error) {
	rest := b
	for {
		if f.left > 0 {
			part := rest[:min(uint64(len(rest)), f.left)]
			rest = rest[len(part):]
			f.left -= uint64(len(part))
			if f.op == opBinary {
				n += copy(b[n:], part)
			} else if f.op == opPing {
				f.ping = append(f.ping, part...)
			}
			if f.left > 0 {
				return n, nil
			}
		}
		if f.op == opPing {
			ping(f.ping)
			f.ping, f.op = f.ping[:0], opPong
		}
		if len(rest) == 0 {
			return n, nil
		}
		f.head[f.have] = rest[0]
		f.have++
		rest = rest[1:]
		if err := f.begin(); err != nil {
			return n, err
		}
	}
}

// begin looks whether the header is whole, and begins its frame.
func (f *frames) begin() error {
	if f.have < 2 {
		return nil
	}
	size, length := 2, uint64(f.head[1]&0x7f)
	switch length {
	case 126:
		size, length = 4, uint64(binary.BigEndian.Uint16(f.head[2:]))
	case 127:
		size, length = 10, binary.BigEndian.Uint64(f.head[2:])
	}
	if f.have < size {
		return nil
	}
	f.have = 0
	switch op := f.head[0] & 15; {
	case f.head[0]&0x70 != 0 || f.head[1]&0x80 != 0 || op >= opClose && length > 125:
		return errors.New("WebSocket frame that is not allowed")
	case op == opClose:
		return errWebSocketClosed
	case op == opText:
		return errors.New("WebSocket text frame")
	case op == 0: // goes on with what a binary frame began
		f.op = opBinary
	case op == opBinary, op == opPing, op == opPong:
		f.op = op
	default:
		return errors.New("WebSocket frame of an unknown kind")
	}
	f.left = length
	return nil
}
