package main

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// family is the child processes of dev. They end with this process, however it
// ends, where the system can do that.
type family struct {
	ended chan ending // has room for every child
	jobs  chan func() // for the goroutine that starts children

	mu struct {
		sync.Mutex
		alive map[string]*os.Process
	}
}

// ending is the end of a child.
type ending struct {
	name string
	err  error
}

func newFamily() *family {
	f := &family{ended: make(chan ending, devMost), jobs: make(chan func())}
	f.mu.alive = make(map[string]*os.Process)
	// Linux sends the signal of a parent's death when the thread that forked
	// ends, so one thread starts all children and stays.
	go func() {
		runtime.LockOSThread()
		for job := range f.jobs {
			job()
		}
	}()
	return f
}

// start runs a child whose output goes to out.
func (f *family) start(name, path string, args []string, out io.Writer) error {
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = childAttr()
	started := make(chan error)
	f.jobs <- func() { started <- cmd.Start() }
	if err := <-started; err != nil {
		return err
	}
	f.mu.Lock()
	f.mu.alive[name] = cmd.Process
	f.mu.Unlock()
	go func() {
		err := cmd.Wait()
		if err == nil {
			err = errors.New("exit status 0")
		}
		f.mu.Lock()
		delete(f.mu.alive, name)
		f.mu.Unlock()
		f.ended <- ending{name, err}
	}()
	return nil
}

// left is the number of children alive.
func (f *family) left() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.mu.alive)
}

func (f *family) signal(s os.Signal) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.mu.alive {
		p.Signal(s)
	}
}

// stop asks all children to end and waits. After grace, or a second signal of
// the user's, it kills them.
func (f *family) stop(signals <-chan os.Signal, grace time.Duration) error {
	f.signal(syscall.SIGTERM)
	over := time.After(grace)
	for f.left() > 0 {
		select {
		case <-f.ended:
		case <-signals:
			f.kill()
			return errors.New("nodes were killed")
		case <-over:
			f.kill()
			return errors.New("nodes did not stop in time and were killed")
		}
	}
	return nil
}

// kill ends all children at once and waits for them.
func (f *family) kill() {
	f.signal(syscall.SIGKILL)
	for f.left() > 0 {
		<-f.ended
	}
}
