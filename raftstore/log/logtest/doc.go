// Package logtest has a disk in memory for tests of what is built on
// raftstore/log: it knows what was synced, loses the rest when its power fails,
// fails on demand, and can be damaged.
package logtest
