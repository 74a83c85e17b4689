package preflight

import (
	"fmt"

	"dunlin/cmd/dunlin/internal/figure"
)

// Check compares the facts with the plan, one finding for each limit, in the order
// in which people run into them.
func Check(f Facts, p Plan) []Finding {
	if f.System != "linux" {
		return []Finding{{
			Subject: "limits of this machine", Verdict: Unknown, Found: "not checked",
			Why: "it is known how to read them on Linux only; this is " + f.System,
		}}
	}
	p = p.normal()
	found := []Finding{
		f.openFiles(p), f.machineFiles(p), f.portRange(p), f.tracking(p), f.memory(p), f.tcpMemory(p),
	}
	if p.Local {
		found = append(found, f.backlog(p))
	}
	found = append(found, f.tasks(p))
	if !p.Local {
		found = append(found, Finding{
			Subject: "the broker's machine", Verdict: Unknown, Found: "not seen from here",
			Why: "its open files, backlog (net.core.somaxconn), connection tracking and memory have to hold as many connections",
		})
	}
	for _, b := range f.BrokerLimits {
		found = append(found, b.check(p))
	}
	for _, what := range f.Unreadable {
		found = append(found, Finding{Subject: "limits of this machine", Verdict: Unknown, Found: "cannot be read", Why: what})
	}
	kept := found[:0]
	for _, one := range found {
		if one.Subject != "" { // not read, which Unreadable has told
			kept = append(kept, one)
		}
	}
	return kept
}

func (f Facts) openFiles(p Plan) Finding {
	if f.OpenHard == Absent {
		return Finding{}
	}
	need := uint64(p.Files)
	found := Finding{
		Subject: "open files of a process", Verdict: verdict(need, f.OpenHard, f.OpenHard),
		Found:  "at most " + limit(f.OpenHard),
		Needed: fmt.Sprintf("%s in %s", figure.Count(need), several(p.Processes, "process", "processes")),
	}
	if f.OpenSoft < f.OpenHard {
		found.Found += fmt.Sprintf(" (soft limit %s, raised at the start)", limit(f.OpenSoft))
	}
	if found.Verdict == Enough {
		return found
	}
	found.Why = "the rest cannot be opened"
	found.Change = append(raiseOpenFiles(need, f.OpenMost),
		fmt.Sprintf("--processes %d, which shares the connections among so many", f.processes(p.Connections)))
	return found
}

// raiseOpenFiles is how a process comes to so many open files.
func raiseOpenFiles(need, most uint64) []string {
	first := ""
	if most != Absent && need > most {
		first = fmt.Sprintf("sysctl -w fs.nr_open=%d, then ", need)
	}
	return []string{
		fmt.Sprintf("%sulimit -n %d, as root in the shell that starts it", first, need),
		fmt.Sprintf("%sLimitNOFILE=%d in the [Service] section, under systemd", first, need),
	}
}

// OpenFiles compares the limit on open files of this process with the connections
// that a server is to take.
func OpenFiles(f Facts, connections int) Finding {
	if f.System != "linux" || f.OpenHard == Absent {
		return Finding{Subject: "open files", Verdict: Unknown, Found: "not checked"}
	}
	// What a node needs beside clients: peers, log and snapshot files, HTTP.
	const beside = 512
	need := uint64(connections) + beside
	found := Finding{
		Subject: "open files", Verdict: verdict(need, f.OpenHard, f.OpenHard), Found: "at most " + limit(f.OpenHard),
		Needed: fmt.Sprintf("%s for %s connections", figure.Count(need), figure.Count(connections)),
	}
	if found.Verdict != Enough {
		found.Why = "connections beyond it are closed at once"
		found.Change = raiseOpenFiles(need, f.OpenMost)
	}
	return found
}

func (f Facts) machineFiles(p Plan) Finding {
	if f.FilesMost == Absent || f.FilesUsed == Absent {
		return Finding{}
	}
	need := f.FilesUsed + uint64(p.Connections)*p.ends() + spare*uint64(p.Processes)
	found := Finding{
		Subject: "open files of the machine", Verdict: verdict(need, f.FilesMost/10*9, f.FilesMost),
		Found:  fmt.Sprintf("%s of %s in use", figure.Count(f.FilesUsed), limit(f.FilesMost)),
		Needed: figure.Count(need),
	}
	if found.Verdict != Enough {
		found.Why = "every process of the machine is refused files then"
		found.Change = []string{fmt.Sprintf("sysctl -w fs.file-max=%d", need/10*12)}
	}
	return found
}

func (f Facts) portRange(p Plan) Finding {
	if f.PortFirst == Absent || f.PortLast == Absent {
		return Finding{}
	}
	ports, cheap := f.ports(), f.cheapPorts()
	need := each(p.PerSource, p.Targets)
	found := Finding{
		Subject: "local ports", Verdict: verdict(need, cheap, ports),
		Found:  fmt.Sprintf("%s, %d to %d", figure.Count(ports), f.PortFirst, f.PortLast),
		Needed: fmt.Sprintf("%s from one source address to one broker address", figure.Count(need)),
	}
	if found.Verdict == Enough {
		return found
	}
	sources := each(p.Connections, max(1, int(cheap))*p.Targets)
	found.Why = fmt.Sprintf("beyond %s the kernel's search for a free port costs ten times as much", figure.Count(cheap))
	if found.Verdict == Short {
		found.Why = "connections beyond it fail: cannot assign requested address"
	}
	found.Change = []string{fmt.Sprintf(
		"--ifaddr with %d addresses of this machine; 127.0.0.0/8 has enough for a broker on loopback, ip address add 192.0.2.7/24 dev eth0 makes others", sources)}
	if ports < 60_000 {
		found.Change = append(found.Change, `sysctl -w net.ipv4.ip_local_port_range="1024 65535"`)
	}
	return found
}

func (f Facts) tracking(p Plan) Finding {
	found := Finding{Subject: "connection tracking", Verdict: Enough}
	switch {
	case f.TrackedMost == Absent:
		found.Found = "not loaded"
		return found
	case f.Tracked == 0:
		found.Found = fmt.Sprintf("loaded with room for %s, and tracks nothing", figure.Count(f.TrackedMost))
		return found
	}
	need := f.Tracked + uint64(p.Connections)
	found.Verdict = verdict(need, f.TrackedMost/10*9, f.TrackedMost)
	found.Found = fmt.Sprintf("%s of %s in use", figure.Count(f.Tracked), figure.Count(f.TrackedMost))
	found.Needed = figure.Count(need)
	if found.Verdict != Enough {
		found.Why = "a full table drops packets, which looks like a broker that does not answer"
		found.Change = []string{fmt.Sprintf("sysctl -w net.netfilter.nf_conntrack_max=%d", need/10*12)}
	}
	return found
}

func (f Facts) memory(p Plan) Finding {
	if f.Memory == Absent {
		return Finding{}
	}
	need := uint64(p.Connections) * (kernelSocket*p.ends() + uint64(p.Own))
	found := Finding{
		Subject: "memory", Verdict: verdict(need, f.Memory/10*8, f.Memory),
		Found:  figure.Bytes(f.Memory) + " available",
		Needed: fmt.Sprintf("%s for sockets and the load tester", figure.Bytes(need)),
	}
	if p.Local {
		found.Needed += ", and the broker's own"
	}
	if found.Verdict != Enough {
		found.Why = "a machine that swaps measures its disk, and one out of memory ends a process"
		found.Change = []string{fmt.Sprintf("at most %s connections from this machine; the others from another",
			figure.Count(f.Memory/10*8/(kernelSocket*p.ends()+uint64(p.Own))))}
	}
	return found
}

func (f Facts) tcpMemory(p Plan) Finding {
	if f.TCPMem[2] == Absent {
		return Finding{
			Subject: "buffers of TCP", Verdict: Unknown, Found: "not seen from here",
			Why: "net.ipv4.tcp_mem is of the machine, and hidden from a container with a network of its own",
		}
	}
	if f.PageSize == 0 || f.TCPPages == Absent {
		return Finding{}
	}
	need := f.TCPPages + uint64(p.Busy)*p.ends()
	found := Finding{
		Subject: "buffers of TCP", Verdict: verdict(need, f.TCPMem[1], f.TCPMem[2]),
		Found: fmt.Sprintf("%s of %s pages in use, %s", figure.Count(f.TCPPages), figure.Count(f.TCPMem[2]),
			figure.Bytes(f.TCPMem[2]*f.PageSize)),
		Needed: fmt.Sprintf("%s pages with %s messages under way", figure.Count(need), figure.Count(p.Busy)),
	}
	if found.Verdict != Enough {
		found.Why = "the kernel shrinks windows and drops segments, and latency is that of retransmission"
		found.Change = []string{fmt.Sprintf(`sysctl -w net.ipv4.tcp_mem="%d %d %d"`, need, need/10*12, need/10*15)}
	}
	return found
}

func (f Facts) backlog(p Plan) Finding {
	if f.Backlog == Absent {
		return Finding{}
	}
	need := each(p.AtOnce, p.Targets)
	found := Finding{
		Subject: "backlog of a listener", Verdict: verdict(need, f.Backlog, Infinity),
		Found:  figure.Count(f.Backlog),
		Needed: figure.Count(need) + " that connect at once",
	}
	if found.Verdict != Enough {
		found.Why = "those that find it full try again after a second, then after three: connect times show that"
		found.Change = []string{fmt.Sprintf("sysctl -w net.core.somaxconn=%d net.ipv4.tcp_max_syn_backlog=%[1]d, then restart the broker", need)}
	}
	return found
}

func (f Facts) tasks(p Plan) Finding {
	if f.TasksMost == Absent || f.TasksUsed == Absent {
		return Finding{}
	}
	need := f.TasksUsed + threads*uint64(p.Processes)
	found := Finding{
		Subject: "threads", Verdict: verdict(need, f.TasksMost/10*9, f.TasksMost),
		Found:  fmt.Sprintf("%s of %s in use (%s)", figure.Count(f.TasksUsed), limit(f.TasksMost), f.TasksLimit),
		Needed: fmt.Sprintf("%s with %s", figure.Count(need), several(p.Processes, "process", "processes")),
	}
	if found.Verdict != Enough {
		found.Why = "a process that gets no thread ends"
		found.Change = []string{fmt.Sprintf(f.TasksRaise, need/10*12)}
	}
	return found
}

func (b BrokerLimit) check(p Plan) Finding {
	need := each(p.Connections, p.Targets) + 512
	found := Finding{
		Subject: fmt.Sprintf("open files of the broker, process %d", b.PID), Verdict: verdict(need, b.Open, b.Open),
		Found:  "at most " + limit(b.Open),
		Needed: fmt.Sprintf("%s for its part of the connections", figure.Count(need)),
	}
	if found.Verdict != Enough {
		found.Why = "it will not accept the rest"
		found.Change = raiseOpenFiles(need, Absent)
	}
	return found
}

func limit(n uint64) string {
	if n == Infinity {
		return "no limit"
	}
	return figure.Count(n)
}

func several(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return figure.Count(n) + " " + more
}
