// Package fault breaks what a node stands on: its disk, by strace or by taking
// the power of a file system on a loop mount, and its wall clock, by a build of
// its own. Each says plainly when a machine does not allow it.
package fault

import "errors"

// ErrUnavailable says that this machine cannot inject the fault; what wraps it
// says why.
var ErrUnavailable = errors.New("fault cannot be injected here")
