package verify

import (
	"context"
	"fmt"
	"time"
)

// replicas compares the replicas of each shard with its leader's: their digests,
// which are of all that a replica did, after the same entry (D6). They speak for
// sessions, queues and retained messages alike, and for how many there are.
func (r *run) replicas(ctx context.Context, shards []int) (found []Finding) {
	nodes := r.Nodes()
	first, failed := r.askReplicas(ctx, nodes, nil)
	found = failed
	leaders := make(map[int]Replica)
	at := make(map[int]uint64)
	for _, replicas := range first {
		for _, x := range replicas {
			if l, ok := leaders[x.Shard]; x.Leads && (!ok || x.Term > l.Term) {
				leaders[x.Shard] = x
				at[x.Shard] = x.Index
			}
		}
	}
	for _, sh := range shards {
		if _, ok := leaders[sh]; !ok {
			found = append(found, Finding{Kind: "leaderless", Shard: sh, Text: "nobody leads it"})
		}
	}
	second, _ := r.askReplicas(ctx, nodes, at)
	// Where there is always something to do a follower is an entry behind whenever it is
	// asked, for it learns with the next one that this is committed: it gets there.
	for pause := firstPause; pause < catchUp && anyBehind(leaders, second); pause *= 2 {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
		second, _ = r.askReplicas(ctx, nodes, at)
	}
	for i, n := range nodes {
		for _, x := range second[i] {
			if l, ok := leaders[x.Shard]; ok {
				if f, differs := compareReplica(l, x); differs {
					f.Node = n.Name
					found = append(found, f)
				}
			}
		}
	}
	return found
}

// catchUp is about as long as followers are given to come to where their leader was.
const catchUp = time.Second

// anyBehind says that a replica has not come to where its leader was.
func anyBehind(leaders map[int]Replica, answers [][]Replica) bool {
	for _, replicas := range answers {
		for _, x := range replicas {
			if l, ok := leaders[x.Shard]; ok && !x.Known && x.Index < l.Index {
				return true
			}
		}
	}
	return false
}

// compareReplica compares one, asked for the leader's index, with the leader's as
// it was a moment before.
func compareReplica(leader, x Replica) (f Finding, differs bool) {
	f.Shard = x.Shard
	switch {
	case x.Known && x.Then == leader.Digest, x.Digest == leader.Digest:
		return f, false
	case x.Known, x.Index == leader.Index:
		f.Kind = "replica"
		f.Text = fmt.Sprintf("its replica and the leader's have parted: after entry %d its digest is not the leader's", leader.Index)
	case x.Index < leader.Index:
		f.Kind, f.lags, f.at = "replica-behind", true, x.Index
		f.Text = fmt.Sprintf("its replica stands at entry %d and gets no further, the leader's is at %d", x.Index, leader.Index)
	default:
		f.Kind, f.lags, f.at = "replica-ahead", true, x.Index
		f.Text = fmt.Sprintf("its replica has passed entry %d too long ago to be compared", leader.Index)
	}
	return f, true
}

// askReplicas asks all nodes; the answers are in their order.
func (r *run) askReplicas(ctx context.Context, nodes []Node, at map[int]uint64) (answers [][]Replica, failed []Finding) {
	answers = make([][]Replica, len(nodes))
	for i, n := range nodes {
		ctx, cancel := context.WithTimeout(ctx, askTimeout)
		var err error
		if answers[i], err = r.Ask.Replicas(ctx, n.Identity, at); err != nil {
			failed = append(failed, silent(n, -1, err))
		}
		cancel()
	}
	return answers, failed
}
