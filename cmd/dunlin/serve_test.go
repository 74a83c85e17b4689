package main

import (
	"os"
	"syscall"
	"testing"
)

// A SIGHUP that comes before there is a node does not end the program, and is heard when there
// is one.
func TestEarlyHangup(t *testing.T) {
	h := catchHangups()
	defer h.stop()
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if err := self.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	told := make(chan struct{}, 9)
	h.tell(func() { told <- struct{}{} })
	<-told
}
