package preflight

// Plan is what is going to be asked of this machine.
type Plan struct {
	Connections int // that this machine opens, in all
	Processes   int // that open them
	Files       int // open files of the fullest process
	PerSource   int // connections from the source address with the most
	Targets     int // addresses and ports that they go to, in turn; 0: 1
	// Local says that the brokers run on this machine, so that both ends of every
	// connection count.
	Local  bool
	AtOnce int // connects under way at a time, at most
	Busy   int // connections with a message under way at a time, at most
	// Own is the memory of the process that opens a connection, in bytes for each.
	Own int
}

// spare is the open files of a process beside its connections: the runtime's, the
// output's, the event loops' and the pipes between processes.
const spare = 64

// kernelSocket is what the kernel holds for one end of an idle connection that has
// exchanged a packet, in bytes: socket, inode, directory entry, file and its place
// in an epoll set (4,147 on Linux 6.18).
const kernelSocket = 4200

// threads is how many threads a process of the load tester has, generously.
const threads = 24

func (p Plan) normal() Plan {
	p.Processes, p.Targets = max(p.Processes, 1), max(p.Targets, 1)
	if p.Files == 0 {
		p.Files = int(each(p.Connections, p.Processes)) + spare
	}
	if p.PerSource == 0 {
		p.PerSource = p.Connections
	}
	return p
}

// ends is how many sockets of a connection are on this machine.
func (p Plan) ends() uint64 {
	if p.Local {
		return 2
	}
	return 1
}

// each is n shared by parts, rounded up.
func each(n, parts int) uint64 { return uint64((n + parts - 1) / parts) }

// processes is how many processes it takes to open so many connections under the
// limit on open files.
func (f Facts) processes(connections int) int {
	if f.OpenHard <= 2*spare || f.OpenHard >= Absent {
		return 1
	}
	return max(1, int(each(connections, int(f.OpenHard-spare))))
}

// ports is how many local ports connect(2) chooses from.
func (f Facts) ports() uint64 {
	if f.PortLast < f.PortFirst {
		return 0
	}
	n := f.PortLast - f.PortFirst + 1
	if f.PortsReserved != Absent {
		n -= min(n, f.PortsReserved)
	}
	return n
}

// cheapPorts is how many of them it finds at once. It first tries one port of every
// two: from half of the range on it walks that half in vain before it looks at the
// other, and costs ten times as much. Of the usual 28,232 ports that is 13,000.
func (f Facts) cheapPorts() uint64 { return f.ports() * 47 / 100 }
