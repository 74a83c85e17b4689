package listen

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"time"
)

// cipher is the Protocol of the tests: after a greeting of eight bytes each way it
// sends frames of a kind, a length of two bytes and a body that is scrambled.
type cipher struct {
	key  byte
	slow bool // has a goroutine answer the greeting
	work *sync.WaitGroup
	ends chan<- string // told of Close
}

const (
	frameData = iota
	framePing // answered with the same body
	framePong
	frameBye  // ends the stream in order
	frameText // is not allowed
)

var (
	errFrame     = errors.New("frame of a bad kind")
	cipherHello  = []byte("helohelo")
	cipherAnswer = []byte("ehlo\nehl")
)

type cipherLayer struct {
	cipher
	wake   func()
	state  State
	waits  bool
	given  int // bytes of the frame at hand that are above
	came   chan struct{}
	closed bool
}

func (p cipher) NewLayer(_ Info, wake func()) Layer {
	return &cipherLayer{cipher: p, wake: wake, came: make(chan struct{})}
}

func (c *cipherLayer) Decode(f *Flow) (State, error) {
	if c.state == Opening {
		if !c.greet(f) {
			return Opening, nil
		}
		if !bytes.Equal(f.Src[:len(cipherHello)], cipherHello) {
			f.Reply = append(f.Reply, "who are you?"...)
			return Opening, errors.New("bad greeting")
		}
		f.Src = f.Src[len(cipherHello):]
		f.Reply = append(f.Reply, cipherAnswer...)
		c.state = Ready
	}
	for frames := 0; len(f.Src) >= 3; frames++ {
		n := 3 + int(binary.BigEndian.Uint16(f.Src[1:]))
		if len(f.Src) < n {
			return Ready, nil
		}
		if frames == 10 {
			f.More = true
			return Ready, nil
		}
		body := f.Src[3:n]
		switch f.Src[0] {
		case frameData:
			given := min(f.Room(), len(body)-c.given)
			f.Dst = append(f.Dst, body[c.given:][:given]...)
			scramble(f.Dst[len(f.Dst)-given:], c.key)
			if c.given += given; c.given < len(body) {
				f.More = true
				return Ready, nil
			}
			c.given = 0
		case framePing:
			f.Reply = appendFrame(f.Reply, framePong, body, 0)
		case frameBye:
			return Ready, io.EOF
		default:
			f.Reply = appendFrame(f.Reply, frameBye, []byte("bad frame"), 0)
			return Ready, errFrame
		}
		f.Src = f.Src[n:]
	}
	return Ready, nil
}

// greet says whether the greeting is there, and, if that is slow, has been thought
// about.
func (c *cipherLayer) greet(f *Flow) bool {
	if len(f.Src) < len(cipherHello) {
		return false
	}
	if !c.slow {
		return true
	}
	if !c.waits {
		c.waits = true
		c.work.Go(func() {
			time.Sleep(time.Millisecond)
			close(c.came)
			c.wake()
		})
	}
	select {
	case <-c.came:
		return true
	default:
		return false
	}
}

func (c *cipherLayer) Encode(dst, b []byte) ([]byte, error) {
	for len(b) > 0 {
		n := min(len(b), maxFrame)
		dst = appendFrame(dst, frameData, b[:n], c.key)
		b = b[n:]
	}
	return dst, nil
}

func (c *cipherLayer) Goodbye(dst []byte) []byte { return appendFrame(dst, frameBye, nil, 0) }
func (c *cipherLayer) Describe(info *Info)       { info.Listener += string(rune(c.key)) }

func (c *cipherLayer) Close() {
	if invariants && c.closed {
		panic("closed twice")
	}
	c.closed = true
	if c.ends != nil {
		c.ends <- string(rune(c.key))
	}
}

const maxFrame = 10_000

func appendFrame(dst []byte, kind byte, body []byte, key byte) []byte {
	dst = append(dst, kind, byte(len(body)>>8), byte(len(body)))
	return append(dst, scramble(bytes.Clone(body), key)...)
}

func scramble(b []byte, key byte) []byte {
	for i := range b {
		b[i] ^= key
	}
	return b
}

// prefix is a Protocol that is done after a line.
type prefix struct{}

type prefixLayer struct{ line string }

func (prefix) NewLayer(Info, func()) Layer { return new(prefixLayer) }

func (p *prefixLayer) Decode(f *Flow) (State, error) {
	if p.line == "" {
		n := bytes.IndexByte(f.Src, '\n')
		if n < 0 {
			return Opening, nil
		}
		p.line = string(f.Src[:n])
		f.Src = f.Src[n+1:]
	}
	f.Pass()
	return Spent, nil
}

func (p *prefixLayer) Encode(dst, b []byte) ([]byte, error) { return append(dst, b...), nil }
func (p *prefixLayer) Goodbye(dst []byte) []byte            { return dst }
func (p *prefixLayer) Describe(info *Info)                  { info.Listener += p.line }
func (p *prefixLayer) Close()                               {}

// cipherConn is the peer of a cipherLayer on a net.Conn.
type cipherConn struct {
	net.Conn
	key  byte
	rest []byte
}

func (c *cipherConn) greet() error {
	if _, err := c.Conn.Write(cipherHello); err != nil {
		return err
	}
	got := make([]byte, len(cipherAnswer))
	if _, err := io.ReadFull(c.Conn, got); err != nil {
		return err
	}
	if !bytes.Equal(got, cipherAnswer) {
		return errors.New("bad answer to the greeting")
	}
	return nil
}

func (c *cipherConn) Write(b []byte) (int, error) {
	for at := 0; at < len(b); at += maxFrame {
		if _, err := c.Conn.Write(appendFrame(nil, frameData, b[at:min(at+maxFrame, len(b))], c.key)); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

func (c *cipherConn) frame() (kind byte, body []byte, err error) {
	head := make([]byte, 3)
	if _, err := io.ReadFull(c.Conn, head); err != nil {
		return 0, nil, err
	}
	body = make([]byte, binary.BigEndian.Uint16(head[1:]))
	_, err = io.ReadFull(c.Conn, body)
	return head[0], body, err
}

func (c *cipherConn) Read(b []byte) (int, error) {
	for len(c.rest) == 0 {
		kind, body, err := c.frame()
		switch {
		case err == io.EOF:
			return 0, io.ErrUnexpectedEOF // without a goodbye
		case err != nil:
			return 0, err
		case kind == frameBye:
			return 0, io.EOF
		case kind == frameData:
			c.rest = scramble(body, c.key)
		}
	}
	n := copy(b, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// chopped writes in small pieces.
type chopped struct {
	net.Conn
	r *rand.Rand
}

func (c chopped) Write(b []byte) (int, error) {
	for rest := b; len(rest) > 0; {
		n := min(1+c.r.IntN(1+c.r.IntN(3000)), len(rest))
		if _, err := c.Conn.Write(rest[:n]); err != nil {
			return 0, err
		}
		rest = rest[n:]
	}
	return len(b), nil
}

// layering is a way to put Layers on a listener, and their peers on a connection.
type layering struct {
	name      string
	protocols []Protocol
	described string // what they append to Info.Listener
	dial      func(c net.Conn) (net.Conn, error)
}

func layerings(t *testing.T) []layering {
	var work sync.WaitGroup
	t.Cleanup(work.Wait)
	one := func(c net.Conn, key byte) (net.Conn, error) {
		p := &cipherConn{Conn: c, key: key}
		return p, p.greet()
	}
	line := func(c net.Conn) error { _, err := c.Write([]byte(":a line\n")); return err }
	return []layering{
		{"one", []Protocol{cipher{key: 'x'}}, "x", func(c net.Conn) (net.Conn, error) { return one(c, 'x') }},
		{"slow", []Protocol{cipher{key: 'x', slow: true, work: &work}}, "x", func(c net.Conn) (net.Conn, error) { return one(c, 'x') }},
		{"two", []Protocol{cipher{key: 'x'}, cipher{key: 'y', slow: true, work: &work}}, "xy", func(c net.Conn) (net.Conn, error) {
			x, err := one(c, 'x')
			if err != nil {
				return nil, err
			}
			return one(x, 'y')
		}},
		{"spent", []Protocol{prefix{}}, ":a line", func(c net.Conn) (net.Conn, error) { return c, line(c) }},
		{"spent and two", []Protocol{prefix{}, cipher{key: 'x'}, prefix{}, cipher{key: 'y'}}, ":a linex:a liney", func(c net.Conn) (net.Conn, error) {
			if err := line(c); err != nil {
				return nil, err
			}
			x, err := one(c, 'x')
			if err == nil {
				err = line(x)
			}
			if err != nil {
				return nil, err
			}
			return one(x, 'y')
		}},
	}
}

// layered runs a test on each driver and layering.
func layered(t *testing.T, test func(t *testing.T, o Options, y layering)) {
	drivers(t, func(t *testing.T, o Options) {
		for _, y := range layerings(t) {
			t.Run(y.name, func(t *testing.T) { test(t, o, y) })
		}
	})
}

func (y layering) connect(t testing.TB, addr string) net.Conn {
	t.Helper()
	c, err := y.dial(dial(t, addr))
	must(t, err)
	return c
}

// Through whatever layers, in whatever pieces, the same bytes come.
func TestLayersEcho(t *testing.T) {
	layered(t, func(t *testing.T, o Options, y layering) {
		o.ReadBuffer = 4 << 10
		s, addr := serve(t, o, echo, y.protocols...)
		all(8, func(i int) {
			r := rand.New(rand.NewPCG(1, uint64(i)))
			c, err := y.dial(chopped{dial(t, addr), r})
			if err != nil {
				t.Error(err)
				return
			}
			var sent []byte
			for len(sent) < 100<<10 {
				sent = append(sent, randomFrame(r)...)
			}
			go func() { _, _ = c.Write(sent) }()
			got := make([]byte, len(sent))
			if _, err := io.ReadFull(c, got); err != nil {
				t.Error(err)
			} else if !bytes.Equal(got, sent) {
				t.Errorf("connection %d: echo differs at byte %d", i, firstDifference(got, sent))
			}
		})
		st := s.Stats()
		if st.Accepted != 8 || st.Opening != 0 || st.Unopened != 0 {
			t.Errorf("%d accepted, %d opening, %d unopened", st.Accepted, st.Opening, st.Unopened)
		}
	})
}

// Open comes when all layers are ready, with what they know, and what came with the
// last of their greetings waits for it.
func TestLayersOpen(t *testing.T) {
	layered(t, func(t *testing.T, o Options, y layering) {
		opened := make(chan Info, 1)
		var conn ID
		s, addr := serve(t, o, func(l Loop) Handler {
			return &funcs{
				open:    func(id ID, info Info) bool { conn = id; l.Pause(id); opened <- info; return true },
				receive: echoFrames(l),
			}
		}, y.protocols...)
		c := dial(t, addr)
		if n := len(opened); n != 0 {
			t.Errorf("opened %d times before a byte came", n)
		}
		p, err := y.dial(c)
		must(t, err)
		f := randomFrame(rand.New(rand.NewPCG(1, 1)))
		_, err = p.Write(f)
		must(t, err)
		info := await(t, opened)
		if info.Listener != "test"+y.described || info.Remote != addrPortOf(c.LocalAddr()) {
			t.Errorf("info %+v", info)
		}
		l := s.Loop(conn.Loop())
		on(t, l, func() bool { l.Resume(conn); return true })
		got := make([]byte, len(f))
		_, err = io.ReadFull(p, got)
		must(t, err)
		if !bytes.Equal(got, f) {
			t.Errorf("echo %x of %x", got, f)
		}
	})
}

// Last words come, then goodbyes, then the end; unread input does no harm.
func TestLayersClose(t *testing.T) {
	layered(t, func(t *testing.T, o Options, y layering) {
		last := bytes.Repeat([]byte("bye"), 50_000)
		closed := make(chan error, 1)
		_, addr := serve(t, o, func(l Loop) Handler {
			return &funcs{
				receive: func(id ID, b []byte) (int, int) {
					l.End(id, append(l.Begin(id), last...))
					l.Close(id)
					return 0, 0
				},
				closed: func(_ ID, err error) { closed <- err },
			}
		}, y.protocols...)
		c := y.connect(t, addr)
		_, err := c.Write(make([]byte, 100_000))
		must(t, err)
		got, err := io.ReadAll(c)
		must(t, err)
		if !bytes.Equal(got, last) {
			t.Errorf("%d of %d bytes came", len(got), len(last))
		}
		must(t, c.Close())
		must(t, await(t, closed))
	})
}

// A peer that ends is answered, and told goodbye.
func TestLayersPeerCloses(t *testing.T) {
	drivers(t, func(t *testing.T, o Options) {
		closed := make(chan error, 1)
		ends := make(chan string, 1)
		_, addr := serve(t, o, func(l Loop) Handler {
			return &funcs{receive: echoFrames(l), closed: func(_ ID, err error) { closed <- err }}
		}, cipher{key: 'x', ends: ends})
		for name, tc := range map[string]struct {
			last []byte
			want error
			gets string
		}{
			"goodbye":    {appendFrame(nil, frameBye, nil, 0), nil, ""},
			"half-close": {nil, nil, ""},
			"offence":    {appendFrame(nil, frameText, nil, 0), errFrame, "bad frame"},
		} {
			c := &cipherConn{Conn: dial(t, addr), key: 'x'}
			must(t, c.greet())
			f := []byte{0, 0, 0, 2, 'h', 'i'}
			_, err := c.Conn.Write(append(appendFrame(appendFrame(nil, framePing, []byte("?"), 0), frameData, f, 'x'), tc.last...))
			must(t, err)
			if tc.last == nil {
				must(t, c.Conn.(*net.TCPConn).CloseWrite())
			}
			var got []string
			for {
				kind, body, err := c.frame()
				if err == io.EOF {
					break
				}
				must(t, err)
				got = append(got, string(byte('0')+kind)+string(body))
			}
			want := []string{"2?", "0" + string(scramble(bytes.Clone(f), 'x')), "3"}
			if tc.gets != "" {
				want = []string{"2?", "3" + tc.gets} // and nothing after that
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s: peer sees %q, want %q", name, got, want)
			}
			if err := await(t, closed); err != tc.want {
				t.Errorf("%s: closed with %v", name, err)
			}
			await(t, ends)
		}
	})
}

// The Handler hears nothing of who does not open, and the count of those goes back.
func TestLayersNeverOpen(t *testing.T) {
	drivers(t, func(t *testing.T, o Options) {
		o.Loops, o.MaxOpening, o.OpenTimeout = 1, 10, time.Second
		ends := make(chan string, 100)
		s, addr := serve(t, o, func(l Loop) Handler {
			return &funcs{
				open:   func(ID, Info) bool { t.Error("opened"); return true },
				closed: func(_ ID, err error) { t.Errorf("closed with %v", err) },
			}
		}, cipher{key: 'x', ends: ends})
		wrong := dial(t, addr)
		_, err := wrong.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
		must(t, err)
		got, err := io.ReadAll(wrong)
		must(t, err)
		if string(got) != "who are you?" {
			t.Errorf("reply %q", got)
		}
		conns := make([]net.Conn, 25)
		for i := range conns {
			conns[i] = dial(t, addr)
			_, err := conns[i].Write(cipherHello[:i%8])
			must(t, err)
		}
		for _, c := range conns {
			if b, _ := io.ReadAll(c); len(b) != 0 {
				t.Errorf("read %q", b)
			}
		}
		for range 26 {
			await(t, ends)
		}
		for s.Stats().Opening > 0 {
			time.Sleep(time.Millisecond)
		}
		st := s.Stats()
		if st.Shed != 15 || st.OpenTimeouts != 10 || st.Unopened != 26 || st.Open != 0 || st.Accepted != 0 {
			t.Errorf("stats %+v", st)
		}
	})
}

// thinker is a Protocol whose Layers take nothing until they have thought.
type thinker struct{ thought <-chan struct{} }

func (p thinker) NewLayer(_ Info, wake func()) Layer {
	go func() {
		<-p.thought
		wake()
	}()
	return &thinking{thinker: p}
}

type thinking struct {
	thinker
	prefixLayer
}

func (y *thinking) Decode(f *Flow) (State, error) {
	select {
	case <-y.thought:
		f.Pass()
		return Ready, nil
	default:
		return Opening, nil
	}
}

// A peer that sends more than Layers keep while one of them thinks costs no turns.
func TestLayersFullCostNoTurns(t *testing.T) {
	drivers(t, func(t *testing.T, o Options) {
		o.Loops = 1
		for name, below := range map[string][]Protocol{"alone": {}, "above another": {prefix{}}} {
			t.Run(name, func(t *testing.T) {
				thought := make(chan struct{})
				ticked := make(chan struct{})
				s, addr := serve(t, o, func(l Loop) Handler {
					return &funcs{receive: echoFrames(l), tick: func() {
						select {
						case ticked <- struct{}{}:
						default:
						}
					}}
				}, append(below, thinker{thought})...)
				c := dial(t, addr)
				var frames []byte
				for r := rand.New(rand.NewPCG(1, 2)); len(frames) < 4*layerBuffer; {
					frames = append(frames, randomFrame(r)...)
				}
				go func() {
					if len(below) > 0 {
						_, _ = c.Write([]byte(":a line\n"))
					}
					_, _ = c.Write(frames)
				}()
				for s.Stats().BytesIn < layerBuffer {
					time.Sleep(time.Millisecond)
				}
				await(t, ticked)
				before := s.Stats().Turns
				for range 4 {
					await(t, ticked)
				}
				if turns := s.Stats().Turns - before; turns > 100 {
					t.Errorf("%d turns in four ticks", turns)
				}
				close(thought)
				got := make([]byte, len(frames))
				_, err := io.ReadFull(c, got)
				must(t, err)
				if !bytes.Equal(got, frames) {
					t.Error("other bytes came back")
				}
			})
		}
	})
}
