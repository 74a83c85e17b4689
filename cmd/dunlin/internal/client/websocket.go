package client

import (
	"crypto/rand"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"time"

	"dunlin/node/listen/websocket"
)

// webSocket is a connection through WebSocket. One goroutine reads, any write.
type webSocket struct {
	net.Conn
	reader websocket.Reader
	in     []byte // read, and not yet taken apart
	err    error  // why there is no more to read

	mu struct {
		sync.Mutex
		out []byte // scratch
	}
}

// upgrade opens a WebSocket at path. host is what the server is asked for.
func upgrade(conn net.Conn, host, path string) (*webSocket, error) {
	var nonce websocket.Nonce
	_, _ = rand.Read(nonce[:]) // never fails
	if _, err := conn.Write(websocket.AppendRequest(nil, host, path, nonce)); err != nil {
		return nil, err
	}
	w := &webSocket{Conn: conn, reader: websocket.NewServerReader(), in: make([]byte, 0, websocket.MaxAnswer)}
	for {
		n, err := websocket.ParseAnswer(w.in, nonce)
		if n > 0 {
			w.in = w.in[n:]
			return w, nil
		}
		if err == nil {
			err = w.fill()
		}
		if err != nil {
			return nil, err
		}
	}
}

// fill reads more behind w.in.
func (w *webSocket) fill() error {
	if len(w.in) == cap(w.in) {
		w.in = append(make([]byte, 0, websocket.MaxAnswer), w.in...)
	}
	n, err := w.Conn.Read(w.in[len(w.in):cap(w.in)])
	w.in = w.in[:len(w.in)+n]
	if n > 0 {
		return nil
	}
	return err
}

func (w *webSocket) Read(b []byte) (int, error) {
	for w.err == nil {
		var owed websocket.Control
		m, n, err := w.reader.Read(b, w.in, &owed)
		w.in = w.in[n:]
		if owed.Owed() {
			_ = w.send(func(out []byte) []byte { return owed.AppendMasked(out, newKey()) }) // reading tells
		}
		switch {
		case err == websocket.ErrClosed:
			w.err = io.EOF
		case err != nil:
			w.err = err
		}
		if m > 0 {
			return m, nil
		}
		if w.err == nil {
			w.err = w.fill()
		}
	}
	return 0, w.err
}

func (w *webSocket) Write(b []byte) (int, error) {
	if err := w.send(func(out []byte) []byte { return websocket.AppendMasked(out, b, newKey()) }); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Close says so to the server, if that takes no time, and does not wait for its answer.
func (w *webSocket) Close() error {
	_ = w.SetWriteDeadline(time.Now().Add(time.Second))
	_ = w.send(func(out []byte) []byte {
		var bye websocket.Control
		bye.Close(websocket.Normal)
		return bye.AppendMasked(out, newKey())
	})
	return w.Conn.Close()
}

func (w *webSocket) send(f func(out []byte) []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.out = f(w.mu.out[:0])
	_, err := w.Conn.Write(w.mu.out)
	return err
}

// newKey is the mask of one frame.
func newKey() uint32 {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.NativeEndian.Uint32(b[:])
}
