package raftstore

import (
	"slices"
	"time"
)

// repush is a node on the way of having the committed windows of its sessions
// pushed again, as fast as it takes them. Meanwhile what is new is pushed as ever:
// the owner takes it in its turn.
type repush struct {
	to   Node
	slot uint32 // where to go on
	over bool   // more may be lost of what is behind: begin again at the end
}

// repushEvery is how soon a node that had no room is asked again.
const repushEvery = 5 * time.Millisecond

// pushAllAgain pushes the windows of all nodes' sessions again, as a new leader
// does.
func (sh *shard) pushAllAgain() {
	sh.again = sh.again[:0]
	var nodes []Node
	for _, rec := range sh.st.sessions.eachOpen(0) { // the others have no window
		if rec.Attached() && !slices.Contains(nodes, rec.node) {
			nodes = append(nodes, rec.node)
			sh.again = append(sh.again, repush{to: rec.node})
		}
	}
	sh.goOnPushing()
}

// pushAgain pushes the windows of one node's sessions again, and which of its
// connections lost theirs.
func (sh *shard) pushAgain(to Node) {
	for i := range sh.st.endings {
		if e := &sh.st.endings[i]; e.node == to {
			sh.end(&e.endedConn)
		}
	}
	if i := slices.IndexFunc(sh.again, func(r repush) bool { return r.to == to }); i >= 0 {
		sh.again[i].over = true
		return
	}
	sh.again = append(sh.again, repush{to: to})
	sh.goOnPushing()
}

// goOnPushing pushes to each node what it has room for, and goes on later if that
// is not all.
func (sh *shard) goOnPushing() {
	left := sh.again[:0]
	for _, r := range sh.again {
		if sh.pushSome(&r) {
			left = append(left, r)
		}
	}
	sh.again = left
	if len(left) > 0 && !sh.pacing {
		sh.pacing = true
		time.AfterFunc(repushEvery, func() {
			sh.call(func() {
				sh.pacing = false
				sh.goOnPushing()
			})
		})
	}
}

// pushSome pushes windows of r's node as long as that has room, one after another,
// and says whether any are left.
func (sh *shard) pushSome(r *repush) (more bool) {
	for {
		for slot, rec := range sh.st.sessions.eachOpen(r.slot) {
			if rec.node != r.to || !rec.Attached() {
				continue
			}
			if r.slot = slot; !sh.world.Room(r.to) {
				return true
			}
			sh.pushWindow(slot, rec)
		}
		if !r.over {
			return false
		}
		r.slot, r.over = 0, false
	}
}

// pushWindow pushes the window of one session, between two entries.
func (sh *shard) pushWindow(slot uint32, rec *record) {
	fx := &sh.st.fx
	for o := range rec.Window {
		sh.st.pushWindow(slot, rec, &o)
	}
	if len(fx.pushes) == 0 {
		return
	}
	dropped := fx.dropped // counted with the next entry
	fx.clock = sh.clock()
	sh.push(rec.Epoch(), rec.Epoch())
	fx.reset()
	fx.dropped = dropped
}
