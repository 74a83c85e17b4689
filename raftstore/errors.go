package raftstore

import "errors"

// What Result.Err may be.
var (
	ErrFenced    = errors.New("raftstore: another connection owns the session")
	ErrNotYours  = errors.New("raftstore: the session belongs to another user")
	ErrQuota     = errors.New("raftstore: limit reached")
	ErrContended = errors.New("raftstore: connections take the client identifier from one another too often")
	ErrUnknown   = errors.New("raftstore: outcome unknown")
	ErrClosed    = errors.New("raftstore: closed")
)

// errMoved says that this node leads the shard no more: whoever submitted the
// command finds the next leader.
var errMoved = errors.New("raftstore: another node leads the shard")
