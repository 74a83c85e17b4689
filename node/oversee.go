package node

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"dunlin/cluster/control"
	"dunlin/raftstore"
	"dunlin/router"
)

// shardView is what this node knows of its replicas at a moment.
type shardView struct {
	leads    int             // shards that this node leads and serves
	replicas int             // groups with a replica here, meta apart
	behind   int             // replicas that have not applied all they know to be committed, or know of nothing
	orphaned map[string]bool // groups with a replica here that knows of no leader, by the name for people
}

// overseer makes of what it sees, now and then, what an operator has to know:
// one line for each event, however many shards have a part in it.
type overseer struct {
	log   *slog.Logger
	began time.Duration // when this node had entered the cluster

	leads, told int           // shards led, and as last told
	since       time.Duration // of leads
	caughtUp    bool          // was told

	lost   map[string]time.Duration // since when groups have no leader
	warned time.Duration            // since when, as last told; 0: all have one
}

// When something is told of: leadership when it has settled, and leaders that are
// missing after longer than any ordinary election takes.
const (
	overseeEvery  = 250 * time.Millisecond
	leadsSettled  = time.Second
	orphanedSince = 2 * time.Second
)

// look takes what is seen at now, which rises from call to call.
func (o *overseer) look(now time.Duration, v shardView) {
	o.lookLeads(now, v)
	if !o.caughtUp && v.replicas > 0 && v.behind == 0 {
		o.caughtUp = true
		o.log.Info("the replicas here have caught up", "replicas", v.replicas, "after", (now - o.began).Round(time.Millisecond))
	}
	o.lookOrphaned(now, v)
}

func (o *overseer) lookLeads(now time.Duration, v shardView) {
	if v.leads != o.leads {
		o.leads, o.since = v.leads, now
	}
	if o.leads != o.told && now-o.since >= leadsSettled {
		o.log.Info("leadership of shards moved", "leads", o.leads, "before", o.told, "replicas", v.replicas)
		o.told = o.leads
	}
}

func (o *overseer) lookOrphaned(now time.Duration, v shardView) {
	for group := range o.lost {
		if !v.orphaned[group] {
			delete(o.lost, group)
		}
	}
	first, long := now, 0
	for group := range v.orphaned {
		since, ok := o.lost[group]
		if !ok {
			since = now
			o.lost[group] = now
		}
		if first = min(first, since); now-since > orphanedSince {
			long++
		}
	}
	switch {
	case long > 0 && o.warned == 0:
		o.warned = first
		o.log.Warn("shards have no leader: what concerns them waits", "shards", long, "of", v.replicas,
			"which", some(v.orphaned), "for", (now - first).Round(time.Millisecond))
	case len(o.lost) == 0 && o.warned != 0:
		o.log.Info("all shards have a leader again", "after", (now - o.warned).Round(time.Millisecond))
		o.warned = 0
	}
}

// some are names of groups, not too many for a line, in order.
func some(groups map[string]bool) string {
	var names []string
	for sh := range router.ShardID(control.MetaGroup) { // beyond all shards
		if name := groupName(sh); groups[name] {
			names = append(names, name)
		}
	}
	if groups[metaName] {
		names = append([]string{metaName}, names...)
	}
	const most = 8
	if len(names) > most {
		names = append(names[:most], "...")
	}
	return strings.Join(names, " ")
}

const metaName = "meta"

func groupName(sh router.ShardID) string { return fmt.Sprint(sh) }

// oversee tells operators of the shards until ctx ends.
func (n *Node) oversee(ctx context.Context, store *raftstore.Store) {
	now := func() time.Duration { return time.Since(n.started) }
	o := &overseer{log: n.log, began: now(), lost: make(map[string]time.Duration)}
	tick := time.NewTicker(overseeEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			o.look(now(), n.shardView(store))
		case <-ctx.Done():
			return
		}
	}
}

func (n *Node) shardView(store *raftstore.Store) shardView {
	v := shardView{orphaned: make(map[string]bool)}
	if n.control.MetaLeader() == "" {
		v.orphaned[metaName] = true
	}
	for i := range store.Shards() {
		sh := router.ShardID(i)
		r := store.Raft(sh)
		if r == nil {
			continue
		}
		v.replicas++
		if store.Leads(sh) {
			v.leads++
		}
		if _, ok := store.Leader(sh); !ok {
			v.orphaned[groupName(sh)] = true
		}
		if commit := r.CommitIndex(); commit == 0 || r.AppliedIndex() < commit {
			v.behind++
		}
	}
	return v
}
