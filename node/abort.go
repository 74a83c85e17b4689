package node

import (
	"errors"
	"fmt"
	"os"
	"time"

	"dunlin/raftstore"
	"dunlin/raftstore/level"
)

// stalled ends the process at once: a leader whose disk hangs would keep its
// followers quiet for ever, and a process that waits for that disk keeps its
// sockets (D3).
func (n *Node) stalled(err error) {
	n.abort("the disk hangs: this node stops at once", err)
}

// poisoned ends it as fast: what is on a disk that failed nobody knows, and Raft
// would not go on without it (D2).
func (n *Node) poisoned(err error) {
	n.abort("the disk failed: this node stops at once", err)
}

// broken ends it as fast: what the state of a shard, or of meta, is after Apply panicked nobody
// knows, and none of it may be acknowledged (D6). Nor can a shard go on whose queues
// spilled to a disk that failed.
func (n *Node) broken(err error) {
	if errors.Is(err, raftstore.ErrScratch) {
		n.poisoned(err)
	}
	if later := (*level.Error)(nil); errors.As(err, &later) {
		n.abort("the cluster has risen above what this release can work at: this node stops at once", err)
	}
	n.abort("panic while applying a command: this node stops at once", err)
}

// copied ends it as fast: another process votes in this node's name (D5).
func (n *Node) copied(addr string) {
	n.abort("another process runs with a copy of this data directory: start this node with an empty one, as a new node",
		fmt.Errorf("node %s is at %s", n.data.Identity(), addr))
}

// abort ends the process, and all its connections before that: neither waits for
// anything.
func (n *Node) abort(why string, err error) {
	said := make(chan struct{})
	go func() {
		n.log.Error(why, "err", err)
		close(said)
	}()
	sever()
	select {
	case <-said:
	case <-time.After(100 * time.Millisecond): // the log may go to the disk that hangs
	}
	os.Exit(1)
}

// overdue has the process end when its stop takes far longer than it was given.
func (n *Node) overdue(patience time.Duration) (ended func() bool) {
	const grace = 5 * time.Second
	return time.AfterFunc(patience+grace, func() {
		n.abort("the stop does not come to an end: this node stops at once",
			fmt.Errorf("not down %v after it was to be", grace))
	}).Stop
}
