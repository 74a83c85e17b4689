package router_test

import (
	"fmt"

	"dunlin/router"
)

func Example() {
	table := router.NewTable()
	filter, err := router.ParseFilter([]byte("kitchen/+/temperature"))
	if err != nil {
		fmt.Println(err)
		return
	}
	table.Subscribe(filter, 1, router.Options{QoS: 1, ID: 42})

	topic, err := router.ParseTopic([]byte("kitchen/oven/temperature"))
	if err != nil {
		fmt.Println(err)
		return
	}
	var found router.Matches // kept from one call to the next
	table.Match(topic, 0, &found)
	for _, m := range found.Local {
		fmt.Println("subscriber", m.Subscriber, "QoS", m.QoS, "identifiers", found.IDs(m))
	}
	// Output: subscriber 1 QoS 1 identifiers [42]
}

// A peer learns a node's routes from a snapshot, and then from the changes
// after it.
func ExampleTable_Snapshot() {
	own, peer := router.NewTable(), router.NewTable()
	const id router.NodeID = 1 // of own, at the peer
	subscribe := func(text string) {
		filter, err := router.ParseFilter([]byte(text))
		if err != nil {
			fmt.Println(err)
			return
		}
		own.Subscribe(filter, 1, router.Options{})
	}
	subscribe("a/b")

	peer.BeginRemote(id)
	version := own.Snapshot(func(cs []router.Change) bool {
		peer.ApplyRemote(id, cs)
		return true
	})
	peer.EndRemote(id)

	subscribe("a/#")
	changes, version, _ := own.Changes(version, 100, nil)
	peer.ApplyRemote(id, changes)

	topic, err := router.ParseTopic([]byte("a/c"))
	if err != nil {
		fmt.Println(err)
		return
	}
	var found router.Matches
	peer.Match(topic, 0, &found)
	fmt.Println("version", version, "nodes", found.Nodes)
	// Output: version 2 nodes [1]
}
