package control

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft"

	"dunlin/raftstore"
	"dunlin/raftstore/level"
	"dunlin/raftstore/meta"
	"dunlin/router"
)

// Remains is the data directory of a node that is stopped: what is left of a
// cluster that has lost the majority of its voters for good. Nothing is written
// to it but that it was opened once more, which counts as a start.
type Remains struct {
	data  *Data
	log   *slog.Logger
	state *meta.State
}

// ErrNoRemains says that a directory holds nothing of a cluster.
var ErrNoRemains = errors.New("control: nothing of a cluster is here")

// OpenRemains opens the directory, which no running node may hold.
func OpenRemains(dir string, log *slog.Logger) (*Remains, error) {
	if _, err := os.Stat(filepath.Join(dir, databaseName)); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoRemains, err)
	}
	d, err := OpenData(DataOptions{Dir: dir, Failed: func(error) {}, Logger: log})
	if err != nil {
		return nil, err
	}
	r := &Remains{data: d, log: log}
	if r.state, err = r.readMeta(); err == nil && r.state.Cluster == "" {
		err = ErrNoRemains
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", dir, err), d.Close())
	}
	return r, nil
}

func (r *Remains) readMeta() (*meta.State, error) {
	snapshots, err := r.data.snapshots(MetaGroup, r.log)
	if err != nil {
		return nil, err
	}
	m := meta.NewMachine(level.Known(), nil)
	if err := replayMeta(m, r.data.log.Group(MetaGroup), snapshots); err != nil {
		return nil, fmt.Errorf("meta: %w", err)
	}
	return m.State(), nil
}

// replayMeta has m be what a log and its snapshots hold. Of a cluster that has risen above what
// this release can work at it is a level.Error.
func replayMeta(m *meta.Machine, log raft.LogStore, snapshots raft.SnapshotStore) (err error) {
	defer func() {
		switch v := recover().(type) {
		case nil:
		case *level.Error:
			err = v
		default:
			panic(v)
		}
	}()
	return raftstore.Replay(log, snapshots, m.Restore, func(l *raft.Log) { m.Apply(l) })
}

// Identity is the node's.
func (r *Remains) Identity() string { return r.data.Identity() }

// State is what the node's replica of meta holds.
func (r *Remains) State() *meta.State { return r.state }

// Position is how far the node's replica of sh goes; zero if it has none.
func (r *Remains) Position(sh router.ShardID) (raftstore.Position, error) {
	snapshots, err := r.data.snapshots(uint16(sh), r.log)
	if err != nil {
		return raftstore.Position{}, err
	}
	return raftstore.LastPosition(r.data.log.Group(uint16(sh)), snapshots)
}

// Salvage writes a backup of what the node's replica of sh holds: see
// raftstore.SalvageStopped.
func (r *Remains) Salvage(sh router.ShardID, to io.Writer) error {
	snapshots, err := r.data.snapshots(uint16(sh), r.log)
	if err != nil {
		return err
	}
	return raftstore.SalvageStopped(sh, r.state.Shards, r.data.log.Group(uint16(sh)), snapshots, to)
}

// Close gives the directory up.
func (r *Remains) Close() error { return r.data.Close() }
