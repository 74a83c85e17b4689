package cluster

import (
	"fmt"
	"os"
	"testing"

	"dunlin/e2e/harness"
)

// TestForeignData: a node that is started with the data of another cluster, whose
// shards have seen more elections, and is told to join this one changes nothing
// here: sessions are subscribed and routed to as before (P4).
func TestForeignData(t *testing.T) {
	t.Parallel()
	other := harness.Start(t, harness.Options{Nodes: 1}).Nodes[0]
	for range 8 { // elections: each start has one
		other.Kill()
		other.Restart()
	}
	other.Stop()

	c := start(t, harness.Options{Nodes: 3})
	three := c.Nodes
	before := connect(t, three, keeping("before"))
	before.Subscribe("to/before", 1)
	x := c.Grow(1)[0]
	if err := os.CopyFS(x.Dir, os.DirFS(other.Dir)); err != nil {
		t.Fatal(err)
	}
	x.Start()
	x.WaitReady() // of its own cluster
	c.Nodes = three

	publish := client(t, three[0], "publisher")
	publish.Publish("to/before", "x", 1)
	before.ExpectMessage("to/before", "x")
	for i := range 16 { // in about as many shards
		id := fmt.Sprint("after-", i)
		sub := connect(t, three, keeping(id))
		sub.Subscribe("to/"+id, 1)
		publish.Publish("to/"+id, id, 1)
		sub.ExpectMessage("to/"+id, id)
	}
	cluster(t, three[0], "verify")
}
