package cluster

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"dunlin/e2e/harness"
)

// TestForeignData: a node that is started with the data of another cluster, whose
// shards have seen more elections, and is told to join this one changes nothing
// here: sessions are subscribed and routed to as before (P4), no message crosses, and
// both sides say what is wrong.
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

	for _, n := range []*harness.Node{x, three[0]} {
		for late := time.Now().Add(time.Minute); !strings.Contains(n.Log(), "refused a node of another cluster"); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(late) {
				t.Fatalf("%s does not say that it has met another cluster", n.Name)
			}
		}
	}
	there := client(t, x, "there")
	there.Subscribe("local/#", 1)
	here := client(t, three[0], "here")
	here.Subscribe("local/#", 1)
	client(t, three[1], "talker").Publish("local/here", "ours", 1)
	here.ExpectMessage("local/here", "ours")
	client(t, x, "talker").Publish("local/there", "theirs", 1)
	there.ExpectMessage("local/there", "theirs")
	publish.Publish("local/last", "", 1)
	here.ExpectMessage("local/last", "")
}
