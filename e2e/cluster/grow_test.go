package cluster

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"dunlin/e2e/harness"
)

// TestGrowAndShrink: three nodes become five and three again, while a publisher
// publishes all the time and sessions wait, connected or not. At five each shard is
// kept by five, so that two nodes may die; leaders are moved by command. Nothing
// that was acknowledged is lost, and in the end all nodes agree.
func TestGrowAndShrink(t *testing.T) {
	t.Parallel()
	c := start(t, harness.Options{Nodes: 3})
	c.NeedReplicas()
	three := slices.Clone(c.Nodes)
	away := connect(t, three, keeping("away"))
	away.Subscribe("g", 2)
	away.Disconnect()
	sub := connect(t, three, keeping("sub"))
	sub.Subscribe("g", 1)
	pub := newPublisher(t, "pub", three...)
	sent := 0
	// while publishes until done says that there is no more to wait for.
	while := func(what string, done func() error) {
		t.Helper()
		for end := time.Now().Add(2 * time.Minute); ; {
			for range 10 {
				payload, q := numbered(sent)
				pub.publish("g", payload, q, nil)
				sub.ExpectMessage("g", payload)
				sent++
			}
			err := done()
			if err == nil {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%s: %v", what, err)
			}
		}
	}
	for _, n := range c.Grow(2) {
		n.Start()
	}
	while("all five are ready", func() error {
		for _, n := range c.Nodes {
			if err := n.Ready(); err != nil {
				return err
			}
		}
		return nil
	})
	if out := cluster(t, three[0], "replicas", "5"); !strings.Contains(out, "replicas wanted of each shard: 5") {
		t.Error(out)
	}
	while("each shard is on five nodes", func() error { return c.Whole(5) })
	leader := c.Leader(0)
	to := c.Nodes[(slices.Index(c.Nodes, leader)+1)%5]
	while("the shard is led by another node", func() error {
		// Balance may be moving it just then, and is free to move it on.
		if code, _, said := harness.Dunlin(t, "cluster", "transfer", "0", to.Name, "--data-dir", three[1].Dir); code != 0 {
			return errors.New(said)
		}
		return nil
	})
	cluster(t, three[0], "rebalance")
	while("every node leads", func() error {
		leads := map[string]bool{}
		for line := range strings.Lines(cluster(t, three[0], "status", "--groups")) {
			leads[strings.Fields(line)[1]] = true
		}
		for _, n := range c.Nodes {
			if !leads[n.Name] {
				return fmt.Errorf("%s leads nothing", n.Name)
			}
		}
		return nil
	})
	cluster(t, three[0], "verify")

	cluster(t, three[0], "replicas", "3")
	for _, n := range c.Nodes[3:] {
		cluster(t, three[0], "remove", n.Name)
		while(n.Name+" has left", func() error {
			if out := cluster(t, three[0], "status", "-o", "json"); strings.Contains(out, strconv.Quote(n.Name)) {
				return fmt.Errorf("it is there")
			}
			return nil
		})
		n.Stop()
	}
	c.Nodes = three
	while("each shard is on the three", func() error { return c.Whole(3) })
	cluster(t, three[0], "verify")
	back := &reader{t: t, conn: resume(t, three, keeping("away")), open: map[uint16]bool{}}
	back.until(sent)
	for _, finding := range checkOnce(numberedTo(sent), back.got, atLeastOnce) {
		t.Error(finding)
	}
	t.Logf("%d messages", sent)
}
