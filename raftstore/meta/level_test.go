package meta

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"dunlin/raftstore/level"
)

// later is a level of a release that does not exist yet.
const later = level.Newest + 1

// A level is in force once, and for ever, when the starts that have been asked are all that
// there are: a node that came or started since may run anything.
func TestRaise(t *testing.T) {
	m := NewMachine(level.Span{Newest: later}, nil)
	both := map[uint32]uint64{1: 1, 2: 4}
	expect(t, "too early", do(m, &Raise{Level: 2}), Result{Err: ErrNotFormed})
	do(m, &Form{Cluster: "c", Shards: 16, Factor: 3})
	do(m, &Enter{Identity: "a", Start: 1})
	expect(t, "the first", do(m, &Raise{Level: level.First, Starts: map[uint32]uint64{9: 9}}), Result{})
	do(m, &Enter{Identity: "b", Start: 3})
	for what, starts := range map[string]map[uint32]uint64{
		"without a node that came since":    {1: 1},
		"without a start that came since":   {1: 1, 2: 2},
		"with a node that is not there":     {1: 1, 3: 3},
		"with one more that is not there":   {1: 1, 2: 3, 3: 3},
		"with a start that is not there":    {1: 1, 2: 4},
		"of a cluster that holds no nodes":  nil,
		"with the start of one for another": {1: 3, 2: 1},
	} {
		if got := do(m, &Raise{Level: 2, Starts: starts}); got.Err != ErrConflict || m.State().InForce(2) {
			t.Fatalf("%s: %v, in force %v", what, got.Err, m.State().InForce(2))
		}
	}
	do(m, &Enter{Identity: "b", Start: 4})
	expect(t, "raise", do(m, &Raise{Level: 2, Starts: both}), Result{})
	if s := m.State(); !s.InForce(1) || !s.InForce(2) || s.InForce(3) {
		t.Fatalf("level %d is in force", s.Level)
	}
	expect(t, "late", do(m, &Raise{Level: 2}), Result{})
	expect(t, "back", do(m, &Raise{Level: 1, Starts: both}), Result{})
	if s := m.State(); !s.InForce(2) {
		t.Fatal("the level has fallen")
	}
	// From here on a node says what it can work at.
	expect(t, "says nothing", do(m, &Enter{Identity: "a", Start: 2}), Result{Err: ErrRelease})
	expect(t, "too old", do(m, &Enter{Identity: "c", Start: 1, Levels: level.Span{Oldest: 1, Newest: 1}}), Result{Err: ErrRelease})
	expect(t, "too new", do(m, &Enter{Identity: "c", Start: 1, Levels: level.Span{Oldest: 3, Newest: 5}}), Result{Err: ErrRelease})
	expect(t, "a release without end", do(m, &Enter{Identity: "a", Start: 2, Release: strings.Repeat("x", MaxRelease+1), Levels: level.Span{Newest: 2}}), Result{Err: ErrInvalid})
	expect(t, "can", do(m, &Enter{Identity: "a", Start: 2, Release: "v1", Levels: level.Span{Oldest: 1, Newest: 2}}), Result{Node: 1, Start: 2, Generation: 2})
	if n := m.State().Nodes[1]; n.Release != "v1" || n.Levels.Newest != 2 {
		t.Fatalf("%+v", n)
	}
	expect(t, "above what it can", do(m, &Raise{Level: later, Starts: map[uint32]uint64{1: 2, 2: 4}}), Result{Err: ErrConflict})
	if err := m.State().Check(); err != nil {
		t.Fatal(err)
	}
}

// D6: a node stops at what it does not understand, in the log and in a snapshot, with whatever
// else is in that, and says why.
func TestLevelTooHigh(t *testing.T) {
	form, raise := &Form{Cluster: "c", Shards: 16, Factor: 3}, &Raise{Level: later}
	newer, older := NewMachine(level.Span{Newest: later}, nil), NewMachine(level.Known(), nil)
	do(newer, form)
	do(older, form)
	do(newer, raise)
	func() {
		defer func() {
			err, _ := recover().(error)
			if unknown := (*level.Error)(nil); !errors.As(err, &unknown) || unknown.Level != later {
				t.Errorf("it went on, or stopped with %v", err)
			}
		}()
		do(older, raise)
	}()
	if older.State().Level != 0 {
		t.Error("it has the level")
	}
	unheard := bytes.Replace(newer.State().encode(), []byte(`{"index"`), []byte(`{"unheard_of":1,"index"`), 1)
	for what, b := range map[string][]byte{"known fields": snapshot(t, newer), "unknown fields": seal(unheard)} {
		err := NewMachine(level.Known(), nil).Restore(io.NopCloser(bytes.NewReader(b)))
		if unknown := (*level.Error)(nil); !errors.As(err, &unknown) || !strings.Contains(err.Error(), "start one that can work at that") {
			t.Errorf("a snapshot with %s: %v", what, err)
		}
	}
	// A raise that comes to nothing is nobody's end.
	do(older, &Enter{Identity: "a", Start: 1})
	if got := older.Apply(&raft.Log{Index: 9, Data: Encode(raise)}).(Result); got.Err != ErrConflict {
		t.Errorf("%+v", got)
	}
}
