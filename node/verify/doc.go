// Package verify says what does not agree among the nodes of a cluster: replicas
// of a shard, sessions and the connections that hold them, routes and what peers
// hold of them.
//
//	what is asked of a node   question.go
//	the whole                 verify.go: what differs is asked again until it is settled
//	the comparisons           replicas.go, routes.go, sessions.go
//
// Everything is asked while the cluster serves, one node after the other, so that
// what differs may only have changed in between. It counts if it differs in the
// same way each time, over a while.
package verify
