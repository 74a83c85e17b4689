package conformance

import (
	"testing"

	"dunlin/e2e/harness"
)

// places are the nodes that the clients of a test connect to: one and the same,
// or three, where it has to make no difference.
type places struct {
	sub   *harness.Node // subscribers, and whoever is alone
	pub   *harness.Node // publishers
	again *harness.Node // those who come back
}

// spread runs a test on a cluster of one node and on one of three.
func spread(t *testing.T, o harness.Options, test func(t *testing.T, at places)) {
	t.Run("one node", func(t *testing.T) {
		t.Parallel()
		n := harness.Start(t, o).Nodes[0]
		test(t, places{n, n, n})
	})
	t.Run("three nodes", func(t *testing.T) {
		t.Parallel()
		o.Nodes = 3
		c := harness.Start(t, o)
		c.NeedReplicas()
		test(t, places{sub: c.Nodes[0], pub: c.Nodes[1], again: c.Nodes[2]})
	})
}
