package harness

import (
	"bytes"
	"os/exec"
	"testing"
)

// Dunlin runs the program with these arguments until it ends, and returns what it
// wrote and its exit code. It may be called from any goroutine.
func Dunlin(t testing.TB, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	cmd := exec.Command(Binary(t), args...)
	cmd.Env = environment()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := spawn(cmd); err != nil {
		t.Errorf("harness: dunlin %v: %v", args, err)
		return -1, "", ""
	}
	_ = cmd.Wait() // the exit code has it
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}
