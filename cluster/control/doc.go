// Package control is this node's part in running the cluster: it keeps the
// node's data, has empty nodes form one cluster and others join it, runs this
// node's replica of meta, and starts and stops the replicas of shards that meta
// places here. While this node leads meta it also brings all groups to where they
// should be, as nodes come and go.
//
//	what a node keeps     data.go (node.db, the log of all groups), snapshots.go
//	forming a cluster     formation.go (pure), survey.go (asks and promises)
//	entering it           enter.go
//	the group meta        metagroup.go, propose.go, duties.go (of its leader), directory.go
//	replicas of shards    replicas.go, groups.go
//	moving replicas       reconcile.go, plan.go (pure), report.go, change.go, configurations.go
//	for operators         status.go, operate.go
//	records of access     records.go
//	what all understand   plan.go (raise), enter.go; package level
//
// # Order
//
// OpenData, then the network with the data's identity, then Open, Enter, the
// store with what Enter returned, Run. To stop: Shutdown, the store, the network,
// and Data.Close last.
//
// # What a caller may rely on
//
// Before Enter has returned no replica of a shard starts: what meta says is at
// least as new as this start of the node, so that a replica that was moved away
// while the node was down does not stand up again.
//
// DESIGN.md beside this file says how a cluster is formed and why at most one
// comes of it.
package control
