//go:build linux || darwin

package limit

import (
	"fmt"
	"syscall"
)

// diskSpace is the size of the file system of a directory, and what of it this process may
// still take, in bytes.
func diskSpace(dir string) (size, free int64, err error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, 0, fmt.Errorf("space of %s: %w", dir, err)
	}
	return bytesOf(s.Blocks, s.Bsize), bytesOf(s.Bavail, s.Bsize), nil
}

// bytesOf is the size of so many blocks, whose own is of another type on each system.
func bytesOf[T int32 | int64 | uint32](blocks uint64, size T) int64 {
	return int64(blocks) * int64(size)
}
