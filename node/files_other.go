//go:build !linux

package node

// openFiles is how many descriptors the process may have, 0 if that cannot be known.
func openFiles() uint64 { return 0 }

// growFiles has nothing to grow.
func growFiles() {}
