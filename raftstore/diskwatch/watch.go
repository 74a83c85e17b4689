// Package diskwatch tells that an operation on a disk takes too long, while it does:
// a store that hangs is a failure (D3).
package diskwatch

import (
	"sync"
	"time"
)

// watchSteps is in how many steps a Watch counts its timeout. A process that was
// stopped as a whole, or a machine, finds one of them over when it goes on, and the
// disk has all the others to finish.
const watchSteps = 10

// Watch tells of an operation that lasts too long, while it lasts. One goroutine
// uses it, for one operation at a time.
type Watch struct {
	step    time.Duration // at least 1 ns
	stalled func(operation string)
	timer   *time.Timer // nil: nobody wants to know

	mu struct {
		sync.Mutex
		operation string // "" for none
		steps     int    // that it has taken
	}
}

// New returns a watch that calls stalled, on a goroutine of its own and once per
// operation, when one has been going on for timeout. It watches nothing if timeout is
// 0 or stalled nil.
func New(timeout time.Duration, stalled func(operation string)) *Watch {
	w := &Watch{step: max(timeout/watchSteps, 1), stalled: stalled}
	if timeout > 0 && stalled != nil {
		// Runs on a goroutine of the runtime's, also when this one hangs in the kernel.
		w.timer = time.AfterFunc(timeout, w.stepped)
		w.timer.Stop()
	}
	return w
}

// Over runs an operation under the watch.
func (w *Watch) Over(name string, operation func() error) error {
	if w.timer == nil {
		return operation()
	}
	w.set(name)
	defer w.set("")
	return operation()
}

func (w *Watch) set(operation string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.operation, w.mu.steps = operation, 0
	if operation == "" {
		w.timer.Stop()
	} else {
		w.timer.Reset(w.step)
	}
}

// stepped counts a step of the operation under way.
func (w *Watch) stepped() {
	w.mu.Lock()
	operation := w.mu.operation
	w.mu.steps++
	stalled := operation != "" && w.mu.steps == watchSteps
	if operation != "" && !stalled {
		w.timer.Reset(w.step)
	}
	w.mu.Unlock()
	if stalled {
		w.stalled(operation)
	}
}
