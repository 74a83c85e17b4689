// Package raftstore holds the state that outlives connections: sessions, their
// queues, retained messages and wills, in shards whose state machines apply
// commands from a log.
//
// A command is encoded when it is submitted. The shard's goroutine gathers what
// came meanwhile into one log entry, which every replica applies; what Apply
// tells the leader (deliveries, wills) goes to the owners and into the world, the
// shard's filters to the route tables, and the result to the submitter. Open makes a store with one replica of
// each shard, in memory; OpenReplicated one whose shards are Raft groups.
// DESIGN.md beside this file has the whole path.
package raftstore
