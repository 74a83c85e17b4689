package log

import (
	"errors"
	"fmt"
)

var (
	// ErrFailed is what every call returns after a write or sync failed, or a
	// record that was acknowledged could not be read; it wraps the first cause.
	// The node must stop (D2).
	ErrFailed = errors.New("the log has failed")
	// ErrClosed is what every call returns after Close.
	ErrClosed = errors.New("the log is closed")
	// ErrOrder refuses entries that do not follow the last one, and ranges from
	// the middle of a group's entries. Nothing was changed.
	ErrOrder = errors.New("out of order")
	// ErrTooLarge refuses entries, keys or values beyond what the format can hold.
	ErrTooLarge = errors.New("too large")
)

// DamageError says that something which was acknowledged cannot be read back.
// Nothing was changed on disk.
type DamageError struct {
	File   string // name within the log's directory
	Offset int64
	Reason string
}

func (e *DamageError) Error() string {
	return fmt.Sprintf("log file %s is damaged at offset %d: %s; this node's copy of its Raft groups cannot be trusted: "+
		"keep the data directory aside, start the node with an empty one, and it is rebuilt from its peers as a new voter",
		e.File, e.Offset, e.Reason)
}
