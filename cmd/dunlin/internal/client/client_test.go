package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"dunlin/proto/mqtt"
)

// server is the far end of a Client under test: a script that reads and writes
// packets.
type server struct {
	t    *testing.T
	conn net.Conn
	in   *input
	v    mqtt.Version
}

// serve runs script for one connection and returns where to connect to. The
// test waits for the script's end.
func serve(t *testing.T, v mqtt.Version, script func(s *server)) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		script(&server{t: t, conn: conn, in: &input{conn: conn, version: v}, v: v})
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return l.Addr().String()
}

// next reads a packet of kind from the client; nil when the client is gone.
func (s *server) next(kind mqtt.Kind) *mqtt.Packet {
	for {
		f, n, err := mqtt.Cut(s.in.buf, 1<<20)
		if err != nil {
			s.t.Error(err)
			return nil
		}
		if n == 0 {
			if s.in.fill() != nil {
				return nil
			}
			continue
		}
		if err := mqtt.Decode(f, s.v, &s.in.packet); err != nil {
			s.t.Error(err)
			return nil
		}
		s.in.buf = s.in.buf[n:]
		if s.in.packet.Kind != kind {
			s.t.Errorf("the client sends %s, want %s", s.in.packet.Kind, kind)
			return nil
		}
		return &s.in.packet
	}
}

func (s *server) send(p interface {
	Append([]byte, mqtt.Version) []byte
}) {
	s.conn.Write(p.Append(nil, s.v))
}

// accept answers CONNECT.
func (s *server) accept(a mqtt.Connack) {
	s.next(mqtt.CONNECT)
	s.send(&a)
}

func connect(t *testing.T, o Options) *Client {
	t.Helper()
	c, err := Connect(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close(mqtt.Success)
		c.Wait()
	})
	return c
}

var versions = []mqtt.Version{mqtt.V31, mqtt.V311, mqtt.V5}

func TestConnectRefused(t *testing.T) {
	for _, v := range versions {
		addr := serve(t, v, func(s *server) { s.accept(mqtt.Connack{Reason: mqtt.NotAuthorized}) })
		_, err := Connect(t.Context(), Options{Addr: addr, Version: v, ClientID: "c", CleanStart: true})
		var r *Refused
		if !errors.As(err, &r) || r.Reason != mqtt.NotAuthorized {
			t.Errorf("%s: %v", v, err)
		}
	}
}

// A server that closes in place of CONNACK speaks something else, mostly.
func TestConnectToSomethingElse(t *testing.T) {
	for what, path := range map[string]string{"CONNECT": "", "the request for a WebSocket": "/mqtt"} {
		addr := serve(t, mqtt.V5, func(s *server) { _, _ = s.conn.Read(make([]byte, 4096)) })
		_, err := Connect(t.Context(), Options{Addr: addr, Version: mqtt.V5, WebSocket: path})
		if err == nil || !strings.Contains(err.Error(), "closed the connection and did not answer "+what) {
			t.Errorf("%q: %v", path, err)
		}
	}
}

func TestConnectGivesUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	addr := serve(t, mqtt.V5, func(s *server) {
		s.next(mqtt.CONNECT)
		cancel()
		s.next(mqtt.DISCONNECT) // nil: the client closes
	})
	if _, err := Connect(ctx, Options{Addr: addr, Version: mqtt.V5}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestAssignedClientID(t *testing.T) {
	addr := serve(t, mqtt.V5, func(s *server) {
		s.accept(mqtt.Connack{AssignedClientID: []byte("given")})
		s.next(mqtt.DISCONNECT)
	})
	if c := connect(t, Options{Addr: addr, Version: mqtt.V5, CleanStart: true}); c.ClientID() != "given" {
		t.Error(c.ClientID())
	}
}

func TestPublishKeepsToTheServersWindow(t *testing.T) {
	const messages = 50
	addr := serve(t, mqtt.V5, func(s *server) {
		s.accept(mqtt.Connack{ReceiveMaximum: 2})
		var waiting []uint16
		for range messages {
			p := s.next(mqtt.PUBLISH)
			if p == nil {
				return
			}
			if waiting = append(waiting, p.Publish.PacketID); len(waiting) == 2 {
				// The client can send no third before one of these is answered;
				// that would have come as the next packet where an answer is due.
				for _, id := range waiting {
					s.send(&mqtt.Ack{Kind: mqtt.PUBREC, PacketID: id})
					s.next(mqtt.PUBREL)
				}
				for _, id := range waiting {
					s.send(&mqtt.Ack{Kind: mqtt.PUBCOMP, PacketID: id})
				}
				waiting = waiting[:0]
			}
		}
		s.next(mqtt.DISCONNECT)
	})
	c := connect(t, Options{Addr: addr, Version: mqtt.V5, CleanStart: true})
	for i := range messages {
		if err := c.Publish(t.Context(), mqtt.Publish{Topic: []byte("t"), QoS: 2, Payload: fmt.Append(nil, i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Flush(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestFlushTellsOfARefusal(t *testing.T) {
	addr := serve(t, mqtt.V5, func(s *server) {
		s.accept(mqtt.Connack{})
		s.send(&mqtt.Ack{Kind: mqtt.PUBACK, PacketID: s.next(mqtt.PUBLISH).Publish.PacketID, Reason: mqtt.NotAuthorized})
		s.send(&mqtt.Ack{Kind: mqtt.PUBREC, PacketID: s.next(mqtt.PUBLISH).Publish.PacketID, Reason: mqtt.QuotaExceeded})
		s.send(&mqtt.Ack{Kind: mqtt.PUBACK, PacketID: 999}) // nobody asked
		s.next(mqtt.DISCONNECT)
	})
	c := connect(t, Options{Addr: addr, Version: mqtt.V5, CleanStart: true})
	for qos := range 2 {
		if err := c.Publish(t.Context(), mqtt.Publish{Topic: []byte("t"), QoS: mqtt.QoS(1 + qos)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Flush(t.Context()); err == nil || !strings.Contains(err.Error(), "not authorized") {
		t.Error(err)
	}
	if err := c.Flush(t.Context()); err != nil {
		t.Errorf("the second time: %v", err)
	}
}

func TestPublishKnowsWhatTheServerCannot(t *testing.T) {
	addr := serve(t, mqtt.V5, func(s *server) {
		s.accept(mqtt.Connack{MaximumPacketSize: 20, HasMaximumQoS: true, RetainUnavailable: true})
		s.next(mqtt.DISCONNECT)
	})
	c := connect(t, Options{Addr: addr, Version: mqtt.V5, CleanStart: true})
	for _, p := range []mqtt.Publish{
		{Topic: []byte("t"), Payload: make([]byte, 20)}, {Topic: []byte("t"), QoS: 1}, {Topic: []byte("t"), Retain: true},
	} {
		if c.Publish(t.Context(), p) == nil {
			t.Errorf("published %+v", p)
		}
	}
}

func TestQoS2IsDeliveredOnce(t *testing.T) {
	got := make(chan string, 10)
	addr := serve(t, mqtt.V311, func(s *server) {
		s.accept(mqtt.Connack{})
		m := mqtt.Publish{Topic: []byte("t"), QoS: 2, PacketID: 7, Payload: []byte("once")}
		for _, m.Dup = range []bool{false, true} {
			s.send(&m)
			s.next(mqtt.PUBREC)
		}
		for range 2 {
			s.send(&mqtt.Ack{Kind: mqtt.PUBREL, PacketID: 7})
			s.next(mqtt.PUBCOMP)
		}
		m.Dup, m.Payload = false, []byte("again") // the identifier is free
		s.send(&m)
		s.next(mqtt.PUBREC)
		s.send(&mqtt.Publish{Topic: []byte("t"), QoS: 1, PacketID: 8, Payload: []byte("one")})
		s.next(mqtt.PUBACK)
		s.next(mqtt.DISCONNECT)
	})
	connect(t, Options{
		Addr: addr, Version: mqtt.V311, ClientID: "c", CleanStart: true,
		Message: func(p *mqtt.Publish) { got <- string(p.Payload) },
	})
	for _, want := range []string{"once", "again", "one"} {
		if m := <-got; m != want {
			t.Errorf("got %q, want %q", m, want)
		}
	}
}

func TestSubscribe(t *testing.T) {
	for _, v := range versions {
		addr := serve(t, v, func(s *server) {
			s.accept(mqtt.Connack{})
			p := s.next(mqtt.SUBSCRIBE)
			s.send(&mqtt.Suback{Kind: mqtt.SUBACK, PacketID: p.Subscribe.PacketID, Reasons: []mqtt.Reason{mqtt.GrantedQoS1, mqtt.Unspecified}})
			u := s.next(mqtt.UNSUBSCRIBE)
			s.send(&mqtt.Suback{Kind: mqtt.UNSUBACK, PacketID: u.Unsubscribe.PacketID, Reasons: []mqtt.Reason{mqtt.Success}})
			s.next(mqtt.DISCONNECT)
		})
		c := connect(t, Options{Addr: addr, Version: v, ClientID: "c", CleanStart: true})
		reasons, err := c.Subscribe(t.Context(), []mqtt.Subscription{{Filter: []byte("a"), QoS: 1}, {Filter: []byte("b")}})
		if err != nil || len(reasons) != 2 || reasons[0] != mqtt.GrantedQoS1 || !reasons[1].Failed() {
			t.Errorf("%s: %v, %v", v, reasons, err)
		}
		if _, err := c.Unsubscribe(t.Context(), []string{"a"}); err != nil {
			t.Errorf("%s: %v", v, err)
		}
	}
}

func TestEnd(t *testing.T) {
	for name, tt := range map[string]struct {
		script func(s *server)
		want   string
	}{
		"disconnect": {func(s *server) {
			s.send(&mqtt.Disconnect{Reason: mqtt.ServerShuttingDown, ReasonString: []byte("bye\n")})
		}, `the server disconnects: server shutting down: "bye\n"`},
		"close":   {func(s *server) {}, "the server closed the connection"},
		"garbage": {func(s *server) { s.conn.Write([]byte{0xF7, 0xFF, 0xFF, 0xFF, 0xFF}) }, "mqtt: "},
		"client's packet": {func(s *server) {
			s.conn.Write(mqtt.AppendPingreq(nil))
		}, "PINGREQ from the server"},
	} {
		addr := serve(t, mqtt.V5, func(s *server) {
			s.accept(mqtt.Connack{})
			tt.script(s)
		})
		c := connect(t, Options{Addr: addr, Version: mqtt.V5, CleanStart: true})
		<-c.Done()
		if err := c.Err(); !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
		if err := c.Publish(t.Context(), mqtt.Publish{Topic: []byte("t")}); err == nil {
			t.Errorf("%s: published on a closed connection", name)
		}
	}
}

func TestPing(t *testing.T) {
	addr := serve(t, mqtt.V5, func(s *server) {
		s.accept(mqtt.Connack{HasServerKeepAlive: true, ServerKeepAlive: 1})
		s.next(mqtt.PINGREQ)
		s.conn.Write(mqtt.AppendPingresp(nil))
		s.next(mqtt.PINGREQ) // and silence
		s.next(mqtt.DISCONNECT)
	})
	c := connect(t, Options{Addr: addr, Version: mqtt.V5, CleanStart: true, KeepAlive: time.Hour})
	<-c.Done()
	if err := c.Err(); !strings.Contains(err.Error(), "PINGREQ") {
		t.Error(err)
	}
}

func TestLargePackets(t *testing.T) {
	const size = 300_000
	got := make(chan int, 1)
	addr := serve(t, mqtt.V5, func(s *server) {
		s.accept(mqtt.Connack{})
		s.send(&mqtt.Publish{Topic: []byte("t"), Payload: make([]byte, size)})
		s.next(mqtt.DISCONNECT)
	})
	connect(t, Options{
		Addr: addr, Version: mqtt.V5, CleanStart: true,
		Message: func(p *mqtt.Publish) { got <- len(p.Payload) },
	})
	if n := <-got; n != size {
		t.Errorf("%d bytes", n)
	}
}
