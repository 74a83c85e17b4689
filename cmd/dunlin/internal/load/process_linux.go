package load

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// processorTime is the user and system time that a process has used so far. The
// kernel has a clock for each, which counts nanoseconds rather than ticks.
func processorTime(pid int) (time.Duration, error) {
	var ts unix.Timespec
	clock := ^int32(pid)<<3 | 2 // CPUCLOCK_SCHED of a process, see clock_getcpuclockid(3)
	if err := unix.ClockGettime(clock, &ts); err != nil {
		return 0, fmt.Errorf("load: processor time of %d: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}

// ownTime is the processor time of this process.
func ownTime() time.Duration {
	d, _ := processorTime(os.Getpid()) // there is such a process
	return d
}

// memory is what of a process is resident, and was at most, in bytes; 0 if it is
// gone.
func memory(pid int) (now, peak int64) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0
	}
	for line := range bytes.Lines(text) {
		key, value, _ := strings.Cut(string(line), ":")
		kb, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		switch key {
		case "VmRSS":
			now = kb << 10
		case "VmHWM":
			peak = kb << 10
		}
	}
	return now, peak
}

// program is the name of a process's program.
func program(pid int) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return strings.TrimSpace(string(text))
}

// openFiles is how many descriptors this process may have.
func openFiles() (int, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("load: limit of open files: %w", err)
	}
	return int(min(limit.Cur, 1<<24)), nil
}

// clock is the monotonic clock of the system, which all processes share, read
// without a system call.
type clock struct {
	system int64 // nanoseconds, at
	at     time.Time
}

func newClock() clock {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) // cannot fail: the clock exists
	return clock{ts.Nano(), time.Now()}
}

// now is in nanoseconds.
func (c *clock) now() int64 { return c.system + int64(time.Since(c.at)) }
