//go:build !invariants

package listen

import (
	"io"
	"testing"
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
