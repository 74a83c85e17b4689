// Package router says who wants a topic: it holds topics, filters and the table
// of routes from filters to subscribers, nodes and shards.
//
// Topics and filters are valid by their types: only ParseTopic and ParseFilter
// make them. A Topic borrows the bytes it was parsed from.
//
// Table.Match and all else that reads takes no lock and waits for nobody;
// writers exclude one another. What readers may be looking at is replaced, not
// changed, or changes only in ways that an atomic load cannot misread: see
// entry (what a filter leads to), index (a hash table), trie, roster (the
// subscribers of one filter), fingerprints (exact filters of other nodes and of
// shards) and Group. The garbage collector frees what the last reader has left.
//
// A table numbers the changes to its own routes. A peer takes a Snapshot, then
// Changes, and gives them to its own table with ApplyRemote. So come the routes
// of a shard, from the table of its leader, under the NodeID that stands for it.
//
// The package starts no goroutine and does no I/O; nothing it answers depends
// on time or chance.
package router
