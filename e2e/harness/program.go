package harness

import (
	"net"
	"os/exec"
	"testing"
	"time"
)

// Program runs a server that is not a node of Dunlin until the end of the test;
// it returns its process when it accepts connections on addr.
func Program(t testing.TB, addr string, cmd *exec.Cmd) (pid int) {
	t.Helper()
	output := new(log)
	cmd.Stdout, cmd.Stderr = output, output
	if err := spawn(cmd); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		cmd.Wait()
		close(exited)
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-exited
		if t.Failed() {
			t.Logf("output of %v:\n%s", cmd, output.tail(50))
		}
	})
	Eventually(t, cmd.Path+" accepts connections", func() error {
		conn, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			conn.Close()
		}
		return err
	})
	return cmd.Process.Pid
}

// Address is host and port for a Program to listen on.
func Address(t testing.TB) string {
	t.Helper()
	return net.JoinHostPort(host(t), mqttPort)
}
