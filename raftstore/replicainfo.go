package raftstore

import (
	"strings"

	"github.com/hashicorp/raft"

	"dunlin/router"
)

// ReplicaInfo describes this node's replica of a shard to an administrator.
type ReplicaInfo struct {
	Role               string   // leader, follower, candidate or shutdown
	Leader             string   // identity; "" if not known
	Voters             []string // identities, of the latest configuration in the log
	Term, Commit, Last uint64   // as Raft has them
	Applied, Digest    uint64   // see Store.Digest
}

// Replica describes the replica of sh; ok is false if this node has none.
// It waits for the shard between two entries.
func (s *Store) Replica(sh router.ShardID) (info ReplicaInfo, ok bool) {
	r := s.Raft(sh)
	if r == nil {
		return info, false
	}
	_, leader := r.LeaderWithID()
	info = ReplicaInfo{
		Role: strings.ToLower(r.State().String()), Leader: string(leader), Voters: voters(r),
		Term: r.CurrentTerm(), Commit: r.CommitIndex(), Last: r.LastIndex(),
	}
	info.Applied, info.Digest = s.Digest(sh)
	return info, true
}

func voters(r *raft.Raft) (ids []string) {
	latest := r.GetConfiguration()
	if latest.Error() != nil {
		return nil // the group is being stopped
	}
	for _, s := range latest.Configuration().Servers {
		if s.Suffrage == raft.Voter {
			ids = append(ids, string(s.ID))
		}
	}
	return ids
}
