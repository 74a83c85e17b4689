package preflight

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// TestRead reads a machine made of files.
func TestRead(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"proc/sys/fs/nr_open":                        "1048576\n",
		"proc/sys/fs/file-max":                       "2466183\n",
		"proc/sys/fs/file-nr":                        "1380\t0\t2466183\n",
		"proc/sys/net/ipv4/ip_local_port_range":      "32768\t60999\n",
		"proc/sys/net/ipv4/ip_local_reserved_ports":  "100,32770-32779,60999-61010\n",
		"proc/sys/net/netfilter/nf_conntrack_max":    "262144\n",
		"proc/sys/net/netfilter/nf_conntrack_count":  "17\n",
		"proc/sys/net/ipv4/tcp_mem":                  "287901\t383869\t575802\n",
		"proc/sys/net/core/somaxconn":                "4096\n",
		"proc/sys/kernel/pid_max":                    "32768\n",
		"proc/sys/kernel/threads-max":                "192731\n",
		"proc/loadavg":                               "0.50 0.40 0.30 2/345 6789\n",
		"proc/net/sockstat":                          "sockets: used 541\nTCP: inuse 455 orphan 0 tw 112 alloc 455 mem 124\nUDP: inuse 14 mem 3\n",
		"proc/meminfo":                               "MemTotal:       24684096 kB\nMemAvailable:   8000000 kB\n",
		"proc/self/cgroup":                           "0::/user/job\n",
		"sys/fs/cgroup/user/memory.max":              "4000000000\n",
		"sys/fs/cgroup/user/memory.current":          "1500000000\n",
		"sys/fs/cgroup/user/memory.stat":             "anon 5\ninactive_file 500000000\n",
		"sys/fs/cgroup/user/job/memory.max":          "max\n",
		"sys/fs/cgroup/user/job/pids.max":            "2000\n",
		"sys/fs/cgroup/user/job/pids.current":        "40\n",
		"sys/fs/cgroup/memory/memory.limit_in_bytes": "77\n", // of a kind that this process is not in
		"sys/fs/cgroup/user/job/sub/memory.max":      "1\n",
		"sys/fs/cgroup/user/job/sub/memory.current":  "1\n",
		"sys/fs/cgroup/user/job/memory.current":      "5\n",
		"sys/fs/cgroup/user/job/memory.stat":         "inactive_file 0\n",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r := reader{root: root}
	got := r.facts()
	want := Facts{
		System: "linux", OpenSoft: Absent, OpenHard: Absent, OpenMost: 1048576, FilesUsed: 1380, FilesMost: 2466183,
		PortFirst: 32768, PortLast: 60999, PortsReserved: 11, Tracked: 17, TrackedMost: 262144,
		Memory: 3_000_000_000, PageSize: got.PageSize, TCPPages: 124, TCPMem: [3]uint64{287901, 383869, 575802}, Backlog: 4096,
		TasksUsed: 40, TasksMost: 2000, TasksLimit: "pids.max of the control group", TasksRaise: got.TasksRaise,
	}
	if len(r.unreadable) > 0 {
		t.Errorf("unreadable: %q", r.unreadable)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// TestReadThisMachine: whatever it is, its limits can be read.
func TestReadThisMachine(t *testing.T) {
	f := Read(os.Getpid())
	if f.OpenHard == 0 || f.OpenHard == Absent || len(f.BrokerLimits) != 1 || f.BrokerLimits[0].Open == 0 {
		t.Errorf("%+v", f)
	}
	if got := Check(f, Plan{Connections: 1}); len(got) < 3 {
		t.Errorf("%+v", got)
	}
}
