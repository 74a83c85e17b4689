package harness

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Options say what Start starts. The zero value is one node with no more than
// the addresses it needs.
type Options struct {
	Nodes  int      // default 1
	Args   []string // further arguments of dunlin serve
	Config string   // YAML, for --config
	Links  bool     // put a Link before each cluster port
	// Place says where node i, counted from 0, is to live; nil: each on a loopback
	// address and in a directory of its own.
	Place func(i int) Place
}

// Place is where a node lives.
type Place struct {
	Host   string   // IP address
	Dir    string   // data directory; "": one of the test's
	Within []string // beginning of the command that runs the node
	Args   []string // further arguments of this node's dunlin serve
}

// Cluster is a number of nodes that know of one another.
type Cluster struct {
	Nodes []*Node
	t     testing.TB
}

// Start starts a cluster and waits until all nodes are ready.
func Start(t testing.TB, o Options) *Cluster {
	t.Helper()
	c := Lay(t, o)
	for _, n := range c.Nodes {
		n.Start()
	}
	c.WaitReady()
	return c
}

// Lay lays a cluster out and starts nothing. Each node is told of all and
// expects all, so that they may be started in any order.
func Lay(t testing.TB, o Options) *Cluster {
	t.Helper()
	c := &Cluster{t: t}
	var gossip []string
	for i := range max(o.Nodes, 1) {
		var at Place
		if o.Place != nil {
			at = o.Place(i)
		} else {
			at.Host = host(t)
		}
		n := newNode(t, fmt.Sprintf("n%d", i+1), at, o)
		c.Nodes = append(c.Nodes, n)
		gossip = append(gossip, n.gossip())
	}
	if len(c.Nodes) > 1 {
		for _, n := range c.Nodes {
			n.args = append(n.args, "--join", strings.Join(gossip, ","), "--bootstrap-expect", strconv.Itoa(len(c.Nodes)))
		}
	}
	return c
}

// WaitReady waits until every running node is ready.
func (c *Cluster) WaitReady() {
	c.t.Helper()
	for _, n := range c.Nodes {
		if n.Running() {
			n.WaitReady()
		}
	}
}

// Eventually polls f until it returns nil and fails the test when that does not
// happen.
func Eventually(t testing.TB, what string, f func() error) {
	t.Helper()
	end := time.Now().Add(deadline)
	for pause := time.Millisecond; ; pause = min(pause*2, 50*time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("not so after %v: %s: %v", deadline, what, err)
		}
		time.Sleep(pause)
	}
}
