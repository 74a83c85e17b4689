package node

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"time"

	"dunlin/cluster/control"
	"dunlin/node/backup"
	"dunlin/raftstore"
	"dunlin/raftstore/meta"
	"dunlin/router"
)

// Recovery is what can be had of a cluster from the data directories of nodes
// that are stopped, when the majority of its voters is lost for good. It holds
// the directories until Close, and changes nothing in them.
type Recovery struct {
	remains []*control.Remains
	state   *meta.State // the latest of them
	shards  []Salvage
}

// Salvage is what there is of one shard.
type Salvage struct {
	Shard       int
	Node        string // identity of the node whose replica goes furthest; "" if nobody has one
	Term, Index uint64 // how far that replica goes
	Found       int    // replicas among the directories
	Voters      int    // that the shard had, as far as the directories know
	from        *control.Remains
}

// Whole says that nothing which the cluster had acknowledged is missing: a
// majority of the voters is there, and whatever was committed is on one of them.
func (s Salvage) Whole() bool { return s.Found > s.Voters/2 }

// OpenRecovery opens the directories, all of one cluster.
func OpenRecovery(dirs []string, log *slog.Logger) (*Recovery, error) {
	r := new(Recovery)
	err := r.open(dirs, log)
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

func (r *Recovery) open(dirs []string, log *slog.Logger) error {
	for _, dir := range dirs {
		m, err := control.OpenRemains(dir, log)
		if err != nil {
			return err
		}
		r.remains = append(r.remains, m)
		s := m.State()
		if r.state != nil && s.Cluster != r.state.Cluster {
			return fmt.Errorf("%s is of another cluster, %s, than those before, %s", dir, s.Cluster, r.state.Cluster)
		}
		if r.state == nil || s.Index > r.state.Index {
			r.state = s
		}
	}
	for sh := range r.state.Shards {
		s, err := r.salvage(sh)
		if err != nil {
			return fmt.Errorf("shard %d: %w", sh, err)
		}
		r.shards = append(r.shards, s)
	}
	return nil
}

// salvage finds the replica of a shard that goes furthest.
func (r *Recovery) salvage(sh int) (Salvage, error) {
	s := Salvage{Shard: sh}
	voters := map[string]bool{}
	for _, x := range r.state.Groups[uint16(sh)].Replicas {
		if x.Voter {
			voters[r.state.Nodes[x.Node].Identity] = true
		}
	}
	s.Voters = len(voters)
	var best raftstore.Position
	for _, m := range r.remains {
		p, err := m.Position(router.ShardID(sh))
		if err != nil {
			return s, err
		}
		if p == (raftstore.Position{}) {
			continue
		}
		if voters[m.Identity()] {
			s.Found++
		}
		if s.from == nil || best.Behind(p) {
			best, s.from = p, m
			s.Node, s.Term, s.Index = m.Identity(), p.Term, p.Index
		}
	}
	return s, nil
}

// Cluster is the identity of the cluster that was.
func (r *Recovery) Cluster() string { return r.state.Cluster }

// Shards says what there is, by shard.
func (r *Recovery) Shards() []Salvage { return r.shards }

// Write writes a backup file of it; tell is called before each shard.
func (r *Recovery) Write(to io.Writer, tell func(shard int)) error {
	h := backup.Head{
		Cluster: r.state.Cluster, Shards: r.state.Shards, Taken: time.Now().UTC(), Program: Version(), Settings: r.state.Settings,
	}
	for _, m := range r.remains {
		h.Recovered = append(h.Recovered, m.Identity())
	}
	w, err := backup.NewWriter(to, h)
	if err != nil {
		return err
	}
	for _, k := range slices.Sorted(maps.Keys(r.state.Records)) {
		var all []backup.Record
		for _, x := range r.state.Records[k].All() {
			all = append(all, backup.Record{Kind: string(k), Name: x.Name, Value: x.Value})
		}
		if err := w.Records(all); err != nil {
			return err
		}
	}
	for _, s := range r.shards {
		if s.from == nil {
			continue
		}
		tell(s.Shard)
		if err := w.Shard(s.Shard, func(to io.Writer) error { return s.from.Salvage(router.ShardID(s.Shard), to) }); err != nil {
			return err
		}
	}
	return w.Close()
}

// Close gives the directories up.
func (r *Recovery) Close() error {
	var errs []error
	for _, m := range r.remains {
		errs = append(errs, m.Close())
	}
	return errors.Join(errs...)
}
