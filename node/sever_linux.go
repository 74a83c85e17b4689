package node

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// sever ends every TCP connection of the process and all that listens (D3). They
// end now even if the process does not: one whose threads hang in the kernel keeps
// its descriptors.
//
// It goes by the kernel's descriptors, and asks nobody in the process, where a lock
// or a goroutine may wait for the disk. Unix sockets are left alone, for the log may
// go to one.
func sever() {
	for range 2 { // again for what came in while it went on
		for _, fd := range descriptors() {
			switch domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN); {
			case err != nil: // no socket
			case domain == unix.AF_INET || domain == unix.AF_INET6:
				_ = unix.Shutdown(fd, unix.SHUT_RDWR) // it may have ended by itself
			}
		}
	}
}

// maxDescriptors is as many as a kernel gives a process unless it is told otherwise.
const maxDescriptors = 1 << 20

// descriptors are those that are open, or if the kernel does not tell, for one
// because none is left to ask with, all that may be.
func descriptors() (fds []int) {
	if dir, err := os.Open("/proc/self/fd"); err == nil {
		names, err := dir.Readdirnames(-1)
		_ = dir.Close()
		if err == nil {
			for _, name := range names {
				if fd, err := strconv.Atoi(name); err == nil {
					fds = append(fds, fd)
				}
			}
			return fds
		}
	}
	for fd := range maxDescriptors {
		fds = append(fds, fd)
	}
	return fds
}
