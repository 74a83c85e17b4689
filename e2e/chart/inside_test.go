package chart

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"dunlin/e2e/chaos/client"
	"dunlin/e2e/chaos/history"
	"dunlin/proto/mqtt"
)

// inner is a publisher that runs on a machine of the cluster and stays connected to a
// pod there, whatever becomes of the machine's network: TestInside, in a process of its own.
type inner struct {
	l    *lab
	cmd  *exec.Cmd
	stop io.Closer
	dir  string // of its history
}

const (
	insideDir  = "DUNLIN_INSIDE"
	insideAddr = "DUNLIN_INSIDE_ADDR"
	epochFile  = "epoch"
)

// inside starts one, and waits until something is acknowledged to it.
func (l *lab) inside(machine, pod string) *inner {
	l.t.Helper()
	self, err := os.Executable()
	if err != nil {
		l.t.Fatal(err)
	}
	c := &inner{l: l, dir: l.t.TempDir()}
	c.cmd = exec.Command(l.program, "node-exec", machine, self, "-test.run", "^TestInside$")
	c.cmd.Env = append(os.Environ(), insideDir+"="+c.dir, insideAddr+"="+l.address(pod))
	c.cmd.Stderr = os.Stderr
	if c.stop, err = c.cmd.StdinPipe(); err != nil {
		l.t.Fatal(err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "acknowledged\n" {
		l.t.Fatalf("the publisher on machine %s says %q, %v", machine, line, err)
	}
	return c
}

// end ends it and adds what it saw to the history.
func (c *inner) end() []history.Event {
	c.l.t.Helper()
	c.stop.Close()
	if err := c.cmd.Wait(); err != nil {
		c.l.t.Fatalf("the publisher on a machine: %v", err)
	}
	b, err := os.ReadFile(filepath.Join(c.dir, epochFile))
	if err != nil {
		c.l.t.Fatal(err)
	}
	var epoch int64
	if _, err := fmt.Sscan(string(b), &epoch); err != nil {
		c.l.t.Fatal(err)
	}
	h, err := history.ReadDir(c.dir)
	if err != nil {
		c.l.t.Fatal(err)
	}
	later := time.Unix(0, epoch).Sub(c.l.epoch)
	for k := range h.Events {
		e := &h.Events[k]
		e.Invoke += later
		if e.Return != history.Never {
			e.Return += later
		}
		c.l.rec.Event(*e)
	}
	return h.Events
}

// TestInside publishes until its standard input ends.
func TestInside(t *testing.T) {
	dir := os.Getenv(insideDir)
	if dir == "" {
		t.Skip("it is part of TestChart")
	}
	rec := history.NewRecorder(2)
	if err := os.WriteFile(filepath.Join(dir, epochFile), fmt.Append(nil, time.Now().UnixNano()), 0o600); err != nil {
		t.Fatal(err)
	}
	c := client.New(client.Config{
		ID: "inner", Seed: 2, Nodes: []client.Node{{Name: "pod", Addr: os.Getenv(insideAddr)}}, Expiry: time.Hour,
		Every: 50 * time.Millisecond, QoS: []mqtt.QoS{1, 2}, Topics: []string{"t/inner/0"},
	}, rec)
	acknowledged := func() bool {
		for _, e := range rec.History().Events {
			if e.Op == history.Publish && e.Outcome == history.OK {
				return true
			}
		}
		return false
	}
	await(t, c, "publish", acknowledged)
	fmt.Println("acknowledged")
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		t.Fatal(err)
	}
	c.Mute()
	await(t, c, "settle", c.Settled)
	c.Stop()
	if err := rec.History().Write(dir); err != nil {
		t.Fatal(err)
	}
}
