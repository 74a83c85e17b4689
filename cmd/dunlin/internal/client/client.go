package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"dunlin/proto/mqtt"
)

// Options are what a connection is made with.
type Options struct {
	Addr          string      // host:port
	TLS           *tls.Config // nil: none
	WebSocket     string      // path at which to open a WebSocket; "": none
	Version       mqtt.Version
	ClientID      string // "": the server assigns one
	Username      string
	Password      string
	HasUsername   bool
	HasPassword   bool
	CleanStart    bool
	SessionExpiry uint32        // seconds, 5.0
	KeepAlive     time.Duration // whole seconds; 0: none
	Will          *mqtt.Will

	// Message is called for each message from the server, in order, from the
	// client's reading goroutine; p is borrowed until return. A QoS 1 or 2
	// message is acknowledged after it. It may call Close and nothing else of
	// the client.
	Message func(p *mqtt.Publish)
}

// ErrClosed is the error of a connection that Close ended.
var ErrClosed = errors.New("connection closed")

// window is the number of publishes of QoS > 0 in flight; a 5.0 server's Receive
// Maximum lowers it.
const window = 20

// maxPacket is what the client takes from a server, in bytes.
const maxPacket = 256<<20 + 5

// Client is one connection. Its methods may be called from any goroutine.
type Client struct {
	opts    Options
	conn    net.Conn
	connack mqtt.Connack // of it only what borrows nothing
	id      string

	slots chan struct{} // one is taken for each publish in flight
	done  chan struct{} // closed when the connection is over; err is set before

	mu struct {
		sync.Mutex
		err      error
		out      []byte // scratch of write
		lastID   uint16
		requests map[uint16]*request
		failed   error // the first publish that the server refused
	}

	received map[uint16]bool // QoS 2 messages that await PUBREL; the reader's
	pinged   chan struct{}   // a PINGRESP has come
	joined   sync.WaitGroup
}

// request is a packet identifier in use.
type request struct {
	publish bool
	answer  chan []mqtt.Reason // SUBACK and UNSUBACK; has room for one
}

// Refused is a CONNACK that refuses.
type Refused struct {
	Reason mqtt.Reason
	Text   string // the server's reason string
}

func (e *Refused) Error() string {
	if e.Text != "" {
		return fmt.Sprintf("the server refuses the connection: %s: %q", e.Reason, e.Text)
	}
	return fmt.Sprintf("the server refuses the connection: %s", e.Reason)
}

// Connect dials and waits for CONNACK; ctx bounds both.
func Connect(ctx context.Context, o Options) (*Client, error) {
	var d net.Dialer
	socket, err := d.DialContext(ctx, "tcp", o.Addr)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { socket.SetDeadline(time.Unix(1, 0)) })
	conn, err := o.through(ctx, socket)
	if err != nil {
		socket.Close()
		return nil, err
	}
	c := &Client{
		opts: o, conn: conn, id: o.ClientID,
		done:     make(chan struct{}),
		received: make(map[uint16]bool),
		pinged:   make(chan struct{}, 1),
	}
	c.mu.requests = make(map[uint16]*request)
	in := &input{conn: conn, version: o.Version}
	if err = c.handshake(in); err == nil && !stop() {
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		if ctx.Err() != nil {
			err = fmt.Errorf("no answer to CONNECT: %w", ctx.Err())
		}
		return nil, err
	}
	c.slots = make(chan struct{}, c.window())
	c.joined.Add(1)
	go func() {
		defer c.joined.Done()
		c.end(c.read(in))
	}()
	if c.keepAlive() > 0 {
		c.joined.Add(1)
		go func() {
			defer c.joined.Done()
			c.ping()
		}()
	}
	return c, nil
}

// through is socket with what MQTT is to go through on it.
func (o *Options) through(ctx context.Context, socket net.Conn) (net.Conn, error) {
	conn := socket
	if o.TLS != nil {
		secured := tls.Client(conn, o.TLS)
		if err := secured.HandshakeContext(ctx); err != nil {
			return nil, fmt.Errorf("TLS: %w", err)
		}
		conn = secured
	}
	if o.WebSocket == "" {
		return conn, nil
	}
	w, err := upgrade(conn, o.Addr, o.WebSocket)
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("no answer to the request for a WebSocket: %w", ctx.Err())
	case errors.Is(err, io.EOF):
		return nil, fmt.Errorf("the server closed the connection and did not answer the request for a WebSocket: %w", err)
	case err != nil:
		return nil, err
	}
	return w, nil
}

func (c *Client) handshake(in *input) error {
	o := c.opts
	p := mqtt.Connect{
		CleanStart: o.CleanStart, KeepAlive: uint16(o.KeepAlive / time.Second),
		ClientID: []byte(o.ClientID), SessionExpiry: o.SessionExpiry, RequestProblemInfo: true,
		HasUsername: o.HasUsername, Username: []byte(o.Username),
		HasPassword: o.HasPassword, Password: []byte(o.Password),
	}
	if o.Will != nil {
		p.HasWill, p.Will = true, *o.Will
	}
	if _, err := c.conn.Write(p.Append(nil, o.Version)); err != nil {
		return err
	}
	packet, err := in.next()
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("the server closed the connection and did not answer CONNECT, as one does that speaks TLS, WebSocket or "+
			"the PROXY protocol at %s: %w", o.Addr, err)
	}
	if err != nil {
		return fmt.Errorf("no CONNACK: %w", err)
	}
	if packet.Kind != mqtt.CONNACK {
		return fmt.Errorf("the server begins with %s", packet.Kind)
	}
	a := &packet.Connack
	if a.Reason != mqtt.Success {
		return &Refused{a.Reason, string(a.ReasonString)}
	}
	if len(a.AssignedClientID) > 0 {
		c.id = string(a.AssignedClientID)
	}
	c.connack = mqtt.Connack{
		SessionPresent: a.SessionPresent, ReceiveMaximum: a.ReceiveMaximum, MaximumPacketSize: a.MaximumPacketSize,
		HasMaximumQoS: a.HasMaximumQoS, MaximumQoS: a.MaximumQoS, RetainUnavailable: a.RetainUnavailable,
		HasServerKeepAlive: a.HasServerKeepAlive, ServerKeepAlive: a.ServerKeepAlive,
	}
	return nil
}

func (c *Client) window() int {
	if n := int(c.connack.ReceiveMaximum); n > 0 {
		return min(n, window)
	}
	return window
}

func (c *Client) keepAlive() time.Duration {
	if c.connack.HasServerKeepAlive {
		return time.Duration(c.connack.ServerKeepAlive) * time.Second
	}
	return c.opts.KeepAlive
}

// ClientID is the identifier in use, the server's if it assigned one.
func (c *Client) ClientID() string { return c.id }

// SessionPresent says whether the server had a session.
func (c *Client) SessionPresent() bool { return c.connack.SessionPresent }

// Done is closed when the connection is over; Err tells why.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err is why the connection is over: ErrClosed after Close, nil while it stands.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.err
}

// Close sends DISCONNECT with reason and closes the connection. It waits for
// nothing.
func (c *Client) Close(reason mqtt.Reason) {
	d := mqtt.Disconnect{Reason: reason}
	_ = c.write(func(b []byte) []byte { return d.Append(b, c.opts.Version) }) // it is closed anyway
	c.end(ErrClosed)
}

// Abort closes the connection without DISCONNECT: the will fires.
func (c *Client) Abort() { c.end(ErrClosed) }

// Wait waits until the client's goroutines are gone; call it after Close.
func (c *Client) Wait() { c.joined.Wait() }

// end makes err the connection's end, if it has none yet.
func (c *Client) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.err != nil {
		return
	}
	c.mu.err = err
	c.conn.Close()
	close(c.done)
}

// write sends what f appends.
func (c *Client) write(f func([]byte) []byte) error {
	c.mu.Lock()
	if c.mu.err != nil {
		defer c.mu.Unlock()
		return c.mu.err
	}
	c.mu.out = f(c.mu.out[:0])
	_, err := c.conn.Write(c.mu.out)
	c.mu.Unlock()
	if err != nil {
		c.end(err)
		return c.Err()
	}
	return nil
}

// ping keeps the connection alive and ends it when the server does not answer.
func (c *Client) ping() {
	tick := time.NewTicker(c.keepAlive())
	defer tick.Stop()
	for {
		select {
		case <-c.done:
			return
		case <-tick.C:
		}
		if c.write(mqtt.AppendPingreq) != nil {
			return
		}
		select {
		case <-c.done:
			return
		case <-c.pinged:
		case <-time.After(c.keepAlive()):
			c.end(errors.New("the server does not answer PINGREQ"))
			return
		}
	}
}
