package raftnet

import (
	"errors"
	"time"

	"github.com/hashicorp/raft"
)

// Raft leaves a follower that fails alone for longer each time, up to ten seconds,
// and does not notice that it is back. So a failure to reach one is told late, when
// it can be reached: then there have been few failures, and Raft tries again at
// once. One goroutine of Raft's waits here for each follower, and for nothing else.
const (
	holdFor   = time.Minute            // for a peer that cannot be reached
	holdBegin = 500 * time.Millisecond // for one that does not run the group, yet
	holdLook  = 50 * time.Millisecond
)

// hold returns when it may be worth while to call to again after err, or Raft has
// no more reason to.
func (t *Transport) hold(to raft.ServerID, err error) {
	r := t.watched.Load()
	if r == nil {
		return
	}
	var limit time.Duration
	var failure Failure
	back := func() bool { return false }
	switch {
	case errors.Is(err, ErrUnreachable):
		limit = holdFor
		back = func() bool {
			c := t.net.caller(string(to))
			return c != nil && c.queue.isUp()
		}
	case errors.As(err, &failure) && failure == noGroup(t.id):
		limit = holdBegin
	default:
		return
	}
	tick := time.NewTicker(holdLook)
	defer tick.Stop()
	for began := time.Now(); time.Since(began) < limit && r.State() == raft.Leader && !back(); {
		select {
		case <-tick.C:
		case <-t.ctx.Done():
			return
		}
	}
}
