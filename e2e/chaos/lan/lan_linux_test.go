package lan

import (
	"errors"
	"net"
	"os/exec"
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

// TestPing: packets travel between namespaces and from outside, and rules hold
// for one direction.
func TestPing(t *testing.T) {
	if _, err := exec.LookPath("ping"); err != nil {
		t.Skip("left out for want of ping (Debian package iputils-ping)")
	}
	l := open(t, 2)
	ping := func(from, to int) error {
		args := []string{"ping", "-n", "-c", "1", "-W", "1", l.Host(to)}
		if from > 0 {
			args = append(l.Within(from), args...)
		}
		return exec.Command(args[0], args[1:]...).Run()
	}
	for _, pair := range [][2]int{{0, 1}, {0, 2}, {1, 2}, {2, 1}, {2, 0}} {
		if err := ping(pair[0], pair[1]); err != nil {
			t.Errorf("from %d to %d: %v", pair[0], pair[1], err)
		}
	}
	l.Set(1, 2, Rule{Cut: true})
	if ping(2, 1) == nil || ping(1, 2) == nil {
		t.Error("an answer came over a link that is cut one way")
	}
	if err := ping(0, 1); err != nil {
		t.Errorf("another link is cut too: %v", err)
	}
	l.Set(1, 2, Rule{})
	if err := ping(1, 2); err != nil {
		t.Errorf("after healing: %v", err)
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
