package load

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// used is what processes have used together.
type used struct {
	cpu    time.Duration // user and system
	memory int64         // resident bytes
	files  int64         // open ones
}

// usage is that of some processes; one that has ended has used nothing.
func usage(t testing.TB, pids ...int) (u used) {
	t.Helper()
	for _, pid := range pids {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		const utime, stime, rss = 11, 12, 21 // after the name
		ticks := number(string(fields[utime])) + number(string(fields[stime]))
		u.cpu += time.Duration(ticks) * time.Second / 100
		u.memory += number(string(fields[rss])) * int64(os.Getpagesize())
		if fds, err := os.Stat(fmt.Sprintf("/proc/%d/fd", pid)); err == nil {
			u.files += fds.Size() // since Linux 6.2
		}
	}
	return u
}

// state is what the machine has in use.
type state struct {
	used, kernel int64 // bytes; the kernel's are its objects, stacks and page tables
}

func machine(t testing.TB) (s state) {
	t.Helper()
	info := table(t, "/proc/meminfo")
	s.used = (info["MemTotal:"] - info["MemAvailable:"]) << 10
	s.kernel = (info["Slab:"] + info["KernelStack:"] + info["PageTables:"] + info["Percpu:"]) << 10
	return s
}

// pressures are the shares of the last ten seconds in which somebody waited for a
// processor and for the disk, where the kernel counts them.
func pressures() string {
	var all []string
	for _, what := range []string{"cpu", "io"} {
		b, err := os.ReadFile("/proc/pressure/" + what)
		if err != nil {
			continue
		}
		var share string
		if _, err := fmt.Sscanf(string(b), "some avg10=%s", &share); err == nil {
			all = append(all, what+" "+share+" %")
		}
	}
	return strings.Join(all, ", ")
}

// table reads a file of names and numbers.
func table(t testing.TB, path string) map[string]int64 {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]int64)
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 {
			all[f[0]] = number(f[1])
		}
	}
	return all
}

func number(s string) int64 {
	n, _ := strconv.ParseInt(s, 10, 64)
	return n
}

// size is bytes for people.
func size(n int64) string {
	if n < 1e9 {
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.2f GB", float64(n)/1e9)
}
