package cases

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
)

// upgrade is a request for a WebSocket.
func upgrade() []byte {
	return []byte("GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n")
}

// inFrame is b in one binary frame of a client, under a mask of zeros.
func inFrame(b []byte) []byte {
	f := []byte{0x82}
	switch n := len(b); {
	case n < 126:
		f = append(f, 0x80|byte(n))
	case n < 1<<16:
		f = binary.BigEndian.AppendUint16(append(f, 0x80|126), uint16(n))
	default:
		f = binary.BigEndian.AppendUint64(append(f, 0x80|127), uint64(n))
	}
	return append(append(f, 0, 0, 0, 0), b...)
}

// socket is the client's side of a WebSocket. It is a stream of bytes: each Write is a
// frame, and the ends of frames that come are not told. A Read that meets its deadline in
// the middle of a frame has lost nothing.
type socket struct {
	net.Conn
	in   []byte // of frames
	data []byte // of MQTT
	end  bool   // a close frame has come
}

// newSocket opens a WebSocket on a connection.
func newSocket(c net.Conn) (*socket, error) {
	s := &socket{Conn: c}
	if _, err := c.Write(upgrade()); err != nil {
		return nil, err
	}
	for {
		if head, rest, ok := bytes.Cut(s.in, []byte("\r\n\r\n")); ok {
			if s.in = rest; !bytes.HasPrefix(head, []byte("HTTP/1.1 101 ")) {
				return nil, fmt.Errorf("no WebSocket: %.40q", head)
			}
			return s, nil
		}
		if err := s.more(); err != nil {
			return nil, err
		}
	}
}

func (s *socket) Write(b []byte) (int, error) {
	if _, err := s.Conn.Write(inFrame(b)); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (s *socket) Read(b []byte) (int, error) {
	for len(s.data) == 0 {
		if s.end {
			return 0, io.EOF
		}
		whole, err := s.frame()
		if err == nil && !whole {
			err = s.more()
		}
		if err != nil {
			return 0, err
		}
	}
	n := copy(b, s.data)
	s.data = s.data[n:]
	return n, nil
}

// more reads some bytes.
func (s *socket) more() error {
	b := make([]byte, 4096)
	n, err := s.Conn.Read(b)
	s.in = append(s.in, b[:n]...)
	if n > 0 {
		return nil
	}
	return err
}

// frame takes one frame, if it is whole.
func (s *socket) frame() (whole bool, err error) {
	if len(s.in) < 2 {
		return false, nil
	}
	kind, size, head := s.in[0], uint64(s.in[1]), 2
	switch size {
	case 126:
		head = 4
	case 127:
		head = 10
	}
	if len(s.in) < head {
		return false, nil
	}
	switch size {
	case 126:
		size = uint64(binary.BigEndian.Uint16(s.in[2:]))
	case 127:
		size = binary.BigEndian.Uint64(s.in[2:])
	}
	if uint64(len(s.in)-head) < size {
		return false, nil
	}
	body := s.in[head : head+int(size)]
	s.in = s.in[head+int(size):]
	switch kind {
	case 0x82:
		s.data = append(s.data, body...)
	case 0x88:
		s.end = true
	default:
		return false, fmt.Errorf("a frame of the server begins with %#x", kind)
	}
	return true, nil
}
