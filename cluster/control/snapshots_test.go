package control

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hashicorp/raft"
	dto "github.com/prometheus/client_model/go"

	"dunlin/raftstore/level"
	"dunlin/raftstore/meta"
)

// brittle is a store whose operations fail as they are told to.
type brittle struct {
	create, list, open error
	sink               brittleSink
}

func (b *brittle) Create(raft.SnapshotVersion, uint64, uint64, raft.Configuration, uint64, raft.Transport) (raft.SnapshotSink, error) {
	return &b.sink, b.create
}
func (b *brittle) List() ([]*raft.SnapshotMeta, error) { return nil, b.list }
func (b *brittle) Open(string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	return nil, nil, b.open
}

type brittleSink struct{ write, close, cancel error }

func (s *brittleSink) ID() string                  { return "1-2-3" }
func (s *brittleSink) Write(b []byte) (int, error) { return len(b), s.write }
func (s *brittleSink) Close() error                { return s.close }
func (s *brittleSink) Cancel() error               { return s.cancel }

// take has a store go through a snapshot as Raft does.
func take(s raft.SnapshotStore) {
	sink, err := s.Create(1, 1, 1, raft.Configuration{}, 1, nil)
	if err != nil {
		return
	}
	if _, err := sink.Write([]byte("state")); err != nil {
		_ = sink.Cancel()
		return
	}
	_ = sink.Close()
}

// D2: an error of the disk ends the node, whatever Raft makes of it. Without room the
// snapshot is left out and counted once, and what it took is given back.
func TestSnapshotErrors(t *testing.T) {
	pathErr := func(errno syscall.Errno) error { return &fs.PathError{Op: "write", Path: "state.bin", Err: errno} }
	for name, c := range map[string]struct {
		inner  brittle
		failed bool
		full   float64
	}{
		"well":                      {},
		"create, failed disk":       {inner: brittle{create: pathErr(syscall.EIO)}, failed: true},
		"create, full":              {inner: brittle{create: pathErr(syscall.ENOSPC)}, full: 1},
		"create, no descriptors":    {inner: brittle{create: pathErr(syscall.EMFILE)}, full: 1},
		"write, failed disk":        {inner: brittle{sink: brittleSink{write: pathErr(syscall.EIO)}}, failed: true},
		"write, full":               {inner: brittle{sink: brittleSink{write: pathErr(syscall.ENOSPC), cancel: pathErr(syscall.ENOSPC)}}, full: 1},
		"finish, failed sync":       {inner: brittle{sink: brittleSink{close: pathErr(syscall.EIO)}}, failed: true},
		"finish, over quota":        {inner: brittle{sink: brittleSink{close: pathErr(syscall.EDQUOT)}}, full: 1},
		"finish, read-only by now":  {inner: brittle{sink: brittleSink{close: pathErr(syscall.EROFS)}}, failed: true},
		"list, failed disk":         {inner: brittle{list: pathErr(syscall.EIO)}, failed: true},
		"list of one that left":     {inner: brittle{list: fs.ErrNotExist}},
		"open, damaged":             {inner: brittle{open: errors.New("CRC mismatch")}, failed: true},
		"open, replaced since then": {inner: brittle{open: fs.ErrNotExist}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			part := filepath.Join(dir, "1-2-3"+unfinished)
			if err := os.Mkdir(part, 0o700); err != nil {
				t.Fatal(err)
			}
			var told []error
			var said bytes.Buffer
			full := newSnapshotCounter()
			s := &snapshotStore{
				SnapshotStore: &c.inner, dir: dir, group: 7, full: full,
				failed: func(err error) { told = append(told, err) },
				log:    slog.New(slog.NewTextHandler(&said, nil)),
			}
			take(s)
			_, _ = s.List()
			_, _, _ = s.Open("1-2-3")
			if (len(told) > 0) != c.failed {
				t.Errorf("the node was told %v", told)
			}
			for _, err := range told {
				if !strings.Contains(err.Error(), "group 7") {
					t.Errorf("it was not told of which group: %v", err)
				}
			}
			var counted dto.Metric
			if err := full.Write(&counted); err != nil || counted.Counter.GetValue() != c.full {
				t.Errorf("%v counted for want of room, %v", counted.Counter, err)
			}
			if c.full > 0 && !strings.Contains(said.String(), "make room") {
				t.Errorf("an operator reads %q", said.String())
			}
			if sinks := c.inner.sink != (brittleSink{}); sinks {
				if _, err := os.Stat(part); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("a part is left: %v", err)
				}
			}
		})
	}
}

// What a start left unfinished is gone with the next, and what it finished is not.
func TestUnfinishedSnapshotsAreRemoved(t *testing.T) {
	dir, log := t.TempDir(), slog.New(slog.DiscardHandler)
	failed := func(err error) { t.Error(err) }
	open := func() *snapshotStore {
		s, err := newSnapshotStore(dir, 7, newSnapshotCounter(), failed, log)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	take(s)
	if _, err := s.Create(1, 2, 2, raft.Configuration{}, 1, nil); err != nil {
		t.Fatal(err)
	}
	s = open()
	if left, err := filepath.Glob(filepath.Join(s.dir, "*")); err != nil || len(left) != 1 {
		t.Errorf("%v, %v", left, err)
	}
	if all, err := s.List(); err != nil || len(all) != 1 {
		t.Errorf("%d snapshots, %v", len(all), err)
	}
}

// D6: the node hears of a panic of meta's, of which group and which entry.
func TestBrokenMeta(t *testing.T) {
	var told error
	g := &guarded{Machine: meta.NewMachine(level.Known(), nil), broken: func(err error) { told = err }}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("it went on")
			}
		}()
		g.Apply(&raft.Log{Index: 9, Data: []byte{0xFF}})
	}()
	if told == nil || !strings.Contains(told.Error(), "meta at entry 9") {
		t.Errorf("told %v", told)
	}
}
