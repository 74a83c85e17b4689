package log

import (
	"sync"
	"time"
)

// watchSteps is in how many steps a watch counts its timeout. A process that was
// stopped as a whole, or a machine, finds one of them over when it goes on, and the
// disk has all the others to finish.
const watchSteps = 10

// watch tells of an operation that lasts too long, while it lasts (D3). One
// goroutine uses it, for one operation at a time.
type watch struct {
	step    time.Duration
	stalled func(operation string)
	timer   *time.Timer // nil: nobody wants to know

	mu struct {
		sync.Mutex
		operation string // "" for none
		steps     int    // that it has taken
	}
}

func newWatch(timeout time.Duration, stalled func(string)) *watch {
	w := &watch{step: timeout / watchSteps, stalled: stalled}
	if timeout > 0 && stalled != nil {
		// Runs on a goroutine of the runtime's, also when this one hangs in the kernel.
		w.timer = time.AfterFunc(timeout, w.stepped)
		w.timer.Stop()
	}
	return w
}

// over runs an operation under the watch.
func (w *watch) over(name string, operation func() error) error {
	if w.timer == nil {
		return operation()
	}
	w.set(name)
	defer w.set("")
	return operation()
}

func (w *watch) set(operation string) {
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
func (w *watch) stepped() {
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
