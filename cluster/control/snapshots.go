package control

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"
)

// snapshotStore is a group's snapshots, of whose errors the node hears that Raft would
// only log and go on after:
//
//   - while there is no room for one more, the latest and the log behind it hold all
//     that was acknowledged, so that one that could not be taken is left out, said and
//     counted; the next one is tried in its time;
//   - any other error says that the disk failed, or that what was stored is damaged, and
//     the node stops (D2).
type snapshotStore struct {
	raft.SnapshotStore
	dir    string
	group  uint16
	failed func(error)
	full   prometheus.Counter
	log    *slog.Logger
}

// unfinished ends the names of what the file store has not made a snapshot yet.
const unfinished = ".tmp"

// newSnapshotStore opens a group's snapshots, and removes what an earlier start left
// unfinished. failed is told what the node must stop for.
func newSnapshotStore(dir string, group uint16, full prometheus.Counter, failed func(error), log *slog.Logger) (*snapshotStore, error) {
	files, err := raft.NewFileSnapshotStoreWithLogger(dir, retain, raftLogger(log))
	if err != nil {
		return nil, err
	}
	// Where the store keeps them, under a folder of its own.
	dir = filepath.Join(dir, "snapshots")
	left, err := filepath.Glob(filepath.Join(dir, "*"+unfinished))
	if err != nil {
		return nil, err
	}
	for _, name := range left {
		if err := os.RemoveAll(name); err != nil {
			return nil, err
		}
	}
	return &snapshotStore{SnapshotStore: files, dir: dir, group: group, failed: failed, full: full, log: log}, nil
}

// newSnapshotCounter counts what had no room.
func newSnapshotCounter() prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{
		Name: "dunlin_raft_snapshots_unstored_total",
		Help: "Snapshots of Raft groups that were left out as there was no room on the disk, or no file descriptor.",
	})
}

// noRoom are the errors that leave what is stored as it was, and may end.
var noRoom = []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EMFILE, syscall.ENFILE}

// judge passes err on, once the node has heard of it.
func (s *snapshotStore) judge(doing string, err error) error {
	if err == nil {
		return nil
	}
	for _, passing := range noRoom {
		if errors.Is(err, passing) {
			s.full.Inc()
			s.log.Error("a snapshot is left out and the log grows: make room on the disk of the data directory, "+
				"or raise the limit of file descriptors", "group", s.group, "doing", doing, "err", err)
			return err
		}
	}
	s.failed(fmt.Errorf("snapshot of group %d: %s: %w", s.group, doing, err))
	return err
}

// Create implements raft.SnapshotStore.
func (s *snapshotStore) Create(version raft.SnapshotVersion, index, term uint64, conf raft.Configuration,
	confIndex uint64, t raft.Transport,
) (raft.SnapshotSink, error) {
	sink, err := s.SnapshotStore.Create(version, index, term, conf, confIndex, t)
	if err != nil {
		return nil, s.judge("create", err)
	}
	return &snapshotSink{SnapshotSink: sink, store: s}, nil
}

// List implements raft.SnapshotStore. A replica that is being removed has none.
func (s *snapshotStore) List() ([]*raft.SnapshotMeta, error) {
	all, err := s.SnapshotStore.List()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return all, s.judge("list", err)
}

// Open implements raft.SnapshotStore. It checks the whole snapshot, and one that is
// damaged ends the node: Raft would take an older one, which the log may not go on
// from. One that is not there was replaced since it was listed.
func (s *snapshotStore) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	meta, from, err := s.SnapshotStore.Open(id)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	return meta, from, s.judge("open "+id, err)
}

// snapshotSink is a snapshot that is being written.
type snapshotSink struct {
	raft.SnapshotSink
	store *snapshotStore
	left  bool // it had no room, and is counted
}

// judge counts what had no room once, and gives what it took back: the file store
// does not.
func (s *snapshotSink) judge(doing string, err error) error {
	if err == nil {
		return nil
	}
	if !s.left {
		s.left = true
		err = s.store.judge(doing, err)
	}
	_ = os.RemoveAll(filepath.Join(s.store.dir, s.ID()+unfinished)) // if it stays, the next start removes it
	return err
}

// Write implements raft.SnapshotSink.
func (s *snapshotSink) Write(b []byte) (int, error) {
	n, err := s.SnapshotSink.Write(b)
	return n, s.judge("write "+s.ID(), err)
}

// Close implements raft.SnapshotSink.
func (s *snapshotSink) Close() error { return s.judge("finish "+s.ID(), s.SnapshotSink.Close()) }

// Cancel implements raft.SnapshotSink.
func (s *snapshotSink) Cancel() error { return s.judge("remove "+s.ID(), s.SnapshotSink.Cancel()) }
