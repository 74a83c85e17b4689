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
