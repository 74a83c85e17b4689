package load

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// cpuTime is the user and system time that processes have used so far. The
// kernel has a clock for each, which counts nanoseconds rather than ticks.
func cpuTime(pids []int) (time.Duration, error) {
	var sum time.Duration
	for _, pid := range pids {
		var ts unix.Timespec
		clock := ^int32(pid)<<3 | 2 // CPUCLOCK_SCHED of a process, see clock_getcpuclockid(3)
		if err := unix.ClockGettime(clock, &ts); err != nil {
			return 0, fmt.Errorf("load: processor time of %d: %w", pid, err)
		}
		sum += time.Duration(ts.Nano())
	}
	return sum, nil
}

func ownTime() (time.Duration, error) { return cpuTime([]int{os.Getpid()}) }

// monotonic is the time that latencies are measured with.
func monotonic() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) // cannot fail: the clock exists
	return ts.Nano()
}
