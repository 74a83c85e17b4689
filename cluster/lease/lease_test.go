package lease

import (
	"testing"

	"dunlin/raftstore/meta"
)

// E4: a node that asked to be waited for in a later generation than meta's state
// shows here is.
func TestCountedAheadOfTheState(t *testing.T) {
	l := &Lease{}
	l.counts.Store(&counts{})
	l.mu.others = map[uint32]*other{2: {holder: holder{2, 5}, identity: "b", start: 3, over: true, closed: 5}}
	l.countLocked("b", holder{2, 6})
	behind := &meta.State{Numbered: 2, Nodes: map[uint32]meta.Node{2: {Generation: 5, Admitted: true, Revoked: true}}}
	if l.dropLocked(behind); !l.Counts("b") {
		t.Error("not counted any more")
	}
}
