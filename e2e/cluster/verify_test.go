package cluster

import (
	"fmt"
	"strings"
	"testing"

	"dunlin/e2e/harness"
)

// TestVerify: a healthy cluster has nothing to say, idle and while clients come, go,
// subscribe and publish; one of whose nodes is dead says which does not answer.
func TestVerify(t *testing.T) {
	t.Parallel()
	c := start(t, harness.Options{Nodes: 3})
	verify := func() (code int, stdout, stderr string) {
		return harness.Dunlin(t, "cluster", "verify", "--data-dir", c.Nodes[0].Dir)
	}
	quiet := func(when string) {
		t.Helper()
		if code, stdout, stderr := verify(); code != 0 || stdout != "" || stderr != "" {
			t.Errorf("%s: exit code %d: %s%s", when, code, stdout, stderr)
		}
	}
	quiet("empty")
	for i, n := range c.Nodes {
		keeps := connect(t, c.Nodes[i:], keeping(fmt.Sprintf("keeps-%d", i)))
		keeps.Subscribe(fmt.Sprintf("v/%d", i), 1)
		keeps.Subscribe(fmt.Sprintf("v/%d/#", i), 2)
		keeps.Subscribe("$share/g/v/s/#", 1)
		passing := client(t, n, fmt.Sprintf("passes-%d", i))
		passing.Subscribe("v/#", 1)
		passing.Subscribe(fmt.Sprintf("v/%d", i), 0)
		passing.Subscribe("$share/h/v/t", 1)
	}
	quiet("with clients")

	pub := newPublisher(t, "pub", c.Nodes...)
	done := make(chan string)
	go func() {
		code, stdout, stderr := verify()
		done <- fmt.Sprint(code, stdout, stderr)
	}()
	for i, said := 0, ""; said == ""; i++ {
		select {
		case said = <-done:
			if !strings.HasPrefix(said, "0") || strings.Contains(said, "dunlin: ") {
				t.Errorf("while clients publish: %s", said)
			}
		default:
			pub.publish(fmt.Sprint("v/", i%3), "x", 1, nil)
			guest := connect(t, c.Nodes[i%3:], keeping(fmt.Sprint("guest-", i%7)))
			guest.Subscribe(fmt.Sprint("v/guest/", i%5), 1)
			guest.Disconnect()
		}
	}

	c.Nodes[2].Kill()
	code, stdout, stderr := verify()
	if code != 1 || strings.Count(stdout, "node n3: it does not answer") != 1 || strings.Count(stdout, "\n") != 1 || !strings.Contains(stderr, "does not agree") {
		t.Errorf("a node is dead: exit code %d: %s%s", code, stdout, stderr)
	}
}
