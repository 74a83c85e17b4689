package log_test

import (
	"fmt"
	"os"

	"github.com/hashicorp/raft"

	"dunlin/raftstore/log"
)

func Example() {
	dir, err := os.MkdirTemp("", "log")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)

	o := log.DefaultOptions()
	o.Failed = func(err error) { fmt.Println("stop the node:", err) }
	l, err := log.Open(dir, o)
	if err != nil {
		panic(err)
	}
	defer l.Close()

	// A Raft group takes its view for both stores:
	// raft.NewRaft(config, fsm, shard, shard, snapshots, transport)
	shard := l.Group(7)
	if err := shard.SetUint64([]byte("CurrentTerm"), 2); err != nil {
		panic(err)
	}
	if err := shard.StoreLogs([]*raft.Log{{Index: 1, Term: 2, Data: []byte("hello")}}); err != nil {
		panic(err)
	}
	var entry raft.Log
	if err := shard.GetLog(1, &entry); err != nil {
		panic(err)
	}
	fmt.Printf("%s, %d bytes after the snapshot\n", entry.Data, shard.BytesAfter(0))
	// Output: hello, 45 bytes after the snapshot
}
