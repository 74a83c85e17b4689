package preflight

import "math"

// Facts are the limits of this machine as they were read. A fact that could not
// be read is Absent.
type Facts struct {
	System string // "linux", else nothing below is known

	OpenSoft, OpenHard uint64 // open files of a process; Infinity: no limit
	OpenMost           uint64 // fs.nr_open: what a hard limit can be set to
	FilesUsed          uint64 // open files of the machine
	FilesMost          uint64 // fs.file-max

	PortFirst, PortLast uint64 // net.ipv4.ip_local_port_range
	PortsReserved       uint64 // net.ipv4.ip_local_reserved_ports, how many of that range

	// TrackedMost is the size of the connection tracking table, Absent if the
	// kernel does not track connections; Tracked is how many are in it.
	Tracked, TrackedMost uint64

	Memory       uint64    // bytes that can be used without swapping, within the control group
	PageSize     uint64    // bytes
	TCPPages     uint64    // in use by TCP buffers
	TCPMem       [3]uint64 // net.ipv4.tcp_mem, pages: low, pressure, most
	Backlog      uint64    // net.core.somaxconn
	TasksUsed    uint64    // threads of the machine
	TasksMost    uint64    // the least of the limits on threads
	TasksLimit   string    // which limit that is
	TasksRaise   string    // the command that raises it to %d
	Unreadable   []string  // names of what could not be read, with the reason
	BrokerLimits []BrokerLimit
}

// BrokerLimit is the limit on open files of a broker's process on this machine.
type BrokerLimit struct {
	PID  int
	Open uint64
}

const (
	Absent   = math.MaxUint64 - 1
	Infinity = math.MaxUint64
)
