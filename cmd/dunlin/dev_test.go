package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestLayout(t *testing.T) {
	d := dev{nodes: 3, offset: 100, dataDir: "/d", file: "f.yaml"}
	nodes, err := d.layout()
	if err != nil {
		t.Fatal(err)
	}
	want := devNode{"n2", "/d/n2", "127.0.0.1:1984", "127.0.0.1:8184", "127.0.0.1:18184", "127.0.0.1:8056", "127.0.0.1:8057"}
	if nodes[1] != want {
		t.Errorf("%+v", nodes[1])
	}
	got := strings.Join(d.args(nodes[1], nodes, []string{"--loops", "1"}), " ")
	if want := "serve --node-name n2 --data-dir /d/n2 --mqtt-addr 127.0.0.1:1984 --ws-addr 127.0.0.1:8184 --http-addr 127.0.0.1:18184 " +
		"--gossip-addr 127.0.0.1:8056 --cluster-addr 127.0.0.1:8057 --join 127.0.0.1:8046,127.0.0.1:8066 " +
		"--bootstrap-expect 3 --config f.yaml --loops 1"; got != want {
		t.Errorf("\ngot  %s\nwant %s", got, want)
	}
}

func TestPrefixer(t *testing.T) {
	var b bytes.Buffer
	p := newPrefixer(&b, []devNode{{name: "n1"}, {name: "n10"}})
	one, ten := p.writer("n1"), p.writer("n10")
	io.WriteString(one, "begun ")
	io.WriteString(ten, "whole\n")
	io.WriteString(one, "and ended\nnext\nrest")
	if want := "n10 | whole\nn1  | begun and ended\nn1  | next\n"; b.String() != want {
		t.Errorf("%q", b.String())
	}
	b.Reset()
	io.WriteString(ten, strings.Repeat("x", maxLine+5)+"\n")
	if n := strings.Count(b.String(), "\n"); n != 2 {
		t.Errorf("a line without end became %d", n)
	}
}

// startDev runs dunlin dev as a process, on ports that are free, and returns it
// with what it prints.
func startDev(t *testing.T, nodes int, more ...string) (*exec.Cmd, *bufio.Reader, []devNode) {
	t.Helper()
	d := dev{nodes: nodes}
	var all []devNode
	for tries := 0; ; tries++ {
		d.offset = 50 + rand.IntN(10_000) // below the ports that the system hands out
		var err error
		if all, err = d.layout(); err != nil {
			t.Fatal(err)
		}
		taken := false
		for _, n := range all {
			taken = taken || n.free() != nil
		}
		if !taken {
			break
		}
		if tries == 100 {
			t.Fatal("no free ports")
		}
	}
	cmd := exec.Command(os.Args[0], append([]string{"dev", "--nodes", strconv.Itoa(nodes), "--base-port-offset", strconv.Itoa(d.offset)}, more...)...)
	cmd.Env = append(os.Environ(), beDunlin+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // in order, so that it removes its data
		cmd.Process.Signal(os.Interrupt)
		late := time.AfterFunc(20*time.Second, func() { cmd.Process.Kill() })
		defer late.Stop()
		io.Copy(io.Discard, out)
		cmd.Wait()
	})
	return cmd, bufio.NewReader(out), all
}

// until reads lines until one holds text, and returns all.
func until(t *testing.T, out *bufio.Reader, text string) string {
	t.Helper()
	var all strings.Builder
	for {
		line, err := out.ReadString('\n')
		all.WriteString(line)
		if err != nil {
			t.Fatalf("no %q in\n%s", text, all.String())
		}
		if strings.Contains(line, text) {
			return all.String()
		}
	}
}

func TestDev(t *testing.T) {
	cmd, out, nodes := startDev(t, 3)
	until(t, out, "3 nodes are ready")
	hello := until(t, out, "Ctrl-C stops")
	for _, n := range nodes {
		if !strings.Contains(hello, n.mqtt) || !strings.Contains(hello, n.ws) || !strings.Contains(hello, n.http) {
			t.Errorf("%s is not in\n%s", n.name, hello)
		}
	}
	cmd.Process.Signal(os.Interrupt)
	rest, _ := io.ReadAll(out)
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, rest)
	}
	for _, n := range nodes {
		if err := n.free(); err != nil {
			t.Error(err)
		}
	}
}

func TestDevTellsWhyANodeDidNotStart(t *testing.T) {
	cmd, out, _ := startDev(t, 2, "--", "--log-format", "xml")
	text, _ := io.ReadAll(out)
	err := cmd.Wait()
	if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(text), `| dunlin: flag: --log-format: "xml" is not allowed`) ||
		!strings.Contains(string(text), "ended before the cluster was ready: exit status 2") {
		t.Errorf("%v\n%s", err, text)
	}
}

// The nodes do not outlive dev, even if it has no time to stop them.
func TestDevTakesItsNodesWithIt(t *testing.T) {
	cmd, out, nodes := startDev(t, 1, "--data-dir", t.TempDir())
	until(t, out, "1 node is ready")
	cmd.Process.Signal(syscall.SIGKILL)
	io.Copy(io.Discard, out)
	cmd.Wait()
	for end := time.Now().Add(30 * time.Second); nodes[0].free() != nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(nodes[0].free())
		}
	}
}

func TestDevReportsANodeThatDies(t *testing.T) {
	cmd, out, nodes := startDev(t, 2)
	until(t, out, "2 nodes are ready")
	pid := childOf(t, cmd.Process.Pid, nodes[1].name)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	until(t, out, "node n2 ended: signal: killed; the others go on")
	cmd.Process.Signal(os.Interrupt)
	io.Copy(io.Discard, out)
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// childOf finds the process that dev runs a node in.
func childOf(t *testing.T, parent int, node string) int {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Skip("left out for want of /proc")
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		_, after, _ := strings.Cut(string(stat), ") ")
		args, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if f := strings.Fields(after); len(f) > 1 && f[1] == strconv.Itoa(parent) && bytes.Contains(args, []byte("\x00"+node+"\x00")) {
			return pid
		}
	}
	t.Fatalf("no process of node %s", node)
	return 0
}
