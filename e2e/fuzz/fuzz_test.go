package fuzz

import (
	"bytes"
	"errors"
	"io"
	"net"
	"reflect"
	"strings"
	"testing"
	"time"

	"dunlin/e2e/harness"
	"dunlin/proto/mqtt"
)

// A script follows from its number, and its text says all of it.
func TestScriptsAreRepeated(t *testing.T) {
	left := map[End]int{}
	for number := range uint64(3000) {
		s := Compose(7, number, 3)
		if again := Compose(7, number, 3); !reflect.DeepEqual(s, again) {
			t.Fatalf("script %d is another the next time", number)
		}
		var text bytes.Buffer
		s.Write(&text)
		read, err := ReadScripts(&text)
		if err != nil || len(read) != 1 || !reflect.DeepEqual(s, read[0]) {
			t.Fatalf("script %d: %+v is read as %+v, %v", number, s, read, err)
		}
		left[s.End]++
	}
	if len(left) != int(ends) || left[Ping] < 100 {
		t.Errorf("ends: %v", left)
	}
	for _, bad := range []string{"to x tcp", "to 0 tcp", "to 0 foot\nend reset", "send 00\n", "to 0 tcp\nsend 0\nend reset", "to 0 ws\nend\n"} {
		if all, err := ReadScripts(strings.NewReader(bad)); err == nil {
			t.Errorf("%q is read as %+v", bad, all)
		}
	}
}

// What composes scripts must reach what it is there for: of its packets, each kind is
// among those that decode and those that do not.
func TestScriptsReachEveryPacket(t *testing.T) {
	good, bad := map[mqtt.Kind]int{}, map[mqtt.Kind]int{}
	for number := range uint64(3000) {
		s := Compose(8, number, 3)
		if s.Way.web() || s.Way == Stranger {
			continue
		}
		var stream []byte
		for _, step := range s.Steps {
			stream = append(stream, step.Write...)
		}
		v := mqtt.V5
		for {
			f, n, err := mqtt.Cut(stream, 1<<20)
			if err != nil || n == 0 {
				break
			}
			var p mqtt.Packet
			if err := mqtt.Decode(f, v, &p); err != nil {
				bad[f.Kind()]++
			} else {
				good[f.Kind()]++
			}
			if p.Kind == mqtt.CONNECT {
				v = p.Connect.Version
			}
			stream = stream[n:]
		}
	}
	for k := mqtt.CONNECT; k <= mqtt.AUTH; k++ {
		server := k == mqtt.CONNACK || k == mqtt.UNSUBACK
		if !server && good[k] < 10 || bad[k] == 0 {
			t.Errorf("%v: %d good ones and %d bad", k, good[k], bad[k])
		}
	}
}

// The ear takes what nodes say, however it is cut, and finds each way to be wrong.
func TestEar(t *testing.T) {
	connack := (&mqtt.Connack{}).Append(nil, mqtt.V5)
	pong := mqtt.AppendPingresp(nil)
	bye := (&mqtt.Disconnect{Reason: mqtt.ProtocolError}).Append(nil, mqtt.V5)
	refused := (&mqtt.Connack{Reason: mqtt.NotAuthorized}).Append(nil, mqtt.V5)
	framed := func(first byte, b ...[]byte) []byte { return appendFrame(nil, first, bytes.Join(b, nil), false, 0) }
	const ok = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
	for name, c := range map[string]struct {
		web  bool
		said []byte
		want string
	}{
		"nothing":              {false, nil, ""},
		"session":              {false, slicesOf(connack, pong, bye), ""},
		"3.1.1":                {false, []byte{0x20, 2, 0, 0, 0xD0, 0}, ""},
		"refusal":              {false, refused, ""},
		"half a packet":        {false, append(slicesOf(connack), 0x30), ""},
		"no CONNACK":           {false, pong, "the first packet"},
		"DISCONNECT first":     {false, bye, "the first packet"},
		"two":                  {false, slicesOf(connack, connack), "second CONNACK"},
		"after the last":       {false, slicesOf(connack, bye, pong), "after the last"},
		"after a refusal":      {false, slicesOf(refused, pong), "after the last"},
		"a client's":           {false, slicesOf(connack, mqtt.AppendPingreq(nil)), "no server's packet"},
		"DISCONNECT of 3.1.1":  {false, []byte{0x20, 2, 0, 0, 0xE0, 0}, "no server's packet"},
		"bad UTF-8":            {false, append(slicesOf(connack), 0x30, 4, 0, 1, 0xFF, 0), "a bad packet"},
		"identifier 0":         {false, append(slicesOf(connack), 0x40, 2, 0, 0), "a bad packet"},
		"bad length":           {false, append(slicesOf(connack), 0x30, 0xFF, 0xFF, 0xFF, 0xFF, 1), "no packet"},
		"web":                  {true, slicesOf([]byte(ok), framed(wsFin|wsBinary, connack, pong), framed(wsFin|wsPong), framed(wsFin|wsClose)), ""},
		"web, refused":         {true, []byte("HTTP/1.1 400 Bad Request\r\n\r\n"), ""},
		"web, long frame":      {true, slicesOf([]byte(ok), framed(wsFin|wsBinary, connack, bytes.Repeat(pong, 100))), ""},
		"web, 500":             {true, []byte("HTTP/1.1 500 Oops\r\n\r\n"), "the answer to a request"},
		"web, packets at once": {true, connack, "the answer to a request"},
		"web, text":            {true, slicesOf([]byte(ok), framed(wsFin|wsText, connack)), "a frame that begins"},
		"web, masked":          {true, append([]byte(ok), 0x82, 0x80, 0, 0, 0, 0), "a masked frame"},
		"web, after the close": {true, slicesOf([]byte(ok), framed(wsFin|wsClose), framed(wsFin|wsPong)), "after the close frame"},
		"web, bad packet":      {true, slicesOf([]byte(ok), framed(wsFin|wsBinary, pong)), "the first packet"},
	} {
		for _, size := range []int{1, 3, 1 << 20} {
			e := ear{web: c.web}
			var err error
			for rest := c.said; len(rest) > 0 && err == nil; {
				n := min(size, len(rest))
				err = e.hear(rest[:n])
				rest = rest[n:]
			}
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%s, %d bytes at a time: %v, want %q", name, size, err, c.want)
			}
		}
	}
}

func slicesOf(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// A player finds a node that hangs: each time this one does what no node may.
func TestPlayerFinds(t *testing.T) {
	connack := (&mqtt.Connack{}).Append(nil, mqtt.V5)
	hang := func(c net.Conn) {
		_, _ = io.Copy(io.Discard, c)
		<-t.Context().Done()
	}
	hello := Step{Write: (&mqtt.Connect{Version: mqtt.V5, ReceiveMaximum: 1}).Append(nil, mqtt.V5)}
	for name, c := range map[string]struct {
		script Script
		node   func(net.Conn)
		want   string
	}{
		"does not close":     {Script{End: Finish}, hang, "does not close"},
		"does not turn away": {Script{End: Stay}, hang, "never let in"},
		"does not answer": {Script{Steps: []Step{hello, {Await: true}}, End: Ping}, func(c net.Conn) {
			c.Write(connack)
			hang(c)
		}, "no answer"},
		"does not read":   {Script{Steps: []Step{{Write: make([]byte, 64<<20)}}, End: Finish}, func(net.Conn) { <-t.Context().Done() }, "takes nothing"},
		"speaks nonsense": {Script{Steps: []Step{hello}, End: Finish}, func(c net.Conn) { io.WriteString(c, "nonsense") }, "must not"},
		"no TLS":          {Script{Way: ByTLS, End: Finish}, hang, "handshake"},
		"is right":        {Script{Steps: []Step{hello}, End: Finish}, func(c net.Conn) { c.Write(connack) }, ""},
		"is deaf":         {Script{Deaf: true, Steps: []Step{hello}, End: Reset}, hang, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr := serve(t, c.node)
			p := Player{Targets: []Target{{TCP: addr, TLS: addr}}, Patience: 300 * time.Millisecond}
			err := p.Play(&c.script)
			var found *Finding
			switch {
			case c.want == "" && err != nil, c.want != "" && (!errors.As(err, &found) || !strings.Contains(err.Error(), c.want)):
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// serve listens for connections until the end of the test.
func serve(t *testing.T, handle func(net.Conn)) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { c.Close() })
			go func() {
				defer c.Close()
				handle(c)
			}()
		}
	}()
	return l.Addr().String()
}

// A bystander notices whatever is taken from it.
func TestBystanderFinds(t *testing.T) {
	message := func(n string, qos mqtt.QoS, dup bool) []byte {
		return (&mqtt.Publish{Topic: []byte("by/x"), Payload: []byte(n), QoS: qos, PacketID: 1, Dup: dup}).Append(nil, mqtt.V5)
	}
	for name, c := range map[string]struct {
		come []byte
		ends bool
		want string
	}{
		"all":          {slicesOf(message("1", 1, false), message("2", 1, false)), false, ""},
		"one is lost":  {message("2", 1, false), false, "instead of message 1"},
		"one is twice": {slicesOf(message("1", 1, false), message("1", 1, false)), false, "instead of message 2"},
		"other order":  {slicesOf(message("1", 1, false), message("3", 1, false)), false, "instead of message 2"},
		"less QoS":     {slicesOf(message("1", 0, false)), false, "instead of message 1"},
		"sent again":   {slicesOf(message("1", 1, true)), false, "instead of message 1"},
		"last is lost": {message("1", 1, false), false, "does not come"},
		"is closed":    {message("1", 1, false), true, "has ended"},
		"is told":      {(&mqtt.Disconnect{Reason: mqtt.ServerBusy}).Append(nil, mqtt.V5), false, "instead of message 1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			near, far := net.Pipe()
			go func() { _, _ = io.Copy(io.Discard, far) }()
			go func() {
				far.Write(c.come)
				if c.ends {
					far.Close()
				}
			}()
			defer far.Close()
			b := &bystander{topic: "by/x", qos: 1, sub: harness.Over(t, near), patience: 300 * time.Millisecond}
			b.acked.Store(2)
			stopped := make(chan struct{})
			close(stopped)
			if err := b.receive(stopped); c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	for name, c := range map[string]struct {
		answer []byte
		want   string
	}{
		"silence":  {nil, "no answer"},
		"refusal":  {(&mqtt.Ack{Kind: mqtt.PUBACK, PacketID: 1, Reason: mqtt.QuotaExceeded}).Append(nil, mqtt.V5), "message 1"},
		"another":  {(&mqtt.Ack{Kind: mqtt.PUBACK, PacketID: 9}).Append(nil, mqtt.V5), "message 1"},
		"goodbye":  {(&mqtt.Disconnect{Reason: mqtt.ServerBusy}).Append(nil, mqtt.V5), "message 1"},
		"nonsense": {[]byte{0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, "message 1"},
	} {
		t.Run("publisher, "+name, func(t *testing.T) {
			t.Parallel()
			near, far := net.Pipe()
			defer far.Close()
			go func() { _, _ = io.Copy(io.Discard, far) }()
			go far.Write(c.answer)
			b := &bystander{topic: "by/x", qos: 1, pub: harness.Over(t, near), patience: 300 * time.Millisecond}
			if err := b.publish(nil, 0); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}
