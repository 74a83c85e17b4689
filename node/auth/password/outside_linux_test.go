package password

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A helper that does not get its turn is not waited for twice, and is asked again when it
// has answered. All its threads give way.
func TestHelperStarves(t *testing.T) {
	c, _ := helped(t, os.Args[0], "serve")
	allAnswered(t, c)
	x := c.outside.current()
	tasks, err := filepath.Glob("/proc/" + strconv.Itoa(x.process.Pid) + "/task/*")
	if err != nil || len(tasks) < 2 {
		t.Fatalf("%d threads, %v", len(tasks), err)
	}
	for _, task := range tasks {
		id, _ := strconv.Atoi(filepath.Base(task))
		if a, err := unix.SchedGetAttr(id, 0); err != nil || a.Policy != unix.SCHED_IDLE {
			t.Errorf("a thread's policy is %+v, %v", a, err)
		}
	}
	if err := x.process.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	c.outside.patience = 10 * time.Millisecond
	allAnswered(t, c)
	x.mu.Lock()
	late := x.mu.late
	x.mu.Unlock()
	here := c.Stats().Here.Load()
	if late == 0 || here < 4 { // three wrong ones, and one that was right before the others
		t.Errorf("%d are late, %d hashed here", late, here)
	}
	if err := x.process.Signal(unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	c.outside.patience = helperPatience
	for late > 0 {
		x.mu.Lock()
		late = x.mu.late
		x.mu.Unlock()
		time.Sleep(time.Millisecond)
	}
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
