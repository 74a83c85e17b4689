// Package shardroutes makes the filters of each shard known at every node. The
// leader of a shard feeds them, and every node holds them in its route table as
// the shard's (router.ShardNode).
//
//	this node's end      routes.go
//	a shard led here     leadership.go; the feed to one node is feeding.go
//	what is held here    holding.go; a new node asks for it in whole.go
//	when all have it     synced.go
//	the wire             message.go
//
// # What a caller may rely on
//
// What a node holds of a shard stands when its leader dies, until a copy by the
// next leader is complete: nothing that a SUBACK promised is ever missing between
// the two (P4). Leaders follow one another by reign, a number that rises with
// each leadership of a shard; a node that has heard of a later reign takes
// nothing of an earlier one any more.
//
// Of what a node holds a leader believes only what that node confirmed to it in
// this leadership. A node that starts again holds nothing, and says so.
//
// DESIGN.md of package cluster has the decisions.
package shardroutes
