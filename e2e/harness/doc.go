// Package harness runs the built binary for tests: clusters of real processes on
// loopback addresses of their own, the faults that happen to processes and to the
// connections between them, and a client that sends what a test tells it to.
//
// A test that uses it fails when a node logs a panic or a data race, or counts a
// panic; the logs of all nodes are printed when a test fails. Nothing here
// sleeps for a fixed time: what must become true is polled until a deadline.
package harness
