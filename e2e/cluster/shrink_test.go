package cluster

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"dunlin/e2e/harness"
)

// TestShrink: nodes are removed by command while a publisher and a session go on at
// the others; then they may be stopped, and nothing is lost.
func TestShrink(t *testing.T) {
	t.Parallel()
	c := start(t, harness.Options{Nodes: 5})
	stay := c.Nodes[2:]
	sub := connect(t, stay, keeping("sub"))
	sub.Subscribe("s", 1)
	pub := newPublisher(t, "pub", stay...)
	sent := 0
	publish := func() {
		for range 10 {
			payload, q := numbered(2 * sent)
			pub.publish("s", payload, q, nil)
			sub.ExpectMessage("s", payload)
			sent++
		}
	}
	publish()
	for _, n := range c.Nodes[:2] {
		left := make(chan error, 1)
		go func() {
			_, err := runCluster(t, stay[0], "remove", n.Name, "--wait", "--timeout", "60s")
			left <- err
		}()
		publish() // while it is emptied, or after: nobody says how long that takes
		if err := <-left; err != nil {
			t.Fatal(err)
		}
		n.Stop()
		publish()
	}
	c.Nodes = stay
	c.WaitAgree(3)
	if out := cluster(t, stay[0], "status"); !strings.Contains(out, "n3 (asked)") {
		t.Errorf("status:\n%s", out)
	}
	if out := cluster(t, stay[0], "status", "-o", "json"); strings.Count(out, `"number"`) != len(stay) {
		t.Errorf("status:\n%s", out)
	}
	stay[0].Kill()
	pub.nodes = stay
	sub = resume(t, stay, keeping("sub"))
	publish()
}

// cluster runs a command of dunlin cluster at a node.
func cluster(t *testing.T, n *harness.Node, args ...string) string {
	t.Helper()
	out, err := runCluster(t, n, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func runCluster(t *testing.T, n *harness.Node, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(harness.Binary(t), append(append([]string{"cluster"}, args...), "--data-dir", n.Dir)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("dunlin cluster %v: %w\n%s", args, err, out)
	}
	return string(out), err
}
