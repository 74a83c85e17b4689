package shardroutes

import (
	"sync"

	"dunlin/router"
)

// holding is what this node holds of a shard's routes. Leaders' asks wait in a
// queue and are taken one after the other by one goroutine, since a large copy
// takes longer than the reader of a stream may be held up.
type holding struct {
	table *router.Table
	as    router.NodeID
	queue chan arrival

	mu struct { // the goroutine alone writes
		sync.Mutex
		whole   bool   // a copy was completed
		reign   uint64 // that it is of
		version uint64 // held of that reign
	}

	// Of the goroutine: a copy under way.
	copying bool
	reign   uint64 // its reign
	next    uint64 // number of the piece that is to follow
}

// arrival is an askHold that waits; reply is called once.
type arrival struct {
	hold
	reply func(held)
}

// maxArrivals may wait for one shard. A leader asks one at a time, so that only
// those of leaders whose reign is over are ever refused for it.
const maxArrivals = 4

func newHolding(table *router.Table, sh router.ShardID) *holding {
	return &holding{table: table, as: router.ShardNode(sh), queue: make(chan arrival, maxArrivals)}
}

// run takes what arrives until stop is closed.
func (h *holding) run(stop <-chan struct{}) {
	for {
		select {
		case a := <-h.queue:
			a.reply(h.take(&a.hold))
		case <-stop:
			return
		}
	}
}

// take does what a leader asks, if it follows on what is held:
//
//  1. Of an earlier reign than that of a copy, complete or not, nothing is taken.
//  2. A later reign begins with a copy. What was held serves until it is complete.
//  3. A copy comes piece by piece without a gap, and changes from the version held.
func (h *holding) take(a *hold) held {
	whole, reign, version := h.state()
	if a.reign < reign || h.copying && a.reign < h.reign {
		return held{later, max(reign, h.reign)}
	}
	if a.verb == verbCopy {
		return h.piece(a)
	}
	switch {
	case h.copying || !whole || a.reign != reign:
		return held{verdict: lacks}
	case a.version != version:
		return held{holds, version}
	}
	h.table.ApplyRemote(h.as, a.changes)
	version += uint64(len(a.changes))
	h.hold(reign, version)
	return held{holds, version}
}

// piece takes a piece of a copy.
func (h *holding) piece(a *hold) held {
	switch {
	case a.number == 0:
		h.table.BeginRemote(h.as)
		h.copying, h.reign, h.next = true, a.reign, 0
	case !h.copying || a.reign != h.reign || a.number != h.next:
		return held{verdict: lacks}
	}
	h.next++
	h.table.ApplyRemote(h.as, a.changes)
	if !a.last {
		return held{taken, h.next}
	}
	h.table.EndRemote(h.as)
	h.copying = false
	h.hold(a.reign, a.version)
	return held{holds, a.version}
}

func (h *holding) hold(reign, version uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mu.whole, h.mu.reign, h.mu.version = true, reign, version
}

func (h *holding) state() (whole bool, reign, version uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.mu.whole, h.mu.reign, h.mu.version
}
