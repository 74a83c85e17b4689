package log

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// syncData spares the journal the modification time.
func syncData(f *os.File) error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if err == unix.EINTR {
			continue
		}
		return os.NewSyscallError("fdatasync "+f.Name(), err)
	}
}

// lock fails if another process holds the directory.
func lock(dir *os.File) error {
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("lock %s, which another process may be using: %w", dir.Name(), err)
	}
	return nil
}
