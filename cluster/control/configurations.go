package control

import (
	"sync"

	"github.com/hashicorp/raft"
)

// configurations finds the configuration of a group that is committed, and its
// index, in the replica's log and snapshots: Raft itself tells only the latest
// one, committed or not, and no index, which a change must name so that a late one
// changes nothing.
type configurations struct {
	log       raft.LogStore
	snapshots raft.SnapshotStore

	mu struct {
		sync.Mutex
		seen   uint64 // entries up to here are committed and have been looked at
		index  uint64 // of the latest configuration among them
		latest raft.Configuration
	}
}

// at is the latest configuration up to a committed index.
func (c *configurations) at(commit uint64) (raft.Configuration, uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	first, err := c.log.FirstIndex()
	if err != nil {
		return raft.Configuration{}, 0, err
	}
	if first == 0 || first > c.mu.seen+1 || c.mu.seen == 0 {
		metas, err := c.snapshots.List() // the latest first
		if err != nil {
			return raft.Configuration{}, 0, err
		}
		if len(metas) > 0 && metas[0].Index > c.mu.seen {
			c.mu.seen, c.mu.index, c.mu.latest = metas[0].Index, metas[0].ConfigurationIndex, metas[0].Configuration
		}
	}
	for c.mu.seen < commit {
		var l raft.Log
		if err := c.log.GetLog(c.mu.seen+1, &l); err != nil {
			return raft.Configuration{}, 0, err
		}
		if l.Type == raft.LogConfiguration {
			c.mu.index, c.mu.latest = l.Index, raft.DecodeConfiguration(l.Data)
		}
		c.mu.seen++
	}
	return c.mu.latest, c.mu.index, nil
}
