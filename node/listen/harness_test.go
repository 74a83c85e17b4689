package listen

import (
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// drivers runs a test on each driver.
func drivers(t *testing.T, test func(t *testing.T, o Options)) {
	for _, portable := range []bool{false, true} {
		name := "epoll"
		if portable {
			name = "goroutines"
		} else if runtime.GOOS != "linux" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			test(t, Options{Loops: 2, Portable: portable, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
		})
	}
}

// funcs is a Handler made of functions; those left out do nothing.
type funcs struct {
	open     func(ID, Info) bool
	receive  func(ID, []byte) (int, int)
	writable func(ID)
	idle     func(ID)
	closed   func(ID, error)
	mail     func(any)
	turn     func()
	tick     func()
}

func (f *funcs) Open(id ID, info Info) bool {
	if f.open != nil {
		return f.open(id, info)
	}
	return true
}

func (f *funcs) Receive(id ID, b []byte) (int, int) {
	if f.receive != nil {
		return f.receive(id, b)
	}
	return len(b), 0
}

func (f *funcs) Writable(id ID) {
	if f.writable != nil {
		f.writable(id)
	}
}

func (f *funcs) Idle(id ID) {
	if f.idle != nil {
		f.idle(id)
	}
}

func (f *funcs) Closed(id ID, err error) {
	if f.closed != nil {
		f.closed(id, err)
	}
}

func (f *funcs) Mail(m any) {
	switch {
	case f.mail != nil:
		f.mail(m)
	default:
		if do, ok := m.(func()); ok {
			do()
		}
	}
}

func (f *funcs) Turn() {
	if f.turn != nil {
		f.turn()
	}
}

func (f *funcs) Tick() {
	if f.tick != nil {
		f.tick()
	}
}

// serve starts loops with a listener on a loopback address; at its end the test
// shuts them down and must find nothing left.
func serve(t testing.TB, o Options, handle func(Loop) Handler, protocols ...Protocol) (*Loops, string) {
	t.Helper()
	before := residue()
	s, err := New(o, handle)
	if err != nil {
		t.Fatal(err)
	}
	addr, err := s.Listen("test", "127.0.0.1:0", protocols...)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if open := s.Stats().Open; open != 0 {
			t.Errorf("%d connections open after shutdown", open)
		}
		for deadline := time.Now().Add(20 * time.Second); exceeds(residue(), before); runtime.Gosched() {
			if time.Now().After(deadline) {
				buf := make([]byte, 1<<20)
				t.Errorf("residue: goroutines, descriptors and processors %v, before %v\n%s", residue(), before, buf[:runtime.Stack(buf, true)])
				break
			}
		}
	})
	return s, addr.String()
}

// exceeds compares each number; what the test before has left may still go.
func exceeds(now, before [3]int) bool {
	for k := range now {
		if now[k] > before[k] {
			return true
		}
	}
	return false
}

// residue is the number of goroutines of this package, of open descriptors, and of
// the scheduler's processors.
func residue() [3]int {
	buf := make([]byte, 4<<20)
	stacks := string(buf[:runtime.Stack(buf, true)])
	n := strings.Count(stacks, "listen.(*loop).run(") + strings.Count(stacks, "listen.(*goSocket)") + strings.Count(stacks, "listen.(*goAcceptor)")
	fds, _ := filepath.Glob("/proc/self/fd/*")
	sockets := 0
	for _, fd := range fds {
		if link, err := os.Readlink(fd); err == nil && !strings.HasPrefix(link, "/") {
			sockets++
		}
	}
	return [3]int{n, sockets, runtime.GOMAXPROCS(0)}
}

func dial(t testing.TB, addr string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	must(t, c.SetDeadline(time.Now().Add(time.Minute)))
	return c.(*net.TCPConn)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// await waits for a value from a loop.
func await[T any](t testing.TB, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(time.Minute):
		buf := make([]byte, 1<<20)
		t.Fatalf("nothing came\n%s", buf[:runtime.Stack(buf, true)])
		panic("unreachable")
	}
}

// on runs f on the loop and waits for its result. The loop's Handler must be funcs
// without a mail function.
func on[T any](t testing.TB, l Loop, f func() T) T {
	t.Helper()
	ch := make(chan T, 1)
	l.Post(func() { ch <- f() })
	return await(t, ch)
}

// all runs f for 0 to n-1 at the same time, and waits.
func all(n int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}
