package preflight

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Read reads the limits of this machine, and of those broker processes on it that
// are named. It waits for nothing but the kernel.
func Read(brokers ...int) Facts {
	r := reader{root: "/"}
	f := r.facts()
	var own unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &own); err != nil {
		r.missing("open files of a process", err)
	} else {
		f.OpenSoft, f.OpenHard = own.Cur, own.Max
	}
	for _, pid := range brokers {
		var l unix.Rlimit
		if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &l); err != nil {
			r.missing(fmt.Sprintf("open files of process %d", pid), err)
			continue
		}
		f.BrokerLimits = append(f.BrokerLimits, BrokerLimit{PID: pid, Open: l.Cur})
	}
	// The tasks of one user have a limit of their own, which root is free of.
	if err := unix.Getrlimit(unix.RLIMIT_NPROC, &own); err == nil && os.Geteuid() != 0 && own.Max < f.TasksMost {
		f.TasksMost, f.TasksLimit, f.TasksRaise = own.Max, "processes of a user", "ulimit -u %d"
	}
	f.Unreadable = r.unreadable
	return f
}

// reader reads the files of proc and sys below a root, which a test makes up.
type reader struct {
	root       string
	unreadable []string
}

func (r *reader) missing(what string, err error) {
	r.unreadable = append(r.unreadable, fmt.Sprintf("%s: %v", what, err))
}

func (r *reader) facts() Facts {
	f := Facts{System: "linux", OpenSoft: Absent, OpenHard: Absent, PageSize: uint64(os.Getpagesize())}
	f.OpenMost = r.number("proc/sys/fs/nr_open")
	f.FilesMost = r.number("proc/sys/fs/file-max")
	f.FilesUsed = r.field("proc/sys/fs/file-nr", 0)
	f.PortFirst = r.field("proc/sys/net/ipv4/ip_local_port_range", 0)
	f.PortLast = r.field("proc/sys/net/ipv4/ip_local_port_range", 1)
	f.PortsReserved = r.reserved(f.PortFirst, f.PortLast)
	f.TrackedMost, f.Tracked = Absent, Absent
	if r.exists("proc/sys/net/netfilter/nf_conntrack_max") {
		f.TrackedMost = r.number("proc/sys/net/netfilter/nf_conntrack_max")
		f.Tracked = r.number("proc/sys/net/netfilter/nf_conntrack_count")
	}
	f.Memory = r.memory()
	f.TCPMem = [3]uint64{Absent, Absent, Absent}
	if r.exists("proc/sys/net/ipv4/tcp_mem") { // it is the machine's, and not seen from a namespace
		for i := range f.TCPMem {
			f.TCPMem[i] = r.field("proc/sys/net/ipv4/tcp_mem", i)
		}
	}
	f.TCPPages = r.labelled("proc/net/sockstat", "TCP:", "mem")
	f.Backlog = r.number("proc/sys/net/core/somaxconn")
	r.tasks(&f)
	return f
}

// reserved is how many ports of the range connect(2) leaves out.
func (r *reader) reserved(first, last uint64) (n uint64) {
	for span := range strings.SplitSeq(strings.Join(r.fields("proc/sys/net/ipv4/ip_local_reserved_ports"), ","), ",") {
		from, to, ranged := strings.Cut(span, "-")
		if !ranged {
			to = from
		}
		a, err := strconv.ParseUint(from, 10, 16)
		b, err2 := strconv.ParseUint(to, 10, 16)
		if err != nil || err2 != nil {
			continue // an empty list
		}
		if a, b = max(a, first), min(b, last); a <= b {
			n += b - a + 1
		}
	}
	return n
}

// memory is what the machine has available, or the control group if that is less.
func (r *reader) memory() uint64 {
	kib := r.labelled("proc/meminfo", "MemAvailable:", "")
	if kib == Absent {
		return Absent
	}
	free := kib << 10
	v2, v1 := r.groups()
	// Every group from the process's own up to the root can be the one that is full.
	for _, group := range v2 {
		free = min(free, left(r.optional(group, "memory.max"), r.optional(group, "memory.current"), r.cached(group, "inactive_file")))
	}
	for _, group := range v1["memory"] {
		free = min(free, left(r.optional(group, "memory.limit_in_bytes"), r.optional(group, "memory.usage_in_bytes"), r.cached(group, "total_inactive_file")))
	}
	return free
}

// left is what a group may still use, where cached bytes make room when it must be.
func left(most, used, cached uint64) uint64 {
	if most == Absent || used == Absent {
		return Absent
	}
	used -= min(used, cached)
	return most - min(most, used)
}

// cached is the file cache of a group that is not in use.
func (r *reader) cached(group, key string) uint64 {
	for line := range strings.Lines(r.text(filepath.Join(group, "memory.stat"))) {
		if words := strings.Fields(line); len(words) == 2 && words[0] == key {
			n, _ := strconv.ParseUint(words[1], 10, 64)
			return n
		}
	}
	return 0
}

// groups are the control groups of this process below r.root, from its own up: of
// the unified hierarchy, and of each controller of the older kind.
func (r *reader) groups() (v2 []string, v1 map[string][]string) {
	v1 = make(map[string][]string)
	for line := range strings.Lines(r.text("proc/self/cgroup")) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		for _, controller := range strings.Split(parts[1], ",") {
			var up []string
			for dir := filepath.Clean(parts[2]); ; dir = filepath.Dir(dir) {
				up = append(up, filepath.Join("sys/fs/cgroup", controller, dir))
				if dir == "/" || dir == "." {
					break
				}
			}
			if controller == "" {
				v2 = up
			} else {
				v1[controller] = up
			}
		}
	}
	return v2, v1
}

// tasks finds the least limit on threads.
func (r *reader) tasks(f *Facts) {
	f.TasksMost = r.number("proc/sys/kernel/pid_max")
	f.TasksLimit, f.TasksRaise = "kernel.pid_max", "sysctl -w kernel.pid_max=%d"
	if n := r.number("proc/sys/kernel/threads-max"); n < f.TasksMost {
		f.TasksMost, f.TasksLimit, f.TasksRaise = n, "kernel.threads-max", "sysctl -w kernel.threads-max=%d"
	}
	f.TasksUsed = Absent
	if load := r.fields("proc/loadavg"); len(load) > 3 { // "running/all" is its fourth
		_, all, _ := strings.Cut(load[3], "/")
		if n, err := strconv.ParseUint(all, 10, 64); err == nil {
			f.TasksUsed = n
		}
	}
	v2, v1 := r.groups()
	for _, group := range append(v2, v1["pids"]...) {
		most, used := r.optional(group, "pids.max"), r.optional(group, "pids.current")
		if most < f.TasksMost && used != Absent {
			f.TasksMost, f.TasksUsed = most, used
			f.TasksLimit, f.TasksRaise = "pids.max of the control group", "TasksMax=%d in the [Service] section, or --pids-limit of the container"
		}
	}
}

func (r *reader) exists(name string) bool {
	_, err := os.Stat(filepath.Join(r.root, name))
	return err == nil
}

// text is what a file holds, or nothing.
func (r *reader) text(name string) string {
	b, _ := os.ReadFile(filepath.Join(r.root, name))
	return string(b)
}

// fields are the words of a file.
func (r *reader) fields(name string) []string {
	b, err := os.ReadFile(filepath.Join(r.root, name))
	if err != nil {
		if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
			err = pe.Err
		}
		r.missing(name, err)
	}
	return strings.Fields(string(b))
}

func (r *reader) number(name string) uint64 { return r.field(name, 0) }

// field is the number that is word i of a file, or Absent.
func (r *reader) field(name string, i int) uint64 {
	if words := r.fields(name); i < len(words) {
		if n, err := strconv.ParseUint(words[i], 10, 64); err == nil {
			return n
		}
	}
	return Absent
}

// labelled is the number after label in the line of that beginning, or Absent.
func (r *reader) labelled(name, line, label string) uint64 {
	for l := range strings.Lines(r.text(name)) {
		words := strings.Fields(l)
		if len(words) < 2 || words[0] != line {
			continue
		}
		for i, w := range words[:len(words)-1] {
			if w == label || label == "" {
				if n, err := strconv.ParseUint(words[i+1], 10, 64); err == nil {
					return n
				}
			}
		}
	}
	r.missing(name, fmt.Errorf("has no %s %s", line, label))
	return Absent
}

// optional is a limit of a control group, Absent where there is none.
func (r *reader) optional(group, name string) uint64 {
	n, err := strconv.ParseUint(strings.TrimSpace(r.text(filepath.Join(group, name))), 10, 64)
	if err != nil { // no such file, or "max"
		return Absent
	}
	return n
}
