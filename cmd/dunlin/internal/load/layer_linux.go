package load

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"dunlin/node/listen/websocket"
)

// layer is what is between the socket and MQTT: TLS, a WebSocket, or one in the
// other.
type layer struct {
	tls    *tls.Conn // nil: none
	socket *socket   // below it
	key    [16]byte  // of the request for a WebSocket
	frames websocket.Reader
	kept   []byte // the answer to the request, or a frame's beginning, that waits for its end
}

// writeLayer is worker.write through c's layers.
func (w *worker) writeLayer(c *conn, b []byte) {
	if strings.HasPrefix(w.Config.Transport, "ws") && c.state != upgrading {
		w.frame = websocket.AppendMasked(w.frame[:0], b, rand.Uint32())
		b = w.frame
	}
	w.writeBelow(c, b)
}

// writeBelow writes what is no MQTT any more.
func (w *worker) writeBelow(c *conn, b []byte) {
	if c.layer.tls == nil {
		w.send(c, b)
		return
	}
	_, _ = c.layer.tls.Write(b) // socket takes all; what is wrong is found by reading
}

// readLayer is worker.receive through c's layers.
func (w *worker) readLayer(c *conn, b []byte) (n int, more bool, err error) {
	l := c.layer
	at := copy(b, l.kept)
	if l.tls == nil {
		n, err = l.plain(int(c.fd), b[at:])
	} else {
		n, err = l.tls.Read(b[at:])
		more = true // a record may be followed by others that have been read with it
	}
	switch {
	case errors.Is(err, errAgain):
		return 0, false, nil
	case errors.Is(err, io.EOF):
		return 0, false, errClosed
	case err != nil:
		return 0, false, err
	}
	if strings.HasPrefix(w.Config.Transport, "ws") {
		n, err = w.unwrap(c, b, at+n)
	}
	return n, more, err
}

// unwrap replaces the n bytes of b by the MQTT in them, which it returns the length
// of, and keeps what waits for more.
func (w *worker) unwrap(c *conn, b []byte, n int) (int, error) {
	l := c.layer
	if c.state == upgrading {
		end, err := upgraded(b[:n], l.key)
		if end == 0 || err != nil {
			l.kept = append(l.kept[:0], b[:n]...)
			return 0, err
		}
		n = copy(b, b[end:n])
		w.greet(c)
	}
	var owed websocket.Control
	m, used, err := l.frames.Read(b, b[:n], &owed)
	l.kept = append(l.kept[:0], b[used:n]...)
	if owed.Owed() {
		w.writeBelow(c, owed.AppendMasked(nil, rand.Uint32()))
	}
	return m, err
}

// plain reads from a socket without TLS.
func (*layer) plain(fd int, b []byte) (int, error) {
	n, err := unix.Read(fd, b)
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return 0, errAgain
	case err == nil && n == 0:
		err = io.EOF
	}
	return n, err
}

// upgrade asks for a WebSocket.
func (w *worker) upgrade(c *conn) {
	c.state = upgrading
	for i := range c.layer.key {
		c.layer.key[i] = byte(rand.Uint32())
	}
	w.writeBelow(c, upgradeRequest(w.place(c).name, w.Config.Path, c.layer.key))
}

// socket is a connection's descriptor as crypto/tls sees it. During the handshake,
// which has a goroutine, it waits; afterwards the worker drives it and it never does.
type socket struct {
	worker   *worker
	conn     *conn
	fd       int
	deadline time.Time // of the handshake; zero: it is over
}

// errAgain says that there is nothing to read now. crypto/tls goes on after an error
// that is temporary.
var errAgain again

type again struct{}

func (again) Error() string   { return "nothing to read now" }
func (again) Timeout() bool   { return true }
func (again) Temporary() bool { return true }

func (s *socket) Read(b []byte) (int, error) {
	for {
		n, err := (*layer)(nil).plain(s.fd, b)
		if !errors.Is(err, errAgain) || s.deadline.IsZero() {
			return n, err
		}
		if err := s.wait(unix.POLLIN); err != nil {
			return 0, err
		}
	}
}

// Write takes all: after the handshake what the kernel does not take is the worker's
// to send.
func (s *socket) Write(b []byte) (int, error) {
	if s.deadline.IsZero() {
		s.worker.send(s.conn, b)
		return len(b), nil
	}
	for done := 0; done < len(b); {
		n, err := unix.Write(s.fd, b[done:])
		switch {
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
			if err := s.wait(unix.POLLOUT); err != nil {
				return done, err
			}
		case err != nil:
			return done, err
		default:
			done += n
		}
	}
	return len(b), nil
}

// wait blocks the thread until the socket is ready.
func (s *socket) wait(events int16) error {
	left := time.Until(s.deadline)
	if left <= 0 {
		return errSilent
	}
	_, err := unix.Poll([]unix.PollFd{{Fd: int32(s.fd), Events: events}}, int(left/time.Millisecond)+1)
	if errors.Is(err, unix.EINTR) {
		err = nil
	}
	return err
}

// The rest of net.Conn, which crypto/tls does not need here.

func (s *socket) Close() error                     { return nil }
func (s *socket) LocalAddr() net.Addr              { return nil }
func (s *socket) RemoteAddr() net.Addr             { return nil }
func (s *socket) SetDeadline(time.Time) error      { return nil }
func (s *socket) SetReadDeadline(time.Time) error  { return nil }
func (s *socket) SetWriteDeadline(time.Time) error { return nil }

// handshakesAtOnce bounds the goroutines that do handshakes, each of which may hold a
// thread.
const handshakesAtOnce = 8

// secure are the handshakes that are going on.
type secure struct {
	running sync.WaitGroup
	slots   chan struct{}
}

// secured is a handshake that is over.
type secured struct {
	conn       *conn
	generation int32
	layer      *layer
	err        error
}

// secureConn has a goroutine do the TLS handshake.
func (w *worker) secureConn(c *conn) {
	c.state = securing
	if err := unix.EpollCtl(w.epoll, unix.EPOLL_CTL_DEL, int(c.fd), nil); err != nil {
		w.fail(fmt.Errorf("epoll: %w", err))
		return
	}
	s := &socket{worker: w, conn: c, fd: int(c.fd), deadline: time.Now().Add(w.Config.Patience)}
	over := secured{conn: c, generation: c.generation, layer: &layer{socket: s, tls: tls.Client(s, w.tlsOf(c)), frames: websocket.NewServerReader()}}
	w.secure.running.Go(func() {
		w.secure.slots <- struct{}{}
		over.err = over.layer.tls.Handshake()
		<-w.secure.slots
		w.post(func() { w.desk.secure = append(w.desk.secure, over) })
	})
}

// secured goes on when a handshake is over.
func (w *worker) secured(s secured) {
	c := s.conn
	if c.generation != s.generation { // it was given up meanwhile
		unix.Close(s.layer.socket.fd)
		return
	}
	s.layer.socket.deadline = time.Time{}
	c.state, c.layer = dialing, s.layer // so that the socket is closed with c
	if s.err != nil {
		w.broken(c, handshakeError(s.err))
		return
	}
	c.waiting = false
	w.watch(c, unix.EPOLL_CTL_ADD)
	if w.Config.Transport == "wss" {
		w.upgrade(c)
	} else {
		w.greet(c)
	}
	w.read(c) // what came with the handshake is in the layer
}

// handshakeError is err without what differs between clients.
func handshakeError(err error) error {
	var unverified *tls.CertificateVerificationError
	if errors.As(err, &unverified) {
		return fmt.Errorf("TLS: certificate not accepted: %w", unverified.Err)
	}
	return fmt.Errorf("TLS: %w", err)
}

// tlsOf is the configuration for c's broker.
func (w *worker) tlsOf(c *conn) *tls.Config {
	p := w.place(c)
	for i := range w.places {
		if p == &w.places[i] {
			return w.tls[i]
		}
	}
	return nil
}

// tlsConfigs are the configurations for places, if c wants TLS.
func (c Config) tlsConfigs(places []place) (all []*tls.Config, err error) {
	if c.Transport != "tls" && c.Transport != "wss" {
		return nil, nil
	}
	base := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: c.TLS.Insecure} //nolint:gosec // if the user says so
	if c.TLS.CA != "" {
		pem, err := os.ReadFile(c.TLS.CA)
		if err != nil {
			return nil, fmt.Errorf("certificate authorities: %w", err)
		}
		base.RootCAs = x509.NewCertPool()
		if !base.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("certificate authorities: no certificate in %s", c.TLS.CA)
		}
	}
	if c.TLS.Cert != "" {
		pair, err := tls.LoadX509KeyPair(c.TLS.Cert, c.TLS.Key)
		if err != nil {
			return nil, fmt.Errorf("client certificate: %w", err)
		}
		base.Certificates = []tls.Certificate{pair}
	}
	for _, p := range places {
		t := base.Clone()
		if t.ServerName = c.TLS.ServerName; t.ServerName == "" {
			t.ServerName = p.host
		}
		all = append(all, t)
	}
	return all, nil
}
