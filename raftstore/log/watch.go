package log

import (
	"sync/atomic"
	"time"
)

// watch tells of an operation that lasts too long, while it lasts (D3). One
// goroutine uses it, for one operation at a time.
type watch struct {
	timeout time.Duration
	timer   *time.Timer
	name    atomic.Value // string
}

func newWatch(timeout time.Duration, stalled func(string)) *watch {
	w := &watch{timeout: timeout}
	if timeout > 0 && stalled != nil {
		// Runs on a goroutine of the runtime's, also when this one hangs in the kernel.
		w.timer = time.AfterFunc(timeout, func() { stalled(w.name.Load().(string)) })
		w.timer.Stop()
		w.name.Store("")
	}
	return w
}

// over runs an operation under the watch.
func (w *watch) over(name string, operation func() error) error {
	if w.timer == nil {
		return operation()
	}
	w.name.Store(name)
	w.timer.Reset(w.timeout)
	defer w.timer.Stop()
	return operation()
}
