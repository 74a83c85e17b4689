package listen

import (
	"runtime"
	"sync"
)

// extra is the number of processors that loops have added to the Go scheduler's,
// which are the process's: so is this.
var extra struct {
	sync.Mutex
	n int
}

// addProcessors changes GOMAXPROCS by n. A loop that waits without the scheduler's
// knowledge (epoll.poll) holds a processor of the scheduler while it does not use the
// CPU. Each loop adds one for itself, so that the other goroutines have as many as
// without loops; who gets a CPU is for the kernel to decide, which is fair.
func addProcessors(n int) {
	extra.Lock()
	defer extra.Unlock()
	extra.n += n
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + n)
}

// processors is GOMAXPROCS without what loops have added.
func processors() int {
	extra.Lock()
	defer extra.Unlock()
	return runtime.GOMAXPROCS(0) - extra.n
}
