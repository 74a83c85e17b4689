//go:build linux

package listen

import (
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Without descriptors the listener survives, does not spin, and serves again when
// there are some (case 56). The limit is the process's: a child runs the test.
func TestNoDescriptors(t *testing.T) {
	if os.Getenv("DUNLIN_TEST_FEW_DESCRIPTORS") == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestNoDescriptors$", "-test.v")
		cmd.Env = append(os.Environ(), "DUNLIN_TEST_FEW_DESCRIPTORS=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	drivers(t, withFewDescriptors)
}

func withFewDescriptors(t *testing.T, o Options) {
	s, addr := serve(t, o, echo)
	// The clients take descriptors as well: theirs are opened before they are few.
	clients := make([]*socketFD, 20)
	for i := range clients {
		clients[i] = newSocketFD(t)
	}
	old := limitDescriptors(t, openDescriptors(t)+6)
	for _, c := range clients {
		c.connect(t, addr)
	}
	for s.Stats().AcceptErrors == 0 {
		runtime.Gosched()
	}
	// A listener that rests tries again at each tick and not in between.
	before := s.Stats()
	for range 2 {
		awaitTick(t, s)
	}
	if n := s.Stats().AcceptErrors - before.AcceptErrors; n > uint64(len(clients)+4*s.Len()) {
		t.Errorf("%d errors in two ticks: it spins", n)
	}
	setLimit(t, old)
	served := 0
	for _, c := range clients {
		if c.echoes() {
			served++
		}
		c.Close()
	}
	if served == 0 {
		t.Error("nobody was served")
	}
	c := dial(t, addr)
	_, err := c.Write([]byte{0, 0, 0, 0})
	must(t, err)
	_, err = io.ReadFull(c, make([]byte, 4))
	must(t, err)
}

// awaitTick waits until each loop has lived through a tick.
func awaitTick(t *testing.T, s *Loops) {
	for i := range s.Len() {
		l := s.Loop(i).(*loop)
		next := on(t, l, func() time.Duration { return l.nextTick })
		for on(t, l, func() time.Duration { return l.nextTick }) == next {
		}
	}
}

type socketFD struct{ fd int }

func newSocketFD(t *testing.T) *socketFD {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	must(t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 30}))
	return &socketFD{fd}
}

func (s *socketFD) connect(t *testing.T, addr string) {
	a, err := net.ResolveTCPAddr("tcp", addr)
	must(t, err)
	sa := &unix.SockaddrInet4{Port: a.Port}
	copy(sa.Addr[:], a.IP.To4())
	must(t, unix.Connect(s.fd, sa))
}

// echoes tells whether the connection is served rather than closed.
func (s *socketFD) echoes() bool {
	if _, err := unix.Write(s.fd, []byte{0, 0, 0, 0}); err != nil {
		return false
	}
	n, err := unix.Read(s.fd, make([]byte, 4))
	return err == nil && n == 4
}

func (s *socketFD) Close() { unix.Close(s.fd) }

func openDescriptors(t *testing.T) uint64 {
	fd, err := unix.Open("/dev/null", unix.O_RDONLY, 0)
	must(t, err)
	defer unix.Close(fd)
	return uint64(fd)
}

// limitDescriptors lowers the limit, and returns the one before.
func limitDescriptors(t *testing.T, n uint64) unix.Rlimit {
	var old unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &old))
	setLimit(t, unix.Rlimit{Cur: n, Max: old.Max})
	t.Cleanup(func() { setLimit(t, old) })
	return old
}

func setLimit(t *testing.T, l unix.Rlimit) {
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &l))
}
