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
	TLS    bool     // listen for TLS too, of which Config has the certificates
	WS     bool     // listen for WebSockets too, and with TLS for those over TLS
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
	Disk   int      // bytes of a disk that is this process's alone, at Dir; 0: none
	Args   []string // further arguments of this node's dunlin serve
	// HTTP is the address of the API, if it is one at which the harness cannot ask, for
	// want of TLS or a token: it asks at admin.sock then.
	HTTP string
}

// Cluster is a number of nodes that know of one another.
type Cluster struct {
	Nodes   []*Node
	t       testing.TB
	options Options
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
	c := &Cluster{t: t, options: o}
	for i := range max(o.Nodes, 1) {
		c.Nodes = append(c.Nodes, c.newNode(i))
	}
	if len(c.Nodes) > 1 {
		for _, n := range c.Nodes {
			n.args = append(n.args, "--join", c.gossip(), "--bootstrap-expect", strconv.Itoa(len(c.Nodes)))
		}
	}
	return c
}

// Grow lays out so many further nodes, which join those that are there and form
// nothing, and starts none.
func (c *Cluster) Grow(more int) (grown []*Node) {
	c.t.Helper()
	join := c.gossip()
	for range more {
		n := c.newNode(len(c.Nodes))
		n.args = append(n.args, "--join", join)
		c.Nodes = append(c.Nodes, n)
		grown = append(grown, n)
	}
	return grown
}

// newNode lays out node i, which is told of nobody yet.
func (c *Cluster) newNode(i int) *Node {
	c.t.Helper()
	var at Place
	if c.options.Place != nil {
		at = c.options.Place(i)
	} else {
		at.Host = host(c.t)
	}
	return newNode(c.t, fmt.Sprintf("n%d", i+1), at, c.options)
}

// gossip is the gossip addresses of all nodes, as --join takes them.
func (c *Cluster) gossip() string {
	var all []string
	for _, n := range c.Nodes {
		all = append(all, n.gossip())
	}
	return strings.Join(all, ",")
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
	Within(t, deadline, what, f)
}

// Within is Eventually for what may take longer, or has to be sooner.
func Within(t testing.TB, limit time.Duration, what string, f func() error) {
	t.Helper()
	end := time.Now().Add(limit)
	for pause := time.Millisecond; ; pause = min(pause*2, 50*time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("not so after %v: %s: %v", limit, what, err)
		}
		time.Sleep(pause)
	}
}
