// Package cluster connects the nodes: who is a member, what each routes, and
// the streams that carry publishes between them.
//
// Gossip (memberlist) tells of members; the roster decides from it, and from
// sharper evidence, who is one. To each member a node opens one gRPC connection
// with three streams of hand-made frames: Forward carries records for the other
// broker up and confirmations down, Feed carries this node's routes up and the
// version held down, Raft carries requests up and replies down. Where to look:
//
//	who is a member      gossip.go, roster.go, watch.go, join.go
//	who is waited for    leases.go, by what package lease says
//	a member             peer.go; the handshake is in hello.go, server.go
//	another cluster      belong.go
//	frames               frame.go; the records in them batch.go; codec.go, buffer.go
//	forwarding           forward.go over outbox.go and inbox.go
//	routes               feed.go over package feed
//	Raft groups, calls   raft.go over package raftnet
//
// # Forwarding
//
// The outbox of one node and the inbox of another hold a conversation, which
// outlives the streams that carry it. Both number it; a Hello names both numbers,
// so that each side notices when the other has forgotten it: because it is a new
// process, or because it declared this node dead meanwhile. Within a
// conversation reliable frames are numbered from 1, kept by the outbox until
// confirmed, resent in order after a broken stream, and taken once each by the
// inbox. When a conversation ends before a frame is confirmed, the broker hears
// that the frame is lost: whether it was accepted, nobody knows.
//
// # Trust
//
// A member is trusted; a stranger is not heard. Gossip is marked with the
// cluster's id and encrypted (keyring.go), the cluster port wants a certificate of the
// cluster's CA (credentials.go), and a Hello is judged before anything else of a stream
// is read: it says which cluster a node belongs to, and of another's nothing is taken.
// Keys and certificates change while nodes run. What a stranger can hold until it is
// refused is bounded (handshake.go, gossipport.go), and all are counted (stranger.go).
package cluster
