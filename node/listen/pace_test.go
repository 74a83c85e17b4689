package listen

import (
	"io"
	"net"
	"testing"
)

// However many have connected, a loop takes a few in a turn, and comes back for the others
// (case 37).
func TestStormIsTakenInParts(t *testing.T) {
	drivers(t, func(t *testing.T, o Options) {
		const n = 300
		type part struct{ opened, most int }
		parts := make([]part, o.Loops) // each is its loop's
		s, addr := serve(t, o, func(l Loop) Handler {
			p, opened := &parts[l.Index()], 0
			h := echo(l).(*funcs)
			h.open = func(ID, Info) bool { opened++; return true }
			h.turn = func() {
				p.opened, p.most, opened = p.opened+opened, max(p.most, opened), 0
			}
			return h
		})
		come := make(chan struct{})
		for i := range s.Len() {
			s.Loop(i).Post(func() { <-come })
		}
		conns := make([]net.Conn, n)
		all(len(conns), func(k int) {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Error(err)
				return
			}
			conns[k] = c
		})
		close(come)
		for _, c := range conns {
			defer c.Close()
			_, err := c.Write([]byte{0, 0, 0, 0})
			must(t, err)
			_, err = io.ReadFull(c, make([]byte, 4))
			must(t, err)
		}
		var sum part
		for i := range s.Len() {
			p := on(t, s.Loop(i), func() part { return parts[i] })
			sum = part{sum.opened + p.opened, max(sum.most, p.most)}
		}
		if sum.opened != n || sum.most > acceptsPerPace {
			t.Errorf("%d opened, up to %d in a turn; want %d and %d", sum.opened, sum.most, n, acceptsPerPace)
		}
	})
}
