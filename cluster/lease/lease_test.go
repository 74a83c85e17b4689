package lease

import (
	"testing"
	"time"

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

// votes is a replica of three voters of which this node is one.
type votes struct{ Replica }

func (votes) Voters() []string { return []string{"a", "b", "c"} }

// reaches says how all others are, and since when.
type reaches struct {
	Peers
	reach Reach
	since time.Duration
}

func (r reaches) Reach(string) (Reach, time.Duration) { return r.reach, r.since }

// three is node 2 of three, for which all is well.
func three(now time.Time) (*Lease, *meta.State) {
	o := DefaultOptions()
	o.Replica, o.Identity = votes{}, "b"
	o.Peers = reaches{reach: Up}
	l := &Lease{opts: o}
	l.mu.me = holder{2, 1}
	l.mu.heeds = now.Add(-time.Hour)
	l.mu.others = map[uint32]*other{1: {holder: holder{1, 1}, identity: "a"}, 3: {holder: holder{3, 1}, identity: "c"}}
	l.mu.heard = map[uint32]heard{1: {holder: holder{1, 1}, at: now}, 3: {holder: holder{3, 1}, at: now}}
	s := &meta.State{Numbered: 3, Nodes: map[uint32]meta.Node{
		1: {Identity: "a", Generation: 1, Admitted: true},
		2: {Identity: "b", Generation: 1, Admitted: true},
		3: {Identity: "c", Generation: 1, Admitted: true},
	}}
	return l, s
}

// E4: node 1, which leads, finds node 3 standing still, and then stands still itself
// when that one goes on. Node 2, which leads from then on, reaches node 3.
func TestWhoStandsStillTestifiesNoMore(t *testing.T) {
	now := time.Now()
	l, s := three(now)
	tell := heard{holder: holder{1, 1}, at: now, report: report{Down: []holder{{3, 1}}}}
	l.mu.heard[1] = tell
	if h, _, ok := decide(l.viewLocked(now, s)); !ok || h.Node != 3 {
		t.Errorf("node 1 says that it cannot reach 3: %v, %v", h, ok)
	}
	tell.at = now.Add(-l.still())
	l.mu.heard[1] = tell
	if h, _, ok := decide(l.viewLocked(now, s)); ok {
		t.Errorf("node %d is to go by what 1 said before it fell silent", h.Node)
	}
	tell.at = now.Add(-l.opts.Broken)
	l.mu.heard[1] = tell
	if h, _, ok := decide(l.viewLocked(now, s)); !ok || h.Node != 1 {
		t.Errorf("node 1 has not been heard for long: %v, %v", h, ok)
	}
}

// E4: who stood still has heard nobody meanwhile, and says so of none.
func TestWhoStoodStillCountsFromThen(t *testing.T) {
	now := time.Now()
	l, _ := three(now)
	o := l.mu.others[1]
	l.opts.Peers = reaches{reach: Down, since: 2 * time.Second}
	if l.reachLocked(now, o); now.Sub(o.lost) != 2*time.Second {
		t.Errorf("lost since %v", now.Sub(o.lost))
	}
	o.lost = time.Time{}
	l.stoodStillLocked(now)
	later := now.Add(time.Second)
	if l.reachLocked(later, o); later.Sub(o.lost) != time.Second {
		t.Errorf("lost since %v, a second after it stood still", later.Sub(o.lost))
	}
}
