// Package access compares what a cluster lets clients do with a simple model of its rules:
// who may publish, subscribe to and receive what, on every way that a message takes.
package access
