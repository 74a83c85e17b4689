package password

import (
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// giveWay has the kernel run this process only where no other wants to, if it is let, and
// end it first where memory is short. The one is a setting of threads, which those that they
// start inherit: it goes on until it was enough to look.
func giveWay() {
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0)
	for found := true; found; {
		found = false
		tasks, _ := filepath.Glob("/proc/self/task/*")
		for _, t := range tasks {
			id, err := strconv.Atoi(filepath.Base(t))
			if err != nil {
				return
			}
			now, err := unix.SchedGetAttr(id, 0)
			if err != nil || now.Policy == unix.SCHED_IDLE {
				continue // it has ended, or its parent was told
			}
			idle := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_IDLE}
			found = unix.SchedSetAttr(id, &idle, 0) == nil || found
		}
	}
}
