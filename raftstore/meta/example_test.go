package meta_test

import (
	"fmt"

	"github.com/hashicorp/raft"

	"dunlin/raftstore/level"
	"dunlin/raftstore/meta"
)

// A node that enters is numbered once, whatever its starts.
func Example() {
	m := meta.NewMachine(level.Known(), nil)
	apply := func(c meta.Command) meta.Result {
		return m.Apply(&raft.Log{Data: meta.Encode(c)}).(meta.Result)
	}
	apply(&meta.Form{Cluster: "c", Shards: 16, Factor: 3})
	apply(&meta.Enter{Identity: "f00d", Name: "dunlin-0", Start: 1})
	again := apply(&meta.Enter{Identity: "f00d", Name: "dunlin-0", Start: 2})
	fmt.Println("node", again.Node, "start", again.Start)
	// Output: node 1 start 2
}
