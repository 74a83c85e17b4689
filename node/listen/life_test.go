package listen

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"
)

// stormHandler checks the order of calls for each connection and uses names of
// connections that are long gone.
type stormHandler struct {
	funcs
	t     *testing.T
	l     Loop
	r     *rand.Rand
	alive map[ID]bool
	ever  map[ID]bool
	stale []ID
}

func newStorm(t *testing.T, l Loop) *stormHandler {
	h := &stormHandler{t: t, l: l, r: rand.New(rand.NewPCG(7, uint64(l.Index()))), alive: map[ID]bool{}, ever: map[ID]bool{}}
	h.receive = func(id ID, b []byte) (int, int) {
		h.expect(id)
		h.poke()
		if b[0] == 'x' {
			l.Close(id)
			return 0, 0
		}
		l.End(id, append(l.Begin(id), b...))
		return len(b), 0
	}
	return h
}

func (h *stormHandler) expect(id ID) {
	if !h.alive[id] {
		h.t.Errorf("call for connection %x, which is not open", id)
	}
}

func (h *stormHandler) Open(id ID, _ Info) bool {
	if h.ever[id] || id == 0 || id.Loop() != h.l.Index() {
		h.t.Errorf("name %x given twice, or wrong", id)
	}
	h.ever[id] = true
	if h.r.IntN(10) == 0 {
		h.stale = append(h.stale, id)
		return false
	}
	h.alive[id] = true
	if h.r.IntN(10) == 0 {
		h.l.Close(id)
	}
	return true
}

func (h *stormHandler) Closed(id ID, _ error) {
	h.expect(id)
	delete(h.alive, id)
	h.stale = append(h.stale, id)
	h.poke()
}

// poke calls everything for a connection that is gone.
func (h *stormHandler) poke() {
	if len(h.stale) == 0 {
		return
	}
	id := h.stale[h.r.IntN(len(h.stale))]
	h.l.End(id, append(h.l.Begin(id), "must not be seen"...))
	h.l.Pause(id)
	h.l.Resume(id)
	h.l.SetIdle(id, time.Nanosecond)
	h.l.Close(id)
	if h.l.Unsent(id) != 0 {
		h.t.Errorf("output for connection %x, which is gone", id)
	}
}

func TestOpenCloseStorm(t *testing.T) {
	drivers(t, func(t *testing.T, o Options) {
		handlers := make([]*stormHandler, o.Loops)
		s, addr := serve(t, o, func(l Loop) Handler {
			handlers[l.Index()] = newStorm(t, l)
			return handlers[l.Index()]
		})
		all(16, func(i int) {
			r := rand.New(rand.NewPCG(3, uint64(i)))
			for range 200 {
				c, err := net.Dial("tcp", addr)
				if err != nil {
					t.Error(err)
					return
				}
				storm(t, r, c)
				c.Close()
			}
		})
		taken := func() uint64 { st := s.Stats(); return st.Accepted + st.Refused }
		for end := time.Now().Add(time.Minute); taken() < 16*200 && time.Now().Before(end); {
			time.Sleep(time.Millisecond) // the last ones may wait to be accepted yet
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		for _, h := range handlers {
			if len(h.alive) != 0 {
				t.Errorf("%d connections never heard of their end", len(h.alive))
			}
		}
		if n := taken(); n != 16*200 {
			t.Errorf("accepted or refused %d of %d", n, 16*200)
		}
	})
}

// storm is one client's short life; the server may end it at any point.
func storm(t *testing.T, r *rand.Rand, c net.Conn) {
	switch r.IntN(4) {
	case 0: // leaves without a word
	case 1: // leaves by reset
		_ = c.(*net.TCPConn).SetLinger(0)
		_, _ = c.Write([]byte("abc"))
	case 2: // is sent away
		_, _ = c.Write([]byte("xabc"))
		_, _ = io.Copy(io.Discard, c)
	case 3:
		if _, err := c.Write([]byte("hello")); err != nil {
			return
		}
		got := make([]byte, 5)
		if _, err := io.ReadFull(c, got); err == nil && string(got) != "hello" {
			t.Errorf("echo %q", got)
		}
	}
}

func TestThousandsOfConnections(t *testing.T) {
	drivers(t, func(t *testing.T, o Options) {
		const n = 2000
		s, addr := serve(t, o, echo)
		conns := make([]net.Conn, n)
		for i := range conns {
			conns[i] = dial(t, addr)
		}
		all(8, func(k int) {
			for i := k; i < n; i += 8 {
				f := binary.BigEndian.AppendUint32(nil, 4)
				f = binary.BigEndian.AppendUint32(f, uint32(i))
				got := make([]byte, len(f))
				if _, err := conns[i].Write(f); err != nil {
					t.Error(err)
				} else if _, err := io.ReadFull(conns[i], got); err != nil || !bytes.Equal(got, f) {
					t.Errorf("connection %d: %x %v", i, got, err)
				}
			}
		})
		if open := s.Stats().Open; open != n {
			t.Errorf("%d connections open of %d", open, n)
		}
	})
}

// The peer of a connection that is closed reads the last words, although it has
// sent more than was read.
func TestCloseFlushes(t *testing.T) {
	drivers(t, func(t *testing.T, o Options) {
		o.ReadBuffer = minReadBuffer
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
		})
		c := dial(t, addr)
		_, err := c.Write(make([]byte, 100_000))
		must(t, err)
		got, err := io.ReadAll(c)
		must(t, err)
		if !bytes.Equal(got, last) {
			t.Errorf("%d of %d bytes came", len(got), len(last))
		}
		must(t, c.Close())
		if err := await(t, closed); err != nil {
			t.Errorf("closed with %v", err)
		}
	})
}

// Shutdown flushes and tells each handler of the end; listeners end first.
func TestShutdown(t *testing.T) {
	drivers(t, func(t *testing.T, o Options) {
		var mu sync.Mutex
		ends := map[error]int{}
		s, addr := serve(t, o, func(l Loop) Handler {
			return &funcs{receive: echoFrames(l), closed: func(_ ID, err error) {
				mu.Lock()
				defer mu.Unlock()
				ends[err]++
			}}
		})
		const n = 50
		conns := make([]*net.TCPConn, n)
		for i := range conns {
			conns[i] = dial(t, addr)
		}
		for s.Stats().Open < n {
			runtime.Gosched()
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		must(t, s.StopAccepting(ctx))
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			t.Error("accepted after StopAccepting")
		}
		if open := s.Stats().Open; open != n {
			t.Errorf("%d of %d connections outlive the listener", open, n)
		}
		f := []byte{0, 0, 0, 1, 'x'}
		_, err := conns[0].Write(f)
		must(t, err)
		_, err = io.ReadFull(conns[0], make([]byte, len(f)))
		must(t, err)
		must(t, s.Shutdown(ctx))
		for _, c := range conns {
			if b, err := io.ReadAll(c); err != nil || len(b) != 0 {
				t.Errorf("peer saw %q, %v", b, err)
			}
		}
		if ends[ErrShutdown] != n {
			t.Errorf("ends: %v", ends)
		}
		s.Loop(0).Post("after the end")
	})
}

// A context that is over does not wait for peers that take nothing.
func TestShutdownAtOnce(t *testing.T) {
	drivers(t, func(t *testing.T, o Options) {
		opened := make(chan struct{}, 1)
		s, addr := serve(t, o, func(l Loop) Handler {
			return &funcs{open: func(id ID, _ Info) bool {
				l.End(id, append(l.Begin(id), make([]byte, 8<<20)...))
				opened <- struct{}{}
				return true
			}}
		})
		dial(t, addr)
		await(t, opened)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := s.Shutdown(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("shutdown: %v", err)
		}
	})
}

func TestShutdownWithoutStart(t *testing.T) {
	drivers(t, func(t *testing.T, o Options) {
		s, err := New(o, func(Loop) Handler { return &funcs{} })
		must(t, err)
		_, err = s.Listen("a", "127.0.0.1:0")
		must(t, err)
		must(t, s.Shutdown(context.Background()))
	})
}

func TestListeners(t *testing.T) {
	drivers(t, func(t *testing.T, o Options) {
		infos := make(chan Info, 1)
		s, first := serve(t, o, func(l Loop) Handler {
			return &funcs{open: func(_ ID, info Info) bool { infos <- info; return true }}
		})
		second, err := s.Listen("second", "127.0.0.1:0")
		must(t, err)
		every, err := s.Listen("every", ":0")
		must(t, err)
		for range 20 {
			for _, c := range []struct {
				name, addr string
				loopback   bool
			}{
				{"test", first, true},
				{"second", second.String(), true},
				{"every", net.JoinHostPort("127.0.0.1", port(t, every.String())), false},
			} {
				conn := dial(t, c.addr)
				info := await(t, infos)
				want := Info{Listener: c.name, Loopback: c.loopback,
					Remote: addrPortOf(conn.LocalAddr()), Local: addrPortOf(conn.RemoteAddr())}
				if info != want {
					t.Errorf("info %+v, want %+v", info, want)
				}
			}
		}
		if _, err := s.Listen("taken", first); err == nil {
			t.Error("an address that is taken was bound again")
		}
		if _, err := s.Listen("nonsense", "127.0.0.1:x"); err == nil {
			t.Error("a nonsense address was bound")
		}
	})
}

func port(t *testing.T, addr string) string {
	t.Helper()
	_, p, err := net.SplitHostPort(addr)
	must(t, err)
	return p
}

// calmDriver has sockets with nothing to read, and notes how they end.
type calmDriver struct {
	stillDriver
	halves, ends int
}

func (*calmDriver) read(int32, []byte) (int, error) { return 0, errAgain }
func (d *calmDriver) closeWrite(int32)              { d.halves++ }
func (d *calmDriver) hangUp(int32)                  { d.ends++ }

// What was sent in earlier turns may not be with the peer yet: a connection waits for it
// also if in the turn that closes it there seems to be something to read.
func TestCloseWaitsForThePeer(t *testing.T) {
	o, err := Options{}.withDefaults()
	must(t, err)
	d := &calmDriver{}
	l := newLoop(0, o, d)
	l.handler = &funcs{}
	index, c := l.conns.take()
	c.flags = connOpen
	l.open++
	l.Close(l.id(index, c))
	l.markReady(index, c)
	l.readAll()
	l.flush()
	l.hangUpClosing()
	if d.halves != 1 || d.ends != 0 {
		t.Errorf("half closed %d times, closed %d times", d.halves, d.ends)
	}
	l.now += maxLinger
	l.sweepLingering()
	if d.ends != 1 {
		t.Errorf("closed %d times", d.ends)
	}
}
