package log_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/hashicorp/raft"

	"dunlin/raftstore/log"
	"dunlin/raftstore/log/logtest"
)

// options are small ones, on disk.
func options(disk *logtest.Disk) log.Options {
	o := log.DefaultOptions()
	o.FS, o.SegmentBytes, o.CacheBytes = disk, 4<<10, 2<<10
	return o
}

// open opens the log on disk, which the test closes if it has not been closed.
func open(t testing.TB, o log.Options) *log.Log {
	t.Helper()
	l, err := log.Open(t.TempDir(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// entries are those from first to last, of a term, with data that tells them apart.
func entries(first, last, term uint64) []*raft.Log {
	var logs []*raft.Log
	for i := first; i <= last; i++ {
		logs = append(logs, &raft.Log{Index: i, Term: term, Data: fmt.Appendf(nil, "entry %d of term %d", i, term)})
	}
	return logs
}

func store(t testing.TB, g *log.Group, logs []*raft.Log) {
	t.Helper()
	if err := g.StoreLogs(logs); err != nil {
		t.Fatal(err)
	}
}

// state is what can be read of a group.
type state struct {
	entries []raft.Log // consecutive
	stable  map[string]string
}

// keys are those that tests set.
var keys = []string{"term", "vote", "candidate"}

// read reads all of a group.
func read(g *log.Group) (state, error) {
	s := state{stable: make(map[string]string)}
	first, err := g.FirstIndex()
	if err != nil {
		return s, err
	}
	last, err := g.LastIndex()
	if err != nil {
		return s, err
	}
	if first > last || (first == 0) != (last == 0) {
		return s, fmt.Errorf("entries from %d to %d", first, last)
	}
	for i := first; i <= last && i > 0; i++ {
		var l raft.Log
		if err := g.GetLog(i, &l); err != nil {
			return s, err
		}
		s.entries = append(s.entries, l)
	}
	for _, i := range []uint64{first - 1, last + 1} {
		if err := g.GetLog(i, new(raft.Log)); !errors.Is(err, raft.ErrLogNotFound) {
			return s, fmt.Errorf("entry %d beside %d to %d: %w", i, first, last, err)
		}
	}
	for _, k := range keys {
		v, err := g.Get([]byte(k))
		if err != nil {
			return s, err
		}
		if v != nil {
			s.stable[k] = string(v)
		}
	}
	return s, nil
}

// diff says how two states differ, "" if they do not.
func diff(got, want state) string {
	if len(got.entries) != len(want.entries) {
		return fmt.Sprintf("%s, want %s", span(got.entries), span(want.entries))
	}
	for i, g := range got.entries {
		w := want.entries[i]
		if g.Index != w.Index || g.Term != w.Term || g.Type != w.Type || !bytes.Equal(g.Data, w.Data) ||
			!bytes.Equal(g.Extensions, w.Extensions) || !g.AppendedAt.Equal(w.AppendedAt) {
			return fmt.Sprintf("entry %d of term %d, want %d of term %d, or their content differs", g.Index, g.Term, w.Index, w.Term)
		}
	}
	if fmt.Sprint(got.stable) != fmt.Sprint(want.stable) {
		return fmt.Sprintf("stable values %v, want %v", got.stable, want.stable)
	}
	return ""
}

func span(logs []raft.Log) string {
	if len(logs) == 0 {
		return "no entries"
	}
	return fmt.Sprintf("entries %d to %d", logs[0].Index, logs[len(logs)-1].Index)
}
