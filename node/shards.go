package node

import (
	"fmt"
	"strings"

	"dunlin/node/admin"
	"dunlin/router"
)

// shards shows the node's replicas to administrators.
type shards struct{ n *Node }

func (s shards) Replicas() (out []admin.Replica) {
	for i := range s.n.store.Shards() {
		sh := router.ShardID(i)
		r := s.n.store.Raft(sh)
		if r == nil {
			continue
		}
		_, leader := r.LeaderWithID()
		applied, digest := s.n.store.Digest(sh)
		out = append(out, admin.Replica{
			Shard: i, Role: strings.ToLower(r.State().String()), Leader: string(leader),
			Term: r.CurrentTerm(), Commit: r.CommitIndex(), Last: r.LastIndex(),
			Applied: applied, Digest: fmt.Sprintf("%016x", digest),
		})
	}
	return out
}

func (s shards) Sessions(shard int, cursor uint32, limit int) (page admin.SessionPage, found bool) {
	sh := router.ShardID(shard)
	if shard < 0 || shard >= s.n.store.Shards() || s.n.store.Raft(sh) == nil {
		return page, false
	}
	page.Since, _ = s.n.store.Digest(sh)
	infos, next, more := s.n.store.Sessions(sh, cursor, limit)
	page.Until, _ = s.n.store.Digest(sh)
	for i := range infos {
		x := &infos[i]
		page.Sessions = append(page.Sessions, admin.Session{
			ClientID: x.ClientID, Epoch: uint64(x.Epoch), Attached: x.Attached, Stored: x.Stored, Expiry: x.Expiry,
			Subscriptions: x.Subscriptions, Inflight: x.Inflight, Queued: x.Waiting,
		})
	}
	if more {
		page.Next = next
	}
	return page, true
}
