package broker

import (
	"dunlin/router"
	"dunlin/session"
)

// whereabouts says where the routes of subscriptions are, to wait until they are
// everywhere: in the node's own table, in a shard, or in both.
type whereabouts struct {
	version uint64 // of the node's route table; 0: nothing there
	durable bool
	shard   router.ShardID // if durable
	index   uint64         // of the shard's command that has them
}

// routing is SUBACKs of one turn that wait for the same: for the latest of the
// routes of them all, in this node's table and in one shard or none.
type routing struct {
	subacks []suback
	routes  whereabouts
}

// awaitRoutes has s sent when its routes are everywhere.
func (w *worker) awaitRoutes(s suback) {
	r := w.routingTo(s.routes)
	r.subacks = append(r.subacks, s)
	r.routes.version = max(r.routes.version, s.routes.version)
	r.routes.index = max(r.routes.index, s.routes.index)
}

// routingTo finds or makes the one of this turn.
func (w *worker) routingTo(to whereabouts) *routing {
	for _, r := range w.routing {
		if r.routes.durable == to.durable && r.routes.shard == to.shard {
			return r
		}
	}
	r := &routing{routes: to}
	w.routing = append(w.routing, r)
	return r
}

// flushRoutes begins to wait, for all SUBACKs of the turn, until every node has
// their routes.
func (w *worker) flushRoutes() {
	for _, r := range w.routing {
		if r.routes.version == 0 {
			w.awaitShard(r)
			continue
		}
		w.peers.Routed(r.routes.version, func() { w.awaitShard(r) })
	}
	clear(w.routing)
	w.routing = w.routing[:0]
}

// awaitShard goes on when the node's own routes are everywhere, on any goroutine.
func (w *worker) awaitShard(r *routing) {
	if !r.routes.durable {
		w.loop.Post(r)
		return
	}
	w.routes.Synced(r.routes.shard, r.routes.index, func(ok bool) {
		if ok {
			w.loop.Post(r)
		} else {
			w.loop.Post(func(w *worker) { w.unrouted(r) })
		}
	})
}

// routed goes on with SUBACKs whose routes are everywhere: if retained messages
// are to follow, the cuts come first; then they are sent at the end of the turn.
func (w *worker) routed(r *routing) {
	for _, s := range r.subacks {
		w.readCuts(s.replays, func(cuts []session.Cut, err error) {
			if err == nil {
				s.cuts = cuts
				w.granted = append(w.granted, s)
			} else if c := w.conn(s.conn); c != nil {
				w.counters.Unknown++
				w.drop(c) // as unrouted
			}
		})
	}
}

// giveSuback sends a SUBACK, then begins its replays.
func (w *worker) giveSuback(s *suback) {
	c := w.conn(s.conn)
	if c == nil || c.phase != up {
		return
	}
	w.loop.End(c.id, c.live.Subscribed(s.packetID, s.reasons, w.loop.Begin(c.id)))
	w.answered(c)
	w.counters.Subscribed += uint64(len(s.reasons))
	w.beginReplays(c, s)
}

// unrouted closes the connections whose SUBACK would promise what is not known:
// they ask again, through a node that may know.
func (w *worker) unrouted(r *routing) {
	for i := range r.subacks {
		if c := w.conn(r.subacks[i].conn); c != nil && c.phase == up {
			w.counters.Unknown++
			w.drop(c)
		}
	}
}
