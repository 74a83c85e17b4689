// Package raftnet carries what Raft groups say to one another, and other calls
// by request and reply, for all groups of a node over one stream per peer. It
// knows nothing of how a stream comes about: package cluster opens, greets and
// gives them.
//
//	a node's end         net.go
//	records and pieces   record.go, raftcodec.go, pieces.go
//	calls to a peer      caller.go over queue.go; ask.go
//	calls from a peer    serve.go
//	words to a caller    push.go, on the way back of its calls
//	one group            transport.go (raft.Transport), pipeline.go, inbox.go
//	snapshots            snapshot.go, each on a stream of its own
//	failover             decide.go (pure), detector.go
//	beats                pulse.go
//
// # What a caller may rely on
//
// A call goes out once. If its stream breaks, its outcome is unknown (ErrBroken)
// and it is never sent again: Raft and the store have their own ways to find out.
// While there is no stream calls fail at once (ErrUnreachable). Requests of a
// node to a group arrive in the order in which they were made; only votes,
// heartbeats and beats may overtake. Answers to a node's asks, and what is pushed
// to it, arrive in the order in which they were given. Nothing that waits for a disk holds up the
// reading of a stream.
//
// Of a node that is restricted, which is of no cluster yet or of another, nothing is
// taken but asks that anyone may make (HandleAnyone).
//
// # Heartbeats
//
// A follower that waits for its disk must still answer its leader. Raft's own way,
// the function it gives to SetHeartbeatHandler, is not used. In hashicorp/raft 1.8.0
// that runs appendEntries on the caller's goroutine, which may make a follower of
// the node and set its term while Raft's own goroutine, to which the comments there
// reserve both, stands for election or writes entries: a term that it has left would
// come back, and a leader that was deposed could write an entry of its own under the
// term of the next (dispatchLogs reads the term without asking who leads in it).
//
// So a heartbeat is answered here only while Raft follows in the very term of it,
// from what Raft lets anybody read, and Raft is told of it through its queue. Any
// other heartbeat is Raft's to answer, like an AppendEntries.
//
// # Wake-ups
//
// What no one waits for does not wake the writer: heartbeats, and AppendEntries
// without entries, go with whatever goes next, at the latest when a BeatInterval of
// the node's ends. So the heartbeats of all groups between two nodes share one
// write, which is a beat as well for the failure detector.
package raftnet
