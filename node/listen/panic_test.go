//go:build !invariants

package listen

import (
	"io"
	"testing"
	"time"
)

// A panic ends the connection at hand, and nothing else.
func TestPanic(t *testing.T) {
	drivers(t, func(t *testing.T, o Options) {
		closed := make(chan error, 10)
		s, addr := serve(t, o, func(l Loop) Handler {
			return &funcs{
				receive: func(id ID, b []byte) (int, int) {
					switch b[0] {
					case 'p':
						panic("planted")
					case 'l':
						_ = append(l.Begin(id), "half a packet"...)
						panic("planted while output is lent")
					}
					l.End(id, append(l.Begin(id), b...))
					return len(b), 0
				},
				closed: func(_ ID, err error) { closed <- err },
				mail:   func(any) { panic("planted in mail") },
			}
		})
		bystander := dial(t, addr)
		for _, word := range []string{"p", "l"} {
			c := dial(t, addr)
			_, err := c.Write([]byte(word))
			must(t, err)
			if b, _ := io.ReadAll(c); len(b) != 0 {
				t.Errorf("the peer read %q", b)
			}
			if err := await(t, closed); err != ErrPanic {
				t.Errorf("closed with %v", err)
			}
		}
		for i := range s.Len() {
			s.Loop(i).Post("x")
		}
		_, err := bystander.Write([]byte("hello"))
		must(t, err)
		_, err = io.ReadFull(bystander, make([]byte, 5))
		must(t, err)
		for s.Stats().Panics != 4 {
		}
	})
}

// trap is a Protocol whose Layers panic where their peer, or the test, wants them to.
type trap struct{ where string }

func (p trap) NewLayer(Info, func()) Layer {
	p.in("new")
	return p
}

func (p trap) in(place string) {
	if p.where == place {
		panic("planted in " + place)
	}
}

func (p trap) Decode(f *Flow) (State, error) {
	p.in("decode")
	f.Pass()
	return Ready, nil
}

func (p trap) Encode(dst, b []byte) ([]byte, error) {
	p.in("encode")
	return append(dst, b...), nil
}

func (p trap) Goodbye(dst []byte) []byte {
	p.in("goodbye")
	return dst
}

func (p trap) Describe(*Info) { p.in("describe") }
func (p trap) Close()         { p.in("close") }

// A panic of a Layer, wherever it is, ends its connection and no other.
func TestPanicOfLayer(t *testing.T) {
	drivers(t, func(t *testing.T, o Options) {
		for _, where := range []string{"new", "decode", "describe", "encode", "goodbye", "close"} {
			t.Run(where, func(t *testing.T) {
				s, addr := serve(t, o, echo, trap{where})
				for n := uint64(1); n <= 2; n++ { // the loop is there for the next one
					c := dial(t, addr)
					_, _ = c.Write([]byte{0, 0, 0, 1, 'x'})
					_ = c.CloseWrite()
					_, _ = io.ReadAll(c)
					for s.Stats().Panics < n || s.Stats().Open+s.Stats().Opening > 0 {
						time.Sleep(time.Millisecond)
					}
				}
			})
		}
	})
}
