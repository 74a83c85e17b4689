// Package chaos proves what the cluster promises, under faults: real nodes, each
// in a network namespace of its own behind a packet switch, clients that record
// what they did and saw, a nemesis that breaks things by a seeded schedule, and
// checkers that judge the history.
//
// A scenario says which clients there are and which faults happen to them. A run
// that fails keeps its seed, its fault log and its history in a folder that it
// names, and is begun again with the same schedule by -chaos.seed. Without
// -chaos.duration only the smoke scenario runs; where namespaces are not to be
// had everything but the tests of the checkers is left out, with the reason.
package chaos
