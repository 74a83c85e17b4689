package harness

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"dunlin/proto/mqtt"
)

// Client is one connection that sends what a test tells it to, right or wrong,
// and hands over what comes, in order. It answers nothing by itself; the methods
// named after what an application does (Subscribe, Publish, Receive) complete
// their own handshakes. It has one goroutine at a time. What must come and does
// not, fails the test.
type Client struct {
	ID      string // client identifier, for failures
	Version mqtt.Version
	Connack mqtt.Connack

	t      testing.TB
	conn   net.Conn
	in     []byte
	kept   []*mqtt.Packet // what was read before somebody asked for it
	lastID uint16
}

// Packet is what Send sends.
type Packet interface {
	Append(dst []byte, v mqtt.Version) []byte
}

// Dial opens a connection and sends nothing. It closes at the end of the test.
func Dial(t testing.TB, addr string) *Client {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, deadline)
	if err != nil {
		t.Fatal(err)
	}
	return Over(t, conn)
}

// Over is Dial where the connection is there, such as one over TLS.
func Over(t testing.TB, conn net.Conn) *Client {
	t.Cleanup(func() { conn.Close() })
	return &Client{t: t, conn: conn, Version: mqtt.V5}
}

// Connect opens a connection and sends c, completed by the defaults of a simple
// client: version 5, no keepalive. The server has to accept it.
func Connect(t testing.TB, addr string, c mqtt.Connect) *Client {
	t.Helper()
	cl := TryConnect(t, addr, c)
	if cl.Connack.Reason != mqtt.Success {
		t.Fatalf("%s: CONNACK %v", cl.ID, cl.Connack.Reason)
	}
	return cl
}

// TryConnect is Connect without the demand; Connack has the answer.
func TryConnect(t testing.TB, addr string, c mqtt.Connect) *Client {
	t.Helper()
	cl := Dial(t, addr)
	cl.Greet(c)
	return cl
}

// Greet sends CONNECT, completed by the same defaults, and waits for the answer, which is
// in Connack.
func (c *Client) Greet(hello mqtt.Connect) {
	c.t.Helper()
	if hello.Version == 0 {
		hello.Version = mqtt.V5
	}
	if hello.ReceiveMaximum == 0 {
		hello.ReceiveMaximum = 65535
	}
	hello.RequestProblemInfo = true
	c.ID, c.Version = string(hello.ClientID), hello.Version
	c.Send(&hello)
	c.Connack = c.Expect(mqtt.CONNACK).Connack
	if c.ID == "" {
		c.ID = string(c.Connack.AssignedClientID)
	}
}

// Attempt is Connect where it may fail: the error says that the server was not
// there, ended the connection or refused it.
func Attempt(t testing.TB, addr string, c mqtt.Connect) (*Client, error) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, deadline)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { conn.Close() })
	c.Version, c.RequestProblemInfo = mqtt.V5, true
	if c.ReceiveMaximum == 0 {
		c.ReceiveMaximum = 65535
	}
	cl := &Client{t: t, conn: conn, Version: mqtt.V5, ID: string(c.ClientID)}
	cl.Send(&c)
	p, err := cl.read(time.Now().Add(5 * time.Second))
	switch {
	case err != nil:
	case p.Kind != mqtt.CONNACK:
		err = fmt.Errorf("%s instead of CONNACK", Describe(p))
	case p.Connack.Reason != mqtt.Success:
		err = fmt.Errorf("CONNACK %v", p.Connack.Reason)
	default:
		cl.Connack = p.Connack
		return cl, nil
	}
	conn.Close()
	return nil, fmt.Errorf("%s at %s: %w", cl.ID, addr, err)
}

// Send sends packets in one write.
func (c *Client) Send(ps ...Packet) {
	c.t.Helper()
	var b []byte
	for _, p := range ps {
		b = p.Append(b, c.Version)
	}
	c.SendBytes(b)
}

// SendBytes sends b as it is. A connection that the server has closed is not a
// failure here: what it sent before that is still to be read.
func (c *Client) SendBytes(b []byte) {
	c.conn.SetWriteDeadline(time.Now().Add(deadline))
	if _, err := c.conn.Write(b); errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Errorf("%s: the server does not read", c.ID)
	}
}

// Next is the next packet, whatever it is; io.EOF when the server has closed the
// connection.
func (c *Client) Next() (*mqtt.Packet, error) {
	if len(c.kept) > 0 {
		p := c.kept[0]
		c.kept = c.kept[1:]
		return p, nil
	}
	return c.read(time.Now().Add(deadline))
}

// read takes one packet off the connection. It owns its bytes.
func (c *Client) read(until time.Time) (*mqtt.Packet, error) {
	c.conn.SetReadDeadline(until)
	for {
		f, n, err := mqtt.Cut(c.in, 1<<28)
		if err != nil {
			return nil, fmt.Errorf("%s: the server sent bytes that are no packet: %w: % x", c.ID, err, c.in[:min(len(c.in), 32)])
		}
		if n > 0 {
			p := new(mqtt.Packet)
			c.in = c.in[n:]
			if err := mqtt.Decode(f, c.Version, p); err != nil {
				return nil, fmt.Errorf("%s: the server sent a bad packet: %w: %x % x", c.ID, err, f.First, f.Body)
			}
			return p, nil
		}
		// A new buffer each time: packets borrow the old one.
		b := make([]byte, len(c.in)+4096)
		have := copy(b, c.in)
		got, err := c.conn.Read(b[have:])
		c.in = b[:have+got]
		if got == 0 && err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				err = io.EOF // in order or reset: it is over
			}
			return nil, err
		}
	}
}

// Waiting says whether a packet has come that nobody has read. It does not wait
// for one.
func (c *Client) Waiting() bool {
	if len(c.kept) > 0 {
		return true
	}
	p, err := c.read(time.Now().Add(time.Millisecond))
	if err != nil {
		return false
	}
	c.kept = append(c.kept, p)
	return true
}

// Poll is Next that gives up after a while, with os.ErrDeadlineExceeded.
func (c *Client) Poll(wait time.Duration) (*mqtt.Packet, error) {
	return c.read(time.Now().Add(wait))
}

// Expect reads the next packet, which has to be of this kind.
func (c *Client) Expect(k mqtt.Kind) *mqtt.Packet {
	c.t.Helper()
	p, err := c.Next()
	if err != nil {
		c.t.Fatalf("%s: %v instead of %v", c.ID, err, k)
	}
	if p.Kind != k {
		c.t.Fatalf("%s: %s instead of %v", c.ID, Describe(p), k)
	}
	return p
}

// ExpectAck expects an acknowledgement of id and returns its reason.
func (c *Client) ExpectAck(k mqtt.Kind, id uint16) mqtt.Reason {
	c.t.Helper()
	p := c.Expect(k)
	if p.Ack.PacketID != id {
		c.t.Fatalf("%s: %v of %d instead of %d", c.ID, k, p.Ack.PacketID, id)
	}
	return p.Ack.Reason
}

// ExpectDisconnect expects to be sent away: before version 5 the connection just
// ends, from 5 on a DISCONNECT with this reason goes before.
func (c *Client) ExpectDisconnect(r mqtt.Reason) {
	c.t.Helper()
	if c.Version == mqtt.V5 {
		if p := c.Expect(mqtt.DISCONNECT); p.Disconnect.Reason != r {
			c.t.Fatalf("%s: DISCONNECT %v instead of %v", c.ID, p.Disconnect.Reason, r)
		}
	}
	c.ExpectClosed()
}

// ExpectClosed expects the end of the connection and nothing before it.
func (c *Client) ExpectClosed() {
	c.t.Helper()
	p, err := c.Next()
	switch {
	case err == nil:
		c.t.Fatalf("%s: %s instead of the end", c.ID, Describe(p))
	case !errors.Is(err, io.EOF):
		c.t.Fatalf("%s: %v instead of the end", c.ID, err)
	}
}

// ExpectQuiet expects that the server has nothing to say: the answer to a
// PINGREQ is the next packet.
func (c *Client) ExpectQuiet() {
	c.t.Helper()
	c.SendBytes(mqtt.AppendPingreq(nil))
	c.Expect(mqtt.PINGRESP)
}

// await reads until a packet of this kind comes and keeps the PUBLISHes before it.
func (c *Client) await(k mqtt.Kind) *mqtt.Packet {
	c.t.Helper()
	for until := time.Now().Add(deadline); ; {
		p, err := c.read(until)
		switch {
		case err != nil:
			c.t.Fatalf("%s: %v instead of %v", c.ID, err, k)
		case p.Kind == k:
			return p
		case p.Kind == mqtt.PUBLISH:
			c.kept = append(c.kept, p)
		default:
			c.t.Fatalf("%s: %s instead of %v", c.ID, Describe(p), k)
		}
	}
}

// NextID is a packet identifier not used since 65,534 others.
func (c *Client) NextID() uint16 {
	c.lastID++
	if c.lastID == 0 {
		c.lastID = 1
	}
	return c.lastID
}

// Subscribe subscribes to one filter and waits for the SUBACK, which has to grant
// the QoS.
func (c *Client) Subscribe(filter string, q mqtt.QoS) {
	c.t.Helper()
	rs := c.SubscribeAll(mqtt.Subscription{Filter: []byte(filter), QoS: q})
	if rs[0] != mqtt.Reason(q) {
		c.t.Fatalf("%s: SUBACK %v for %q", c.ID, rs[0], filter)
	}
}

// SubscribeAll sends one SUBSCRIBE and returns the reasons of its SUBACK.
func (c *Client) SubscribeAll(subs ...mqtt.Subscription) []mqtt.Reason {
	c.t.Helper()
	s := mqtt.Subscribe{PacketID: c.NextID(), Filters: subs}
	c.Send(&s)
	p := c.await(mqtt.SUBACK)
	if p.Suback.PacketID != s.PacketID || len(p.Suback.Reasons) != len(subs) {
		c.t.Fatalf("%s: %s does not answer SUBSCRIBE %d of %d filters", c.ID, Describe(p), s.PacketID, len(subs))
	}
	return p.Suback.Reasons
}

// Unsubscribe withdraws filters and waits for the UNSUBACK.
func (c *Client) Unsubscribe(filters ...string) []mqtt.Reason {
	c.t.Helper()
	u := mqtt.Unsubscribe{PacketID: c.NextID()}
	for _, f := range filters {
		u.Filters = append(u.Filters, []byte(f))
	}
	c.Send(&u)
	p := c.await(mqtt.UNSUBACK)
	if p.Suback.PacketID != u.PacketID {
		c.t.Fatalf("%s: %s does not answer UNSUBSCRIBE %d", c.ID, Describe(p), u.PacketID)
	}
	return p.Suback.Reasons
}

// Publish publishes and completes the handshake, successfully.
func (c *Client) Publish(topic, payload string, q mqtt.QoS) {
	c.t.Helper()
	c.PublishPacket(mqtt.Publish{Topic: []byte(topic), Payload: []byte(payload), QoS: q})
}

// PublishPacket is Publish with everything that a PUBLISH can say.
func (c *Client) PublishPacket(p mqtt.Publish) {
	c.t.Helper()
	if p.QoS > 0 && p.PacketID == 0 {
		p.PacketID = c.NextID()
	}
	c.Send(&p)
	step := func(k mqtt.Kind) {
		c.t.Helper()
		a := c.await(k)
		if a.Ack.PacketID != p.PacketID || a.Ack.Reason >= mqtt.Unspecified {
			c.t.Fatalf("%s: %s answers PUBLISH %d", c.ID, Describe(a), p.PacketID)
		}
	}
	switch p.QoS {
	case 1:
		step(mqtt.PUBACK)
	case 2:
		step(mqtt.PUBREC)
		c.Send(&mqtt.Ack{Kind: mqtt.PUBREL, PacketID: p.PacketID})
		step(mqtt.PUBCOMP)
	}
}

// Receive takes the next message and completes its handshake.
func (c *Client) Receive() *mqtt.Publish {
	c.t.Helper()
	p := c.Expect(mqtt.PUBLISH)
	c.Acknowledge(&p.Publish)
	return &p.Publish
}

// Acknowledge completes the handshake of a message that was received.
func (c *Client) Acknowledge(p *mqtt.Publish) {
	c.t.Helper()
	switch p.QoS {
	case 1:
		c.Send(&mqtt.Ack{Kind: mqtt.PUBACK, PacketID: p.PacketID})
	case 2:
		c.Send(&mqtt.Ack{Kind: mqtt.PUBREC, PacketID: p.PacketID})
		if r := c.await(mqtt.PUBREL); r.Ack.PacketID != p.PacketID {
			c.t.Fatalf("%s: %s instead of PUBREL %d", c.ID, Describe(r), p.PacketID)
		}
		c.Send(&mqtt.Ack{Kind: mqtt.PUBCOMP, PacketID: p.PacketID})
	}
}

// ExpectMessage takes the next message, which has to be this one.
func (c *Client) ExpectMessage(topic, payload string) *mqtt.Publish {
	c.t.Helper()
	p := c.Receive()
	if string(p.Topic) != topic || string(p.Payload) != payload {
		c.t.Fatalf("%s: got %q on %q instead of %q on %q", c.ID, p.Payload, p.Topic, payload, topic)
	}
	return p
}

// Disconnect ends the connection in order: the server has seen it and closed its
// side on return. What it sent before that is lost.
func (c *Client) Disconnect() {
	c.t.Helper()
	c.Send(&mqtt.Disconnect{})
	for {
		if _, err := c.read(time.Now().Add(deadline)); err != nil {
			break
		}
	}
	c.conn.Close()
}

// Drop ends it with a reset, as when the client's machine is gone.
func (c *Client) Drop() { reset(c.conn) }

// Describe is a packet in a line, for failures.
func Describe(p *mqtt.Packet) string {
	switch p.Kind {
	case mqtt.CONNACK:
		return fmt.Sprintf("CONNACK %v", p.Connack.Reason)
	case mqtt.PUBLISH:
		return fmt.Sprintf("PUBLISH %d of %q on %q", p.Publish.PacketID, p.Publish.Payload, p.Publish.Topic)
	case mqtt.PUBACK, mqtt.PUBREC, mqtt.PUBREL, mqtt.PUBCOMP:
		return fmt.Sprintf("%v %d %v", p.Kind, p.Ack.PacketID, p.Ack.Reason)
	case mqtt.SUBACK, mqtt.UNSUBACK:
		return fmt.Sprintf("%v %d %v", p.Kind, p.Suback.PacketID, p.Suback.Reasons)
	case mqtt.DISCONNECT:
		return fmt.Sprintf("DISCONNECT %v", p.Disconnect.Reason)
	}
	return p.Kind.String()
}
