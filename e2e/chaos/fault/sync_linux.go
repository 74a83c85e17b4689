package fault

import (
	"bufio"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Sync is what happens to the fsyncs of a process.
type Sync struct {
	Delay time.Duration // of each; a long one is a disk that hangs
	Error string        // EIO, ENOSPC, ...: what each returns, if not ""
	From  int           // of each thread's, the first that is hit, from 1; 0: all
}

// inject is strace's word for s.
func (s Sync) inject() string {
	spec := "inject=fsync,fdatasync"
	if s.Error != "" {
		spec += ":error=" + s.Error
	}
	if s.Delay > 0 {
		spec += fmt.Sprintf(":delay_enter=%d", s.Delay.Microseconds())
	}
	if s.From > 0 {
		spec += fmt.Sprintf(":when=%d+", s.From)
	}
	return spec
}

// Attach applies s to every thread of a running process until stop is called. It
// returns when strace has hold of the process.
func (s Sync) Attach(pid int) (stop func(), err error) {
	path, err := exec.LookPath("strace")
	if err != nil {
		return nil, fmt.Errorf("fault: %w: no strace (Debian package strace)", ErrUnavailable)
	}
	cmd := exec.Command(path, "-f", "-e", "trace=fsync,fdatasync", "-e", s.inject(), "-p", fmt.Sprint(pid))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	said, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(said)
	var first string
	for lines.Scan() {
		if first = lines.Text(); strings.Contains(first, "attached") {
			break
		}
	}
	if !strings.Contains(first, "attached") {
		cmd.Wait()
		return nil, fmt.Errorf("fault: %w: strace: %s", ErrUnavailable, first)
	}
	done := make(chan struct{})
	go func() {
		for lines.Scan() { // it must not wait for us to read
		}
		cmd.Wait()
		close(done)
	}()
	return sync.OnceFunc(func() {
		cmd.Process.Signal(syscall.SIGINT) // it lets the process go
		select {
		case <-done:
		case <-time.After(time.Second): // of a process that has ended meanwhile but for a thread that it holds it does not
			cmd.Process.Kill()
			<-done
		}
	}), nil
}
