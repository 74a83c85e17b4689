// Package bulk carries between nodes what is too large for one ask: backups of
// shards, and lists of what they hold. A call has an argument, an input and an
// output of any length, and goes piece by piece over raftnet, so that neither side
// holds more than a piece and nothing else waits behind it.
//
//	who calls           call.go
//	who is called       serve.go
//	the wire            message.go
//
// A call is made once: when its stream breaks, its outcome is unknown, as that of
// an ask is. Who is called gives up when the caller has not been heard of for a
// while.
package bulk
