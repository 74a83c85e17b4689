package control

import (
	"context"
	"encoding/json"

	"github.com/hashicorp/raft"

	"dunlin/cluster/raftnet"
	"dunlin/router"
)

// groupAnswer is what a node says of its replica of a group.
type groupAnswer struct {
	Running bool `json:"running"`
}

func (c *Control) groupAnswer(group uint16) (a groupAnswer) {
	a.Running = c.raftOf(group) != nil
	return a
}

// raftOf is the Raft of a replica here, nil if there is none.
func (c *Control) raftOf(group uint16) *raft.Raft {
	c.mu.Lock()
	r, shards := c.mu.raft, c.mu.shards
	c.mu.Unlock()
	switch {
	case group == MetaGroup:
		return r
	case group > MetaGroup || shards == nil:
		return nil
	}
	return shards.Raft(router.ShardID(group))
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
