package node

import (
	"fmt"

	"dunlin/node/admin"
	"dunlin/router"
)

// shards shows the node's replicas to administrators.
type shards struct{ n *Node }

func (s shards) Replicas() (out []admin.Replica) {
	store := s.n.store.Load()
	if store == nil {
		return nil // not in the cluster yet
	}
	for i := range store.Shards() {
		r, ok := store.Replica(router.ShardID(i))
		if !ok {
			continue
		}
		out = append(out, admin.Replica{
			Shard: i, Role: r.Role, Leader: r.Leader, Voters: r.Voters,
			Term: r.Term, Commit: r.Commit, Last: r.Last,
			Applied: r.Applied, Digest: fmt.Sprintf("%016x", r.Digest),
		})
	}
	return out
}

func (s shards) Sessions(shard int, cursor uint32, limit int) (page admin.SessionPage, found bool) {
	store := s.n.store.Load()
	if store == nil || shard < 0 || shard >= store.Shards() {
		return page, false
	}
	sh := router.ShardID(shard)
	since, found := store.Replica(sh)
	if !found {
		return page, false
	}
	infos, next, more := store.Sessions(sh, cursor, limit)
	page.Since = since.Applied
	page.Until, _ = store.Digest(sh)
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
