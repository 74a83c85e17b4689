//go:build !invariants

package listen

// invariants turns on the costly checks, has lent buffers overwritten after use,
// and lets a Handler's panic through.
const invariants = false
