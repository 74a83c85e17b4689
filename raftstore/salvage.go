package raftstore

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"dunlin/router"

	"github.com/hashicorp/raft"
)

// ErrGap says that entries are missing between a replica's snapshot and its log.
var ErrGap = errors.New("raftstore: entries are missing between the snapshot and the log")

// Position is how far a log goes. Of two replicas of a group the one whose
// position is behind holds nothing committed that the other does not.
type Position struct {
	Term, Index uint64
}

// Behind says that o goes further, by Raft's rule.
func (p Position) Behind(o Position) bool {
	return p.Term < o.Term || p.Term == o.Term && p.Index < o.Index
}

// LastPosition is how far the log and the snapshots of a stopped replica go; zero
// if they hold nothing.
func LastPosition(log raft.LogStore, snapshots raft.SnapshotStore) (p Position, err error) {
	list, err := snapshots.List()
	if err != nil {
		return p, err
	}
	if len(list) > 0 {
		p = Position{list[0].Term, list[0].Index}
	}
	last, err := log.LastIndex()
	if err != nil || last <= p.Index {
		return p, err
	}
	var l raft.Log
	if err := log.GetLog(last, &l); err != nil {
		return p, err
	}
	return Position{l.Term, l.Index}, nil
}

// Replay brings a state machine to where the log and the snapshots of a stopped
// replica go: restore is given the latest snapshot that there is, apply each
// command behind it. Commands count that are not known to be committed: what was
// acknowledged in the end is among them, and nobody is left to ask.
func Replay(log raft.LogStore, snapshots raft.SnapshotStore, restore func(io.ReadCloser) error, apply func(*raft.Log)) error {
	list, err := snapshots.List()
	if err != nil {
		return err
	}
	var from uint64
	if len(list) > 0 {
		_, snapshot, err := snapshots.Open(list[0].ID)
		if err != nil {
			return fmt.Errorf("open snapshot %s: %w", list[0].ID, err)
		}
		err = restore(snapshot)
		if err = errors.Join(err, snapshot.Close()); err != nil {
			return fmt.Errorf("read snapshot %s: %w", list[0].ID, err)
		}
		from = list[0].Index
	}
	first, err := log.FirstIndex()
	if err != nil {
		return err
	}
	last, err := log.LastIndex()
	if err != nil {
		return err
	}
	if last > from && first > from+1 {
		return fmt.Errorf("%w: %d to %d", ErrGap, from+1, first-1)
	}
	for i := from + 1; i <= last; i++ {
		var l raft.Log
		if err := log.GetLog(i, &l); err != nil {
			return fmt.Errorf("read entry %d: %w", i, err)
		}
		if l.Type == raft.LogCommand {
			apply(&l)
		}
	}
	return nil
}

// SalvageStopped is Store.Salvage for a replica whose node is stopped, of a
// cluster of so many shards. What it writes may hold commands that were never
// committed, see Replay, and lack what only others had.
func SalvageStopped(sh router.ShardID, shards int, log raft.LogStore, snapshots raft.SnapshotStore, to io.Writer) error {
	st := newState(sh)
	st.shards = shards
	err := Replay(log, snapshots, func(from io.ReadCloser) (err error) {
		if st, err = restoreState(sh, bufio.NewReaderSize(from, chunkBytes)); err == nil {
			st.shards = shards
		}
		return err
	}, func(l *raft.Log) {
		st.apply(l.Data, nil)
		st.fx.reset()
	})
	if err == nil {
		err = st.check()
	}
	if err == nil {
		err = writeBackupHead(to, sh, shards)
	}
	if err == nil {
		err = st.snapshot(to)
	}
	if err != nil {
		return fmt.Errorf("raftstore: salvage shard %d: %w", sh, err)
	}
	return nil
}
