package cluster

import (
	"os"
	"strings"
	"testing"

	"dunlin/e2e/harness"
)

// TestCopiedData: a node that is started with a copy of a running one's data ends
// with a line that says so, and the other serves on: two voters are never one (D5).
func TestCopiedData(t *testing.T) {
	c := start(t, harness.Options{Nodes: 3})
	n := c.Nodes[2]
	n.Stop()
	x := c.Grow(1)[0]
	if err := os.CopyFS(x.Dir, os.DirFS(n.Dir)); err != nil {
		t.Fatal(err)
	}
	n.Restart()
	x.Start()
	if code := x.WaitEnded(); code != 1 {
		t.Errorf("exit code %d", code)
	}
	if !strings.Contains(x.Log(), "a copy of this data directory") {
		t.Errorf("it does not say why:\n%s", x.Log())
	}
	if err := n.Ready(); err != nil {
		t.Errorf("the other is disturbed: %v", err)
	}
}
