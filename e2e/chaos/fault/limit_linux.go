package fault

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// CPU leaves a process this part of one processor until it is released.
func CPU(pid int, part float64) (release func(), err error) {
	const period = 100_000 // microseconds
	quota := fmt.Sprint(max(1000, int(part*period)))
	return confine(pid, "cpu", map[string]string{"cpu.cfs_quota_us": quota, "cpu.max": quota + " " + fmt.Sprint(period)})
}

// Memory bounds what a process has of memory, page cache included; the kernel
// kills one that needs more.
func Memory(pid int, bytes int64) (release func(), err error) {
	return confine(pid, "memory", map[string]string{"memory.limit_in_bytes": fmt.Sprint(bytes), "memory.max": fmt.Sprint(bytes)})
}

// Files bounds the descriptors that a process may have.
func Files(pid int, n uint64) (release func(), err error) {
	var before unix.Rlimit
	after := unix.Rlimit{Cur: n}
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &before); err != nil {
		return nil, fmt.Errorf("fault: %w: prlimit: %w", ErrUnavailable, err)
	}
	after.Max = before.Max
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &after, nil); err != nil {
		return nil, fmt.Errorf("fault: %w: prlimit: %w", ErrUnavailable, err)
	}
	return func() { _ = unix.Prlimit(pid, unix.RLIMIT_NOFILE, &before, nil) }, nil // it fails if the process has ended
}

// groups is where control groups are mounted: one folder per controller in
// version 1, one for all in version 2.
const groups = "/sys/fs/cgroup"

// confine puts a process into a control group of its own with the settings that
// exist there, and back when it is released.
func confine(pid int, controller string, settings map[string]string) (release func(), err error) {
	root := filepath.Join(groups, controller)
	if _, err := os.Stat(root); err != nil {
		root = groups
		// Version 2: allowed, or allowed already.
		_ = os.WriteFile(filepath.Join(root, "cgroup.subtree_control"), []byte("+"+controller), 0)
	}
	home, err := membership(pid, controller)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(root, fmt.Sprint("dunlin-chaos-", controller, "-", pid))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, fmt.Errorf("fault: %w: %w", ErrUnavailable, err)
	}
	release = func() {
		// It fails if the process has ended, and is gone from the group then.
		_ = os.WriteFile(filepath.Join(root, home, "cgroup.procs"), fmt.Append(nil, pid), 0)
		_ = os.Remove(dir)
	}
	set := 0
	for name, value := range settings {
		err := os.WriteFile(filepath.Join(dir, name), []byte(value), 0)
		switch {
		case err == nil:
			set++
		case !errors.Is(err, os.ErrNotExist) && !errors.Is(err, os.ErrPermission):
			release()
			return nil, fmt.Errorf("fault: %s: %w", name, err)
		}
	}
	if set == 0 {
		release()
		return nil, fmt.Errorf("fault: %w: no %s controller", ErrUnavailable, controller)
	}
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), fmt.Append(nil, pid), 0); err != nil {
		release()
		return nil, fmt.Errorf("fault: %w: %w", ErrUnavailable, err)
	}
	return release, nil
}

// membership is the control group that a process is in.
func membership(pid int, controller string) (path string, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(b)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3) // number:controllers:path
		if len(f) == 3 && (f[1] == "" || strings.Contains(","+f[1]+",", ","+controller+",")) {
			if path = f[2]; f[1] != "" {
				break
			}
		}
	}
	return path, nil
}
