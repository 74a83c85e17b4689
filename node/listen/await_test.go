package listen

import (
	"io"
	"testing"
)

// The kernel takes small output at once, so that no writing ever blocks.
func TestAwaitTellsOfOutputThatWasNeverRefused(t *testing.T) {
	drivers(t, func(t *testing.T, o Options) {
		o.Loops = 1
		opened, writable := make(chan ID, 1), make(chan int, 2)
		s, addr := serve(t, o, func(l Loop) Handler {
			return &funcs{
				open:     func(id ID, _ Info) bool { opened <- id; return true },
				writable: func(id ID) { writable <- l.Unsent(id) },
			}
		})
		c := dial(t, addr)
		l, id := s.Loop(0), await(t, opened)
		on(t, l, func() bool {
			l.End(id, append(l.Begin(id), "x"...))
			l.Await(id)
			l.Await(id)
			return true
		})
		if n := await(t, writable); n != 0 {
			t.Errorf("%d bytes unsent when told", n)
		}
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Error(err)
		}
		on(t, l, func() bool { l.Await(id); return true }) // nothing to wait for
		await(t, writable)
		if len(writable) > 0 {
			t.Error("told twice")
		}
	})
}
