//go:build linux

package listen

import (
	"testing"

	"golang.org/x/sys/unix"
)

// Only who asks for them gets the kernel's probes, the first of them not at the same time
// as everybody else's.
func TestProbe(t *testing.T) {
	drivers(t, func(t *testing.T, o Options) {
		o.Loops = 1
		opened := make(chan ID, 1)
		s, addr := serve(t, o, func(Loop) Handler {
			return &funcs{open: func(id ID, _ Info) bool { opened <- id; return true }}
		})
		l := s.Loop(0)
		idles := make(map[int]bool)
		for range 10 {
			dial(t, addr)
			id := await(t, opened)
			if on(t, l, func() int { return option(t, l, id, unix.SOL_SOCKET, unix.SO_KEEPALIVE) }) != 0 {
				t.Fatal("probed unasked")
			}
			on(t, l, func() bool { l.Probe(id); return true })
			for _, want := range []struct{ level, name, least, most int }{
				{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1, 1},
				{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, keepAliveIdle, 2*keepAliveIdle - 1},
				{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, keepAliveInterval, keepAliveInterval},
				{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, keepAliveCount, keepAliveCount},
			} {
				got := on(t, l, func() int { return option(t, l, id, want.level, want.name) })
				if got < want.least || got > want.most {
					t.Errorf("option %d is %d, want %d to %d", want.name, got, want.least, want.most)
				}
				if want.name == unix.TCP_KEEPIDLE {
					idles[got] = true
				}
			}
		}
		if len(idles) == 1 {
			t.Error("all are probed at the same time")
		}
		on(t, l, func() bool { l.Probe(0); return true }) // nobody's
	})
}

// option is a socket option of a connection, on its loop.
func option(t *testing.T, of Loop, id ID, level, name int) (value int) {
	l := of.(*loop)
	_, c := l.find(id)
	fd := uintptr(c.sock)
	if d, ok := l.driver.(*goDriver); ok {
		raw, err := d.at(c.sock).conn.SyscallConn()
		must(t, err)
		must(t, raw.Control(func(p uintptr) { fd = p }))
	}
	value, err := unix.GetsockoptInt(int(fd), level, name)
	must(t, err)
	return value
}
