package harness

import (
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// spawner is the thread that starts processes. The kernel sends the death signal
// when the thread that forked ends, so it must be one that stays.
var spawner = sync.OnceValue(func() chan<- func() {
	calls := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range calls {
			f()
		}
	}()
	return calls
})

// spawn starts cmd so that it does not outlive a test process that was killed.
func spawn(cmd *exec.Cmd) (err error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	done := make(chan struct{})
	spawner() <- func() {
		err = cmd.Start()
		close(done)
	}
	<-done
	return err
}
