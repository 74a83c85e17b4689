package lan

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

func open(t *testing.T, nodes int) *LAN {
	t.Helper()
	l, err := Open(nodes, 1)
	if errors.Is(err, ErrUnavailable) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// TestMain lets the test binary be what runs inside a namespace: it knocks at an
// address.
func TestMain(m *testing.M) {
	if addr := os.Getenv("LAN_TEST_KNOCK"); addr != "" {
		if !knock(addr) {
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// knock dials a port that nobody listens on: to be refused is to be answered.
func knock(addr string) bool {
	conn, err := net.DialTimeout("tcp", addr, 500*time.Millisecond)
	if err == nil {
		conn.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

// TestReach: packets travel between namespaces and from outside, and rules hold
// for one direction.
func TestReach(t *testing.T) {
	l := open(t, 2)
	reaches := func(from, to int) bool {
		addr := net.JoinHostPort(l.Host(to), "1")
		if from == 0 {
			return knock(addr)
		}
		args := append(l.Within(from), os.Args[0])
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Env = append(os.Environ(), "LAN_TEST_KNOCK="+addr)
		return cmd.Run() == nil
	}
	for _, pair := range [][2]int{{0, 1}, {0, 2}, {1, 2}, {2, 1}, {2, 0}} {
		if !reaches(pair[0], pair[1]) {
			t.Errorf("%d does not reach %d", pair[0], pair[1])
		}
	}
	l.Set(1, 2, Rule{Cut: true})
	if reaches(2, 1) || reaches(1, 2) {
		t.Error("an answer came over a link that is cut one way")
	}
	if !reaches(0, 1) || !reaches(0, 2) {
		t.Error("another link is cut too")
	}
	l.Set(1, 2, Rule{})
	if !reaches(1, 2) {
		t.Error("not healed")
	}
}

// TestRefused: who dials a port that nobody listens on is told so, after the
// link's delay both ways.
func TestRefused(t *testing.T) {
	l := open(t, 1)
	l.Set(0, 1, Rule{Delay: 20 * time.Millisecond})
	start := time.Now()
	if conn, err := net.DialTimeout("tcp", net.JoinHostPort(l.Host(1), "1"), 5*time.Second); err == nil {
		conn.Close()
		t.Error("connected")
	}
	if took := time.Since(start); took < 20*time.Millisecond {
		t.Errorf("answered after %v over a link of 20 ms", took)
	}
}
