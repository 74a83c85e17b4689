package cluster

import (
	"fmt"
	"testing"
	"time"

	"dunlin/e2e/harness"
	"dunlin/proto/mqtt"
)

// The same filter on one node, then on another, then on one again: each node's
// route stands by itself.
func TestOneFilterOnTwoNodes(t *testing.T) {
	t.Parallel()
	c := harness.Start(t, harness.Options{Nodes: 3})
	var pubs []*harness.Client
	for _, n := range c.Nodes {
		pubs = append(pubs, client(t, n, "pub-"+n.Name))
	}
	for i, filter := range []string{"same/a/b", "same/+/b", "same/#"} {
		subA := client(t, c.Nodes[0], fmt.Sprintf("sub-a-%d", i))
		subB := client(t, c.Nodes[1], fmt.Sprintf("sub-b-%d", i))
		// each publishes once on every node, at every QoS, and who subscribed gets
		// each message once, in order per publisher.
		each := func(subs ...*harness.Client) {
			t.Helper()
			for _, pub := range pubs {
				for q := range mqtt.QoS(3) {
					payload := fmt.Sprintf("%s at %d", pub.ID, q)
					pub.Publish("same/a/b", payload, q)
					for _, sub := range subs {
						sub.ExpectMessage("same/a/b", payload)
					}
				}
			}
			for _, sub := range subs {
				sub.ExpectQuiet()
			}
		}
		subA.Subscribe(filter, 2)
		each(subA)
		subB.Subscribe(filter, 2)
		each(subA, subB)
		subA.Unsubscribe(filter)
		each(subB)
		subA.ExpectQuiet()
		subA.Subscribe(filter, 2)
		each(subA, subB)
		subB.Disconnect()
		each(subA)
		subA.Disconnect()
	}
}

// P4: a message that any node receives after the SUBACK was sent is delivered.
// Two thousand times a client subscribes on one node and another publishes at
// once on a second one.
func TestSubscribeThenPublishAtOnce(t *testing.T) {
	t.Parallel()
	rounds := 2000
	if testing.Short() {
		rounds = 200
	}
	c := harness.Start(t, harness.Options{Nodes: 3})
	var pubs, subs []*harness.Client
	for _, n := range c.Nodes {
		pubs = append(pubs, client(t, n, "pub-"+n.Name))
		subs = append(subs, client(t, n, "sub-"+n.Name))
	}
	for i := range rounds {
		sub := subs[i%3]
		pub := pubs[(i%3+1+i/3%2)%3]
		topic := fmt.Sprintf("round/%d/x", i)
		filter := []string{topic, fmt.Sprintf("round/%d/+", i), "$share/g/" + topic}[i/6%3]
		sub.Subscribe(filter, 2)
		pub.Publish(topic, "now", mqtt.QoS(i%3))
		sub.ExpectMessage(topic, "now")
		if i%2 == 0 {
			sub.Unsubscribe(filter)
		}
	}
	for _, sub := range subs {
		sub.ExpectQuiet()
	}
}

// E4, P4: who publishes to a subscriber on a node that is gone, and who subscribes,
// waits until that node cannot acknowledge anything any more, and no longer. A node
// that was only silent finds itself revoked, closes its clients and joins anew.
func TestNodeThatIsGoneIsWaitedFor(t *testing.T) {
	for _, c := range []struct {
		name       string
		gone, back func(n *harness.Node)
	}{
		{"killed", (*harness.Node).Kill, (*harness.Node).Start},
		{"silent", (*harness.Node).Pause, (*harness.Node).Resume},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			nodes := harness.Start(t, harness.Options{Nodes: 3}).Nodes
			there := client(t, nodes[0], "there")
			there.Subscribe("gone/#", 1)
			pub, sub := client(t, nodes[1], "pub"), client(t, nodes[2], "sub")
			c.gone(nodes[0])
			for range 3 { // of which it may have taken one yet
				pub.Publish("gone/x", "while it is gone", 1)
			}
			sub.Subscribe("gone/+", 1)
			pub.Publish("gone/x", "to whom is there", 1)
			sub.ExpectMessage("gone/x", "to whom is there")
			sub.ExpectQuiet()

			c.back(nodes[0])
			for { // what was on its way may come yet
				if _, err := there.Next(); err != nil {
					break
				}
			}
			harness.Within(t, time.Minute, "it is back", nodes[0].Ready)
			again := client(t, nodes[0], "again")
			again.Subscribe("gone/#", 1)
			pub.Publish("gone/x", "to all", 1)
			sub.ExpectMessage("gone/x", "to all")
			again.ExpectMessage("gone/x", "to all")
			client(t, nodes[0], "pub2").Publish("gone/y", "from there", 1)
			sub.ExpectMessage("gone/y", "from there")
			again.ExpectMessage("gone/y", "from there")
		})
	}
}
