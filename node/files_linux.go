package node

import "golang.org/x/sys/unix"

// openFiles is how many descriptors the process may have, 0 if that cannot be known.
func openFiles() uint64 {
	var l unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &l) != nil {
		return 0
	}
	return l.Cur
}

// readyFiles is the number of descriptors that growFiles makes room for.
const readyFiles = 1 << 16

// growFiles makes the kernel's table of descriptors, which are 8 bytes each, long enough
// for most nodes. It would double it whenever it is full, and have the event loop that asked
// for one descriptor more, and the others soon after, stand still until each processor has
// come by: for up to 20 ms, eight times in the first storm of clients. If it cannot be done
// it was not needed.
func growFiles() {
	n := min(openFiles(), readyFiles)
	if n == 0 {
		return
	}
	low, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return
	}
	defer unix.Close(low)
	if high, err := unix.FcntlInt(uintptr(low), unix.F_DUPFD_CLOEXEC, int(n-1)); err == nil {
		unix.Close(high)
	}
}
