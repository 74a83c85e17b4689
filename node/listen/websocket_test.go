package listen

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	client "github.com/gorilla/websocket"

	"dunlin/node/listen/proxyproto"
	"dunlin/node/listen/websocket"
)

func newTestWebSocket(t testing.TB) *WebSocket {
	t.Helper()
	origins, err := websocket.ParseOrigins([]string{websocket.SameHost})
	must(t, err)
	return NewWebSocket(websocket.Gate{Path: "/mqtt", Origins: origins})
}

// dialWebSocket has a client of another maker open a WebSocket; wrote sends its frames
// in pieces of little more than 1,000 bytes.
func dialWebSocket(t testing.TB, addr string) *client.Conn {
	t.Helper()
	d := client.Dialer{Subprotocols: []string{"mqtt"}, WriteBufferSize: 1000, EnableCompression: true}
	c, resp, err := d.Dial("ws://"+addr+"/mqtt", nil)
	if err != nil {
		t.Fatalf("%v: %+v", err, resp)
	}
	resp.Body.Close() // empty
	t.Cleanup(func() { c.Close() })
	must(t, c.SetReadDeadline(time.Now().Add(time.Minute)))
	if c.Subprotocol() != "mqtt" {
		t.Errorf("subprotocol %q", c.Subprotocol())
	}
	return c
}

// stream reads n bytes of binary messages.
func readStream(t testing.TB, c *client.Conn, n int) []byte {
	t.Helper()
	var got []byte
	for len(got) < n {
		kind, b, err := c.ReadMessage()
		if err != nil || kind != client.BinaryMessage {
			t.Fatalf("after %d bytes: a message of kind %d, %v", len(got), kind, err)
		}
		got = append(got, b...)
	}
	return got
}

func TestWebSocketEcho(t *testing.T) {
	drivers(t, func(t *testing.T, o Options) {
		p := newTestWebSocket(t)
		_, addr := serve(t, o, echo, p)
		c := dialWebSocket(t, addr)
		pongs := make(chan string, 1)
		c.SetPongHandler(func(s string) error { pongs <- s; return nil })
		r := rand.New(rand.NewPCG(3, 4))
		var sent []byte
		for len(sent) < 1<<20 {
			sent = append(sent, randomFrame(r)...)
		}
		go func() {
			for b := sent; len(b) > 0; {
				n := min(1+r.IntN(1+r.IntN(100_000)), len(b))
				if err := c.WriteMessage(client.BinaryMessage, b[:n]); err != nil {
					t.Error(err)
					return
				}
				b = b[n:]
			}
			if err := c.WriteMessage(client.BinaryMessage, nil); err != nil {
				t.Error(err)
			}
			if err := c.WriteControl(client.PingMessage, []byte("there?"), time.Now().Add(time.Minute)); err != nil {
				t.Error(err)
			}
			if err := c.WriteMessage(client.BinaryMessage, []byte{0, 0, 0, 0}); err != nil { // a last frame of the test's
				t.Error(err)
			}
		}()
		if got := readStream(t, c, len(sent)+4); !bytes.Equal(got[:len(sent)], sent) {
			t.Errorf("echo differs at byte %d", firstDifference(got, sent))
		}
		if got := await(t, pongs); got != "there?" {
			t.Errorf("pong %q", got)
		}
	})
}

// Who closes in one piece with what asks for an answer gets no frame behind the close
// frame.
func TestWebSocketNothingFollowsClose(t *testing.T) {
	drivers(t, func(t *testing.T, o Options) {
		_, addr := serve(t, o, echo, newTestWebSocket(t))
		c := dialWebSocket(t, addr).NetConn()
		_, err := c.Write(append(websocket.AppendMasked(nil, randomFrame(rand.New(rand.NewPCG(1, 2))), 7), 0x88, 0x82, 0, 0, 0, 0, 0x03, 0xE8))
		must(t, err)
		got, err := io.ReadAll(c)
		if bye := "\x88\x02\x03\xE8"; err != nil || !strings.HasSuffix(string(got), bye) {
			t.Errorf("the last of %d bytes are % x, %v", len(got), got[max(0, len(got)-8):], err)
		}
	})
}

// What the Handler writes in a turn is one frame.
func TestWebSocketFramePerTurn(t *testing.T) {
	drivers(t, func(t *testing.T, o Options) {
		ids := make(chan ID, 1)
		s, addr := serve(t, o, func(Loop) Handler {
			return &funcs{open: func(id ID, _ Info) bool { ids <- id; return true }}
		}, newTestWebSocket(t))
		c := dialWebSocket(t, addr)
		id := await(t, ids)
		l := s.Loop(id.Loop())
		on(t, l, func() bool {
			for range 100 {
				l.End(id, append(l.Begin(id), "0123456789"...))
			}
			return true
		})
		if _, b, err := c.ReadMessage(); err != nil || len(b) != 1000 {
			t.Errorf("a message of %d bytes, %v", len(b), err)
		}
	})
}

func TestWebSocketCloses(t *testing.T) {
	for _, tt := range []struct {
		name   string
		do     func(c *client.Conn, l Loop, id ID) error
		code   int
		closed error // as the Handler is told
		broken uint64
	}{
		{"client", func(c *client.Conn, _ Loop, _ ID) error {
			return c.WriteMessage(client.CloseMessage, client.FormatCloseMessage(client.CloseGoingAway, ""))
		}, client.CloseGoingAway, nil, 0},
		{"server", func(_ *client.Conn, l Loop, id ID) error { l.Post(func() { l.Close(id) }); return nil }, client.CloseNormalClosure, nil, 0},
		{"text", func(c *client.Conn, _ Loop, _ ID) error { return c.WriteMessage(client.TextMessage, []byte("hello")) },
			client.CloseUnsupportedData, websocket.ErrText, 1},
		{"frame without mask", func(c *client.Conn, _ Loop, _ ID) error {
			_, err := c.NetConn().Write([]byte{0x82, 1, 'a'})
			return err
		}, client.CloseProtocolError, websocket.ErrProtocol, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			drivers(t, func(t *testing.T, o Options) {
				p := newTestWebSocket(t)
				ids, ends := make(chan ID, 1), make(chan error, 1)
				s, addr := serve(t, o, func(Loop) Handler {
					return &funcs{open: func(id ID, _ Info) bool { ids <- id; return true }, closed: func(_ ID, err error) { ends <- err }}
				}, p)
				c := dialWebSocket(t, addr)
				id := await(t, ids)
				must(t, tt.do(c, s.Loop(id.Loop()), id))
				_, _, err := c.ReadMessage()
				var ce *client.CloseError
				if !errors.As(err, &ce) || ce.Code != tt.code {
					t.Errorf("the client reads %v, want code %d", err, tt.code)
				}
				if _, err := c.NetConn().Read(make([]byte, 1)); err != io.EOF {
					t.Errorf("after the close frame: %v, want the end", err)
				}
				c.Close()
				if err := await(t, ends); !errors.Is(err, tt.closed) {
					t.Errorf("closed with %v, want %v", err, tt.closed)
				}
				if n := p.Violations(); n != tt.broken {
					t.Errorf("%d violations counted", n)
				}
			})
		})
	}
}

// Who is refused is told why, and the Handler hears nothing of it.
func TestWebSocketRefuses(t *testing.T) {
	drivers(t, func(t *testing.T, o Options) {
		p := newTestWebSocket(t)
		s, addr := serve(t, o, func(Loop) Handler {
			return &funcs{open: func(ID, Info) bool { t.Error("the handler is told"); return true }}
		}, p)
		d := client.Dialer{Subprotocols: []string{"mqtt"}}
		_, resp, err := d.Dial("ws://"+addr+"/mqtt", http.Header{"Origin": {"https://example.org"}})
		if err == nil || resp.StatusCode != http.StatusForbidden {
			t.Errorf("%v, %+v", err, resp)
		}
		resp.Body.Close()
		resp, err = http.Get("http://" + addr + "/mqtt")
		must(t, err)
		text, err := io.ReadAll(resp.Body)
		must(t, err)
		resp.Body.Close()
		if resp.StatusCode != http.StatusUpgradeRequired || !strings.Contains(string(text), "MQTT") {
			t.Errorf("%s: %s", resp.Status, text)
		}
		if p.Refused(websocket.ForeignOrigin) != 1 || p.Refused(websocket.NotUpgrade) != 1 || s.Stats().Unopened != 2 {
			t.Errorf("counted %d, %d and %d", p.Refused(websocket.ForeignOrigin), p.Refused(websocket.NotUpgrade), s.Stats().Unopened)
		}
	})
}

// An idle WebSocket holds no buffer, even if it has just said half a frame too many.
func TestIdleWebSocketHoldsNothing(t *testing.T) {
	drivers(t, func(t *testing.T, o Options) {
		o.Loops = 1
		s, addr := serve(t, o, echo, newTestWebSocket(t))
		for range 10 {
			c := dialWebSocket(t, addr)
			must(t, c.WriteMessage(client.BinaryMessage, append([]byte{0, 0, 0, 3}, "abc"...)))
			readStream(t, c, 7)
		}
		l := s.Loop(0).(*loop)
		held := on(t, l, func() (held int) {
			for k := range l.strata.items {
				s := &l.strata.items[k]
				for _, v := range s.levels {
					if v.kept != nil {
						held++
					}
				}
				if s.plain != nil || s.info != nil {
					held++
				}
			}
			return held + len(l.partials.items) - len(l.partials.free) + len(l.outputs.items) - len(l.outputs.free)
		})
		if held != 0 {
			t.Errorf("ten idle connections hold %d things", held)
		}
	})
}

func TestWebSocketAllocatesNothing(t *testing.T) {
	w := &webSocket{protocol: newTestWebSocket(t), open: true}
	frames := websocket.AppendMasked(nil, make([]byte, 1000), 0x12345678)
	frames = websocket.AppendMasked(frames, make([]byte, 10), 0x12345678)
	src, dst, reply := make([]byte, len(frames)), make([]byte, 0, 4096), make([]byte, 0, 256)
	if n := testing.AllocsPerRun(100, func() {
		copy(src, frames)
		f := Flow{Src: src, Dst: dst, Reply: reply}
		if _, err := w.Decode(&f); err != nil || len(f.Dst) != 1010 {
			t.Fatal(len(f.Dst), err)
		}
		if _, err := w.Encode(dst, f.Dst); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestProxied(t *testing.T) {
	const v1 = "PROXY TCP4 192.0.2.1 192.0.2.2 49152 8883\r\n"
	for _, tt := range []struct {
		name, trusted, sent string
		remote              string // "": the socket's
		refused             error
		why                 ProxyRefusal
	}{
		{"relayed", "127.0.0.0/8", v1, "192.0.2.1:49152", nil, 0},
		{"unknown", "127.0.0.0/8", "PROXY UNKNOWN\r\n", "", nil, 0},
		{"none", "127.0.0.0/8", "\x10\x0c\x00\x04MQTT", "", proxyproto.ErrMissing, HeaderMissing},
		{"malformed", "127.0.0.0/8", "PROXY TCP4 x\r\n", "", proxyproto.ErrMalformed, HeaderMalformed},
		{"not from a proxy", "192.0.2.0/24", "", "", errUntrusted, Untrusted},
	} {
		t.Run(tt.name, func(t *testing.T) {
			drivers(t, func(t *testing.T, o Options) {
				p := NewProxied([]netip.Prefix{netip.MustParsePrefix(tt.trusted)})
				infos := make(chan Info, 1)
				_, addr := serve(t, o, func(l Loop) Handler {
					return &funcs{open: func(_ ID, info Info) bool { infos <- info; return true }, receive: echoFrames(l)}
				}, p)
				c := dial(t, addr)
				frame := append([]byte{0, 0, 0, 5}, "hello"...)
				go func() {
					for _, b := range []byte(tt.sent) { // as slowly as can be
						if _, err := c.Write([]byte{b}); err != nil {
							return
						}
					}
					if tt.refused == nil {
						_, _ = c.Write(frame)
					}
				}()
				if tt.refused != nil {
					if b, err := io.ReadAll(c); len(b) > 0 {
						t.Errorf("answered %q, %v", b, err)
					}
					if p.Refused(tt.why) != 1 {
						t.Errorf("not counted as %v", tt.why)
					}
					return
				}
				info := await(t, infos)
				if want := tt.remote; want == "" && info.Remote.String() != c.LocalAddr().String() || want != "" && info.Remote.String() != want {
					t.Errorf("the peer is %v, want %q", info.Remote, want)
				}
				got := make([]byte, len(frame))
				if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, frame) {
					t.Errorf("%q, %v", got, err)
				}
			})
		})
	}
}

// A WebSocket behind a proxy: both Layers in one.
func TestProxiedWebSocket(t *testing.T) {
	drivers(t, func(t *testing.T, o Options) {
		infos := make(chan Info, 1)
		_, addr := serve(t, o, func(l Loop) Handler {
			return &funcs{open: func(_ ID, info Info) bool { infos <- info; return true }, receive: echoFrames(l)}
		}, NewProxied([]netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}), newTestWebSocket(t))
		c := dial(t, addr)
		_, err := io.WriteString(c, "PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\nGET /mqtt HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
			"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"+
			string(websocket.AppendMasked(nil, append([]byte{0, 0, 0, 5}, "hello"...), 0xdeadbeef)))
		must(t, err)
		if info := await(t, infos); info.Remote != netip.MustParseAddrPort("[2001:db8::1]:1") {
			t.Errorf("the peer is %v", info.Remote)
		}
		const tail = "\r\n\r\n\x82\x09\x00\x00\x00\x05hello"
		var got []byte
		for !strings.HasSuffix(string(got), tail) {
			b := make([]byte, 1000)
			n, err := c.Read(b)
			if err != nil {
				t.Fatalf("%q, %v", got, err)
			}
			got = append(got, b[:n]...)
		}
	})
}
