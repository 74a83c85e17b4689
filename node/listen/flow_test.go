package listen

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

func TestPauseResume(t *testing.T) {
	drivers(t, func(t *testing.T, o Options) {
		o.ReadBuffer = 4 << 10
		o.Loops = 1
		const total = 1 << 20
		var conn ID
		var taken []byte
		paused := make(chan struct{}, 1)
		done := make(chan []byte, 1)
		s, addr := serve(t, o, func(l Loop) Handler {
			return &funcs{receive: func(id ID, b []byte) (int, int) {
				conn = id
				// A few bytes, then a pause with the rest unconsumed.
				n := min(len(b), 1500)
				taken = append(taken, b[:n]...)
				if len(taken) == total {
					done <- taken
				}
				l.Pause(id)
				paused <- struct{}{}
				return n, 0
			}}
		})
		sent := make([]byte, total)
		for i := range sent {
			sent[i] = byte(i * i >> 8)
		}
		c := dial(t, addr)
		go func() { _, _ = c.Write(sent) }()
		for {
			select {
			case got := <-done:
				if !bytes.Equal(got, sent) {
					t.Errorf("bytes differ at %d", firstDifference(got, sent))
				}
				return
			case <-paused:
				on(t, s.Loop(0), func() bool { s.Loop(0).Resume(conn); return true })
			case <-time.After(time.Minute):
				t.Fatal("nothing comes after Resume")
			}
		}
	})
}

// A pause makes the sender wait: TCP's window closes.
func TestPauseHoldsBack(t *testing.T) {
	drivers(t, func(t *testing.T, o Options) {
		o.Loops = 1
		opened := make(chan ID, 1)
		closed := make(chan error, 1)
		received := 0
		s, addr := serve(t, o, func(l Loop) Handler {
			return &funcs{
				open:    func(id ID, _ Info) bool { l.Pause(id); opened <- id; return true },
				receive: func(_ ID, b []byte) (int, int) { received += len(b); return len(b), 0 },
				closed:  func(_ ID, err error) { closed <- err },
			}
		})
		c := dial(t, addr)
		id := await(t, opened)
		must(t, c.SetWriteDeadline(time.Now().Add(300*time.Millisecond)))
		n, err := c.Write(make([]byte, 256<<20))
		var timeout net.Error
		if !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Fatalf("%d bytes written to a paused connection: %v", n, err)
		}
		must(t, c.CloseWrite())
		if got := on(t, s.Loop(0), func() int { s.Loop(0).Resume(id); return received }); got != 0 {
			t.Errorf("%d bytes received while paused", got)
		}
		must(t, await(t, closed))
		if got := on(t, s.Loop(0), func() int { return received }); got != n {
			t.Errorf("%d bytes received of %d", got, n)
		}
	})
}

// A peer that takes nothing is closed: at MaxUnsent, or after SendTimeout (case 29).
func TestSlowReader(t *testing.T) {
	for name, c := range map[string]struct {
		maxUnsent int
		timeout   time.Duration
		want      error
	}{
		"unsent":  {1 << 20, time.Hour, ErrUnsent},
		"timeout": {1 << 30, 100 * time.Millisecond, ErrSendTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			drivers(t, func(t *testing.T, o Options) {
				o.Loops, o.MaxUnsent, o.SendTimeout = 1, c.maxUnsent, c.timeout
				closed := make(chan error, 1)
				opened := make(chan ID, 1)
				s, addr := serve(t, o, func(l Loop) Handler {
					return &funcs{
						open:   func(id ID, _ Info) bool { opened <- id; return true },
						closed: func(_ ID, err error) { closed <- err },
					}
				})
				dial(t, addr)
				id := await(t, opened)
				l := s.Loop(0)
				for {
					select {
					case err := <-closed:
						if err != c.want {
							t.Errorf("closed with %v", err)
						}
						if slow := s.Stats().Slow; slow != 1 {
							t.Errorf("%d slow connections counted", slow)
						}
						return
					default:
					}
					if unsent := on(t, l, func() int { return l.Unsent(id) }); unsent < 2<<20 {
						on(t, l, func() bool { l.End(id, append(l.Begin(id), make([]byte, 256<<10)...)); return true })
					}
				}
			})
		})
	}
}

// Writable comes when all output that had been refused is out, and what came was
// in order.
func TestWritable(t *testing.T) {
	drivers(t, func(t *testing.T, o Options) {
		const total = 32 << 20
		o.MaxUnsent = total
		writable := make(chan int, 1)
		want := make([]byte, total)
		for i := 0; i < total; i += 4 {
			binary.BigEndian.PutUint32(want[i:], uint32(i))
		}
		_, addr := serve(t, o, func(l Loop) Handler {
			return &funcs{
				open: func(id ID, _ Info) bool {
					l.End(id, append(l.Begin(id), want...))
					return true
				},
				writable: func(id ID) { writable <- l.Unsent(id) },
			}
		})
		c := dial(t, addr)
		got := make([]byte, total)
		_, err := io.ReadFull(c, got)
		must(t, err)
		if unsent := await(t, writable); unsent != 0 {
			t.Errorf("%d bytes unsent when writable", unsent)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("bytes differ at %d", firstDifference(got, want))
		}
	})
}

// In a turn each connection is read from once, whatever it has sent.
func TestFlooderWaitsItsTurn(t *testing.T) {
	drivers(t, func(t *testing.T, o Options) {
		o.Loops, o.ReadBuffer = 1, 4<<10
		calls := map[ID]int{}
		answer := make(chan struct{})
		var flooded int
		s, addr := serve(t, o, func(l Loop) Handler {
			return &funcs{
				receive: func(id ID, b []byte) (int, int) {
					if calls[id]++; calls[id] > 1 || len(b) > o.ReadBuffer {
						t.Errorf("connection %x handed over %d times in a turn, now %d bytes", id, calls[id], len(b))
					}
					if b[0] == '?' {
						l.End(id, append(l.Begin(id), '!'))
					} else {
						flooded += len(b)
					}
					return len(b), 0
				},
				turn: func() { clear(calls) },
			}
		})
		flooder, other := dial(t, addr), dial(t, addr)
		block := make([]byte, 1<<20)
		_, err := flooder.Write(block)
		must(t, err)
		for on(t, s.Loop(0), func() int { return flooded }) == 0 {
		}
		go func() {
			defer close(answer)
			for range 100 {
				if _, err := other.Write([]byte("?")); err != nil {
					t.Error(err)
				}
				if _, err := io.ReadFull(other, make([]byte, 1)); err != nil {
					t.Error(err)
				}
			}
		}()
		for answered := false; !answered; {
			select {
			case <-answer:
				answered = true
			default:
				_, err := flooder.Write(block)
				must(t, err)
			}
		}
	})
}

// What a peer announces costs nothing until it comes (case 3).
func TestAnnouncedLengthIsNotAllocated(t *testing.T) {
	drivers(t, func(t *testing.T, o Options) {
		o.Loops = 1
		const announced = 256 << 20
		came := make(chan int, 100)
		s, addr := serve(t, o, func(l Loop) Handler {
			return &funcs{receive: func(_ ID, b []byte) (int, int) {
				came <- len(b)
				return 0, announced
			}}
		})
		c := dial(t, addr)
		_, err := c.Write([]byte("x"))
		must(t, err)
		await(t, came)
		l := s.Loop(0).(*loop)
		held := func() (n int) {
			for _, p := range l.partials.items {
				n += cap(p.b)
			}
			return n
		}
		if n := on(t, l, held); n > minBuffer {
			t.Errorf("%d bytes held for one that came", n)
		}
		const more = 3 << 20
		go func() { _, _ = c.Write(make([]byte, more)) }()
		for on(t, l, func() int { return len(l.partials.items[0].b) }) <= more {
		}
		if n := on(t, l, held); n > 4*more {
			t.Errorf("%d bytes held for %d that came", n, more)
		}
		if len(came) != 0 {
			t.Error("Receive was called with less than it wanted")
		}
	})
}
