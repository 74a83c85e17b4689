// Package load holds many connections on one machine: up to a million, on one
// cluster of as many nodes as the limit on open files asks for, with as many
// processes of dunlin bench on the other side. Every connection has a client
// identifier and a subscription; every one answers a PINGREQ; a message to every
// tenth of the clients arrives.
//
// It runs small with the other tests. docs/performance.md has the command for a
// million, what it takes, and what it gave.
package load
