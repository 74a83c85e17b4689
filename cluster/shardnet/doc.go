// Package shardnet joins the shards of all nodes: it brings commands to whichever
// node leads a shard, and what a leader has for the owners of sessions to their
// nodes. It implements raftstore.Leaders and raftstore.Owners over raftnet, and
// knows neither how a shard is replicated nor what a connection is.
//
//	a node's end        net.go
//	commands to leaders leaders.go, with hints about who leads
//	to the owners       owners.go; evictions.go for their answers
//	at the owners       owned.go
//	the wire            record.go
//	what may be lost    again.go
//
// # What a caller may rely on
//
// Nothing is sent twice and nothing is kept here. What a stream that broke may
// have lost is asked again by the lanes of the store, under the same numbers, and
// pushed again by the leaders, window by window: Store.PushAgain is called for a
// node after each loss that concerns it. An owner leaves out what it has seen, and
// what does not follow on what it has seen: that comes again as well.
package shardnet
