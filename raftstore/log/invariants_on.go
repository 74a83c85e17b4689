//go:build invariants

package log

import (
	"bytes"
	"fmt"

	"github.com/hashicorp/raft"
)

// checkCachedLocked holds callers to leaving the bytes of entries alone: what is
// cached is what was stored.
func (g *Group) checkCachedLocked(cached *raft.Log) {
	at := *g.mu.index.at(cached.Index)
	seg := g.log.segments.hold(at.segment)
	defer seg.release()
	var stored raft.Log
	if g.read(seg, at, cached.Index, &stored) != nil {
		return // the disk's fault, and found when it is read in earnest
	}
	if stored.Term != cached.Term || stored.Type != cached.Type ||
		!bytes.Equal(stored.Data, cached.Data) || !bytes.Equal(stored.Extensions, cached.Extensions) {
		panic(fmt.Sprintf("log: entry %d of group %d was changed after it was stored", cached.Index, g.id))
	}
}

// check verifies that segments and indexes agree, and that what is staged is
// what is stored; the syncer calls it between batches.
func (l *Log) check() {
	live := make(map[uint32]int64)
	for _, g := range l.all() {
		g.mu.RLock()
		var bytes int64
		for _, at := range g.mu.index.entries {
			live[at.segment] += int64(at.length)
			bytes += int64(at.length)
		}
		if bytes != g.mu.bytes {
			panic(fmt.Sprintf("log: group %d has %d bytes of entries and counts %d", g.id, bytes, g.mu.bytes))
		}
		if b := (bounds{g.mu.index.first, g.mu.index.next()}); b.first != b.next && b != g.staged {
			panic(fmt.Sprintf("log: group %d holds %v and staged %v", g.id, b, g.staged))
		}
		if r := &g.mu.recent; len(r.logs) > 0 && (r.first < g.mu.index.first || r.first+uint64(len(r.logs)) != g.mu.index.next()) {
			panic(fmt.Sprintf("log: group %d caches %d entries from %d on", g.id, len(r.logs), r.first))
		}
		g.mu.RUnlock()
	}
	for i, seg := range l.segments.list {
		if seg.number != l.segments.list[0].number+uint32(i) {
			panic(fmt.Sprintf("log: segment %d at place %d", seg.number, i))
		}
		if seg.live != live[seg.number] {
			panic(fmt.Sprintf("log: segment %d has %d live bytes and counts %d", seg.number, live[seg.number], seg.live))
		}
		delete(live, seg.number)
	}
	if len(live) > 0 {
		panic(fmt.Sprintf("log: entries lie in segments that are gone: %v", live))
	}
}
