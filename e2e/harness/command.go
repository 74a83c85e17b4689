package harness

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Dunlin runs the program with these arguments until it ends, and returns what it
// wrote and its exit code. It may be called from any goroutine.
func Dunlin(t testing.TB, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return runDunlin(t, nil, nil, args)
}

// DunlinGiven is Dunlin with something on its standard input.
func DunlinGiven(t testing.TB, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return runDunlin(t, strings.NewReader(stdin), nil, args)
}

// DunlinUntil is Dunlin, which interrupts the program when stop is closed.
func DunlinUntil(t testing.TB, stop <-chan struct{}, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return runDunlin(t, nil, stop, args)
}

func runDunlin(t testing.TB, stdin io.Reader, stop <-chan struct{}, args []string) (code int, stdout, stderr string) {
	t.Helper()
	cmd := exec.Command(Binary(t), args...)
	cmd.Env, cmd.Stdin = environment(), stdin
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := spawn(cmd); err != nil {
		t.Errorf("harness: dunlin %v: %v", args, err)
		return -1, "", ""
	}
	ended := make(chan struct{})
	go func() {
		select {
		case <-stop:
			_ = cmd.Process.Signal(os.Interrupt) // it may have ended meanwhile
		case <-ended:
		}
	}()
	_ = cmd.Wait() // the exit code has it
	close(ended)
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}
