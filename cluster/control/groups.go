package control

import (
	"context"
	"encoding/json"
	"strconv"
	"sync"

	"github.com/hashicorp/raft"

	"dunlin/cluster/raftnet"
)

// groupAnswer is what a node says of its replica of a group.
type groupAnswer struct {
	Running bool `json:"running"`

	// Orphan says that it follows nobody and does not stand; where its log ends then.
	Orphan    bool   `json:"orphan"`
	LastTerm  uint64 `json:"last_term"`
	LastIndex uint64 `json:"last_index"`

	node string // whose answer it is
}

func (c *Control) groupAnswer(group uint16) (a groupAnswer) {
	r := c.raftOf(group)
	if r == nil {
		return a
	}
	a.Running = true
	if _, leader := r.LeaderWithID(); leader == "" && r.State() == raft.Follower {
		a.Orphan = true
		stats := r.Stats() // the one way to the last entry's term
		a.LastTerm, _ = strconv.ParseUint(stats["last_log_term"], 10, 64)
		a.LastIndex, _ = strconv.ParseUint(stats["last_log_index"], 10, 64)
	}
	return a
}

// replica is this node's replica of a group.
type replica struct {
	raft           *raft.Raft
	transport      *raftnet.Transport
	configurations configurations
	settle         func(context.Context) error // before another replica is added
	restoring      func() bool                 // the leader has to stay

	mu struct {
		sync.Mutex
		ended bool
		uses  sync.WaitGroup
	}
}

// use keeps Raft running until done is called; not ok if it is being ended. What
// waits in Raft when it ends may never be answered.
func (rep *replica) use() (done func(), ok bool) {
	rep.mu.Lock()
	defer rep.mu.Unlock()
	if rep.mu.ended {
		return nil, false
	}
	rep.mu.uses.Add(1)
	return rep.mu.uses.Done, true
}

// end returns when nobody uses Raft, nor will.
func (rep *replica) end() {
	rep.mu.Lock()
	rep.mu.ended = true
	rep.mu.Unlock()
	rep.mu.uses.Wait()
}

func newReplica(r *raft.Raft, t *raftnet.Transport, log raft.LogStore, snapshots raft.SnapshotStore) *replica {
	t.Retain(func(index, term uint64) bool {
		var l raft.Log
		return r.AppliedIndex() >= index || log.GetLog(index, &l) == nil && l.Term == term
	})
	t.Watch(r)
	return &replica{
		raft: r, transport: t, configurations: configurations{log: log, snapshots: snapshots},
		settle:    func(context.Context) error { return nil },
		restoring: func() bool { return false },
	}
}

// replica is nil if there is none of the group here.
func (c *Control) replica(group uint16) *replica {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.groups[group]
}

// raftOf is the Raft of a replica here, nil if there is none.
func (c *Control) raftOf(group uint16) *raft.Raft {
	if rep := c.replica(group); rep != nil {
		return rep.raft
	}
	return nil
}

func (c *Control) askGroup(ctx context.Context, node string, group uint16) (a groupAnswer, err error) {
	b, err := c.opts.Net.Ask(ctx, node, group, kindGroup, nil)
	if err != nil {
		return a, err
	}
	if err := json.Unmarshal(b, &a); err != nil {
		return a, raftnet.ErrBroken
	}
	return a, nil
}
