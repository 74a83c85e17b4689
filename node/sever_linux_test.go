package node

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// severed makes the test's binary the process that is severed.
const severed = "DUNLIN_TEST_SEVERED"

// TestSever: a process that does not end, as one whose threads hang in the kernel,
// still lets go of everybody: its clients and peers see the end of their
// connections, and who comes later finds the port closed (D3).
func TestSever(t *testing.T) {
	if os.Getenv(severed) != "" {
		hangSevered()
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^TestSever$")
	cmd.Env = append(os.Environ(), severed+"=yes")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	var addr string
	lines := bufio.NewReader(out)
	if _, err := fmt.Fscanln(lines, &addr); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := lines.ReadString('\n'); err != nil { // it has severed
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := conn.Read(make([]byte, 1)); err != io.EOF && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the connection has not ended: %v", err)
	}
	if _, err := net.Dial("tcp", addr); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("the port is not closed: %v", err)
	}
}

// hangSevered takes a connection, severs, says so, and stays.
func hangSevered() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(l.Addr())
	if _, err := l.Accept(); err != nil {
		panic(err)
	}
	sever()
	fmt.Println("severed")
	io.Copy(io.Discard, os.Stdin)
}
