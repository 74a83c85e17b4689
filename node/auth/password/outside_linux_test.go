package password

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dunlin/node/auth/crew"
)

// All threads of a helper give way.
func TestHelperGivesWay(t *testing.T) {
	c, _ := helped(t, os.Args[0], "Serve")
	pid := strconv.Itoa(c.outside.current().process.Pid)
	giving := func() bool {
		tasks, err := filepath.Glob("/proc/" + pid + "/task/*")
		if err != nil || len(tasks) < 2 {
			return false
		}
		for _, task := range tasks {
			id, _ := strconv.Atoi(filepath.Base(task))
			if a, err := unix.SchedGetAttr(id, 0); err != nil || a.Policy != unix.SCHED_IDLE {
				return false
			}
		}
		return true
	}
	for end := time.Now().Add(time.Minute); !giving(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not all do")
		}
	}
}

// A helper that does not get its turn is not waited for twice, and is asked again when it
// has answered.
func TestHelperStarves(t *testing.T) {
	c, log := helped(t, os.Args[0], "serve")
	allAnswered(t, c)
	x := c.outside.current()
	if err := x.process.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	c.outside.patience, c.outside.rest = 10*time.Millisecond, time.Millisecond
	allAnswered(t, c)
	x.mu.Lock()
	late := x.mu.late
	x.mu.Unlock()
	here := c.Stats().Here.Load()
	if late == 0 || here < 4 { // three wrong ones, and one that was right before the others
		t.Errorf("%d are late, %d hashed here", late, here)
	}
	if n := log.count("does not get its turn"); n < 1 || n > crew.Size() {
		t.Errorf("logged %s", log)
	}
	if err := x.process.Signal(unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	c.outside.patience = time.Minute
	for end := time.Now().Add(time.Minute); late > 0 && time.Now().Before(end); {
		x.mu.Lock()
		late = x.mu.late
		x.mu.Unlock()
		time.Sleep(time.Millisecond)
	}
	x.mu.Lock()
	x.mu.missed = x.mu.missed.Add(-c.outside.rest)
	x.mu.Unlock()
	allAnswered(t, c)
	if n := c.Stats().Here.Load(); n != here || c.outside.current() != x {
		t.Errorf("%d hashed here after it came back", n)
	}

	// It ends even if it is stopped when its node ends.
	if err := x.process.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	c.Close()
	<-x.gone
}

// One that never answers is given up.
func TestHelperIsStuck(t *testing.T) {
	c, _ := helped(t, "/bin/sleep", "1000")
	x := c.outside.current()
	c.outside.patience = time.Millisecond
	allAnswered(t, c)
	x.mu.Lock()
	x.mu.missed = x.mu.missed.Add(-2 * helperOverdue)
	x.mu.Unlock()
	allAnswered(t, c)
	<-x.gone
}
