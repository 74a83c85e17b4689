// Package raftstore holds the state that outlives connections: sessions, their
// queues, retained messages and wills, in shards whose state machines apply
// commands from a log.
package raftstore
