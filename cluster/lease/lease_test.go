package lease

import (
	"testing"

	"dunlin/raftstore/meta"
)

// P6: a node that rejoins under the start that it had is not declared dead for the
// generation before, by one whose replica of meta is behind.
func TestClosedLeavesOutWhoBeginsAnew(t *testing.T) {
	l := &Lease{}
	l.counts.Store(&counts{})
	l.mu.others = map[uint32]*other{2: {holder: holder{2, 5}, identity: "b", start: 3, over: true, closed: true}}
	if got := l.Closed(); len(got) != 1 || got[0] != (Ended{Node: 2, Identity: "b", Start: 3}) {
		t.Fatalf("closed: %v", got)
	}
	l.countLocked("b", holder{2, 6})
	if got := l.Closed(); len(got) != 0 {
		t.Errorf("closed, and counted anew: %v", got)
	}
	behind := &meta.State{Numbered: 2, Nodes: map[uint32]meta.Node{2: {Generation: 5, Admitted: true, Revoked: true}}}
	if l.dropLocked(behind); !l.Counts("b") {
		t.Error("not counted any more")
	}
}
