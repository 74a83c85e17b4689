package cluster

import (
	"fmt"
	"testing"

	"dunlin/e2e/harness"
	"dunlin/proto/mqtt"
)

// TestStartOrders starts three nodes that expect three in every order: none is
// ready before all are there, then all become ready, route to one another and
// hold every shard.
func TestStartOrders(t *testing.T) {
	for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		t.Run(fmt.Sprint(order), func(t *testing.T) {
			t.Parallel()
			c := harness.Lay(t, harness.Options{Nodes: 3})
			for i, at := range order {
				n := c.Nodes[at]
				n.Start()
				n.WaitLive()
				if i < 2 && n.Ready() == nil {
					t.Errorf("%s is ready as number %d of 3", n.Name, i+1)
				}
			}
			c.WaitReady()
			everyPair(t, c, "formed")
			if c.Replicated() { // a session that was begun on one node is there on all
				c.WaitAgree(3)
				connect(t, c.Nodes[:1], keeping("first"))
				for i := range c.Nodes {
					resume(t, c.Nodes[i:i+1], keeping("first"))
				}
			}
		})
	}
}

// everyPair publishes from each node to a subscriber on each.
func everyPair(t *testing.T, c *harness.Cluster, topic string) {
	t.Helper()
	var subs, pubs []*harness.Client
	for _, n := range c.Nodes {
		sub := client(t, n, topic+"-sub-"+n.Name)
		sub.Subscribe(topic, 1)
		subs = append(subs, sub)
		pubs = append(pubs, client(t, n, topic+"-pub-"+n.Name))
	}
	for _, pub := range pubs {
		pub.Publish(topic, pub.ID, 1)
		for _, sub := range subs {
			sub.ExpectMessage(topic, pub.ID)
		}
	}
}

// TestRestart: a node that was killed, or stopped, comes back under its name, is
// told all routes again, and the others route to it again.
func TestRestart(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, harness.Options{Nodes: 3})
	watcher := client(t, c.Nodes[0], "watcher")
	watcher.Subscribe("restart/+", 1)
	for i, end := range []func(*harness.Node){(*harness.Node).Kill, (*harness.Node).Stop} {
		for j, n := range c.Nodes[1:] {
			end(n)
			// Those that are left go on.
			other := client(t, c.Nodes[2-j], fmt.Sprintf("other-%d-%d", i, j))
			other.Publish("restart/without", "x", 1)
			watcher.ExpectMessage("restart/without", "x")

			n.Restart()
			back := client(t, n, fmt.Sprintf("back-%d-%d", i, j))
			back.Publish("restart/with", "y", 1)
			watcher.ExpectMessage("restart/with", "y")
			everyPair(t, c, fmt.Sprintf("again-%d-%d", i, j))
		}
	}
}

// TestKick: the HTTP interface closes a client's connection.
func TestKick(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, harness.Options{Nodes: 2})
	victim := client(t, c.Nodes[0], "victim/with a slash")
	other := client(t, c.Nodes[0], "other")
	c.Nodes[0].API("DELETE", "/api/v1/clients/victim%2Fwith%20a%20slash")
	victim.ExpectDisconnect(mqtt.AdministrativeAction)
	other.ExpectQuiet()

	old := harness.Connect(t, c.Nodes[1].MQTT, mqtt.Connect{Version: mqtt.V311, ClientID: []byte("old"), CleanStart: true})
	c.Nodes[1].API("DELETE", "/api/v1/clients/old")
	old.ExpectClosed()
}
