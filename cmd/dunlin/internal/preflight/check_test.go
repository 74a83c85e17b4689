package preflight

import (
	"strings"
	"testing"
)

// roomy is a machine that carries a million connections.
func roomy() Facts {
	return Facts{
		System: "linux", OpenSoft: 1024, OpenHard: 2_000_000, OpenMost: 2_000_000, FilesUsed: 2000, FilesMost: 5_000_000,
		PortFirst: 32768, PortLast: 60999, PortsReserved: 0, Tracked: Absent, TrackedMost: Absent,
		Memory: 64 << 30, PageSize: 4096, TCPPages: 100, TCPMem: [3]uint64{1_000_000, 2_000_000, 3_000_000},
		Backlog: 4096, TasksUsed: 300, TasksMost: 30_000, TasksLimit: "kernel.pid_max", TasksRaise: "sysctl -w kernel.pid_max=%d",
	}
}

func million() Plan {
	return Plan{
		Connections: 1_000_000, Processes: 1, Files: 1_000_064, PerSource: 13_000, Targets: 1, Local: true,
		AtOnce: 1000, Busy: 100_000, Own: 300,
	}
}

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name    string
		change  func(*Facts, *Plan)
		subject string // of the only finding that is not Enough
		verdict Verdict
		says    []string // parts of its line and its commands
	}{
		{name: "a machine with room", change: func(*Facts, *Plan) {}},
		{"open files", func(f *Facts, p *Plan) { f.OpenHard = 20_000 }, "open files of a process", Short,
			[]string{"at most 20,000", "1,000,064 in 1 process", "ulimit -n 1000064", "LimitNOFILE=1000064", "--processes 51"}},
		{"open files beyond what may be set", func(f *Facts, p *Plan) { f.OpenHard, f.OpenMost = 20_000, 524_288 },
			"open files of a process", Short, []string{"sysctl -w fs.nr_open=1000064"}},
		{"open files of the machine", func(f *Facts, p *Plan) { f.FilesMost = 1_500_000 },
			"open files of the machine", Short, []string{"2,000 of 1,500,000 in use", "sysctl -w fs.file-max="}},
		{"one source address", func(f *Facts, p *Plan) { p.PerSource = 1_000_000 }, "local ports", Short,
			[]string{"28,232, 32768 to 60999", "cannot assign requested address", "--ifaddr with 76 addresses", `ip_local_port_range="1024 65535"`}},
		{"a dear search for ports", func(f *Facts, p *Plan) { p.PerSource = 20_000 }, "local ports", Tight,
			[]string{"beyond 13,269", "ten times"}},
		{"reserved ports", func(f *Facts, p *Plan) { f.PortsReserved = 20_000 }, "local ports", Short, []string{"8,232"}},
		{"a full range is not widened", func(f *Facts, p *Plan) { f.PortFirst, f.PortLast, p.PerSource = 1024, 65535, 70_000 },
			"local ports", Short, []string{"64,512"}},
		{name: "several brokers share a source", change: func(f *Facts, p *Plan) { p.PerSource, p.Targets = 39_000, 3 }},
		{"connection tracking", func(f *Facts, p *Plan) { f.Tracked, f.TrackedMost = 12, 262_144 }, "connection tracking", Short,
			[]string{"12 of 262,144 in use", "drops packets", "nf_conntrack_max=1200"}},
		{name: "connection tracking that tracks nothing", change: func(f *Facts, p *Plan) { f.Tracked, f.TrackedMost = 0, 1000 }},
		{"memory", func(f *Facts, p *Plan) { f.Memory = 4 << 30 }, "memory", Short,
			[]string{"4.0 GiB available", "8.1 GiB", "and the broker's own", "at most 394,"}},
		{"memory, almost", func(f *Facts, p *Plan) { f.Memory = 9 << 30 }, "memory", Tight, nil},
		{"buffers", func(f *Facts, p *Plan) { f.TCPMem[1], f.TCPMem[2] = 150_000, 200_000 }, "buffers of TCP", Short,
			[]string{"200,100 pages", "tcp_mem="}},
		{"buffers of a container", func(f *Facts, p *Plan) { f.TCPMem = [3]uint64{Absent, Absent, Absent} }, "buffers of TCP", Unknown,
			[]string{"container"}},
		{"backlog", func(f *Facts, p *Plan) { f.Backlog = 128 }, "backlog of a listener", Tight,
			[]string{"1,000 that connect at once", "somaxconn=1000"}},
		{"threads", func(f *Facts, p *Plan) {
			f.TasksMost, f.TasksLimit, f.TasksRaise = 310, "pids.max of the control group", "TasksMax=%d"
		}, "threads", Short, []string{"pids.max of the control group", "TasksMax=384"}},
		{"the broker's files", func(f *Facts, p *Plan) { f.BrokerLimits = []BrokerLimit{{PID: 7, Open: 1024}} },
			"open files of the broker, process 7", Short, []string{"1,000,512"}},
		{"no limit", func(f *Facts, p *Plan) { f.OpenHard = Infinity; p.Local = false }, "the broker's machine", Unknown, nil},
		{"unreadable", func(f *Facts, p *Plan) {
			*f = Facts{System: "linux", OpenHard: Absent, FilesMost: Absent, PortFirst: Absent, PortLast: Absent, TrackedMost: Absent,
				Memory: Absent, TCPPages: Absent, TCPMem: [3]uint64{1, 1, 1}, Backlog: Absent, TasksMost: Absent,
				Unreadable: []string{"proc/sys: permission denied"}}
		}, "limits of this machine", Unknown, []string{"permission denied"}},
		{"another system", func(f *Facts, p *Plan) { *f = Facts{System: "plan9"} }, "limits of this machine", Unknown,
			[]string{"not checked", "this is plan9"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, p := roomy(), million()
			c.change(&f, &p)
			var bad []Finding
			for _, one := range Check(f, p) {
				if one.Verdict == Enough {
					continue
				}
				bad = append(bad, one)
			}
			if c.subject == "" {
				if len(bad) > 0 {
					t.Errorf("found %+v", bad)
				}
				return
			}
			if len(bad) != 1 || bad[0].Subject != c.subject || bad[0].Verdict != c.verdict {
				t.Fatalf("found %+v, want %s %s", bad, c.subject, c.verdict)
			}
			text := bad[0].String() + "\n" + strings.Join(bad[0].Change, "\n")
			for _, want := range c.says {
				if !strings.Contains(text, want) {
					t.Errorf("%q is missing in:\n%s", want, text)
				}
			}
		})
	}
}

func TestOpenFiles(t *testing.T) {
	f := roomy()
	f.OpenHard = 4096
	if got := OpenFiles(f, 3000); got.Verdict != Enough {
		t.Errorf("%+v", got)
	}
	if got := OpenFiles(f, 10_000); got.Verdict != Short || !strings.Contains(strings.Join(got.Change, " "), "LimitNOFILE=10512") {
		t.Errorf("%+v", got)
	}
	if got := OpenFiles(Facts{System: "plan9"}, 10_000); got.Verdict != Unknown {
		t.Errorf("%+v", got)
	}
}

func TestWorst(t *testing.T) {
	for _, c := range []struct {
		of   []Verdict
		want Verdict
	}{
		{nil, Enough},
		{[]Verdict{Unknown, Enough}, Enough},
		{[]Verdict{Tight, Unknown}, Tight},
		{[]Verdict{Short, Tight}, Short},
	} {
		var findings []Finding
		for _, v := range c.of {
			findings = append(findings, Finding{Verdict: v})
		}
		if got := Worst(findings); got != c.want {
			t.Errorf("%v: %v, want %v", c.of, got, c.want)
		}
	}
}
