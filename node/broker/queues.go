package broker

import (
	"dunlin/node/listen"
	"dunlin/proto/mqtt"
	"dunlin/raftstore"
	"dunlin/router"
	"dunlin/session"
)

// A share group with a member whose session is stored is a queue in a shard, of
// which every member has a session (P9): see raftstore. A connection without a
// claim makes one for its first share group, and the shard keeps those
// subscriptions as long as the connection lives. While the group is no queue,
// ephemeral members are drawn by the nodes all the same: see share.go.

// given marks the handle of a delivery that a queue gave to a connection whose
// session is not stored; the rest is its index in the shard.
const given = 1 << 63

// withClaim calls f when the connection has a claim, at once if it does.
func (w *worker) withClaim(c *conn, f func(c *conn)) {
	if c.claimed {
		f(c)
		return
	}
	if b := c.client.bid; b != nil {
		b.waiting = append(b.waiting, f)
		return
	}
	if !w.bid(c, raftstore.Claim{User: c.client.who.User(), CleanStart: true, Sole: true, Inflight: c.client.window}, w.claimedLate) {
		w.end(c, mqtt.ServerBusy)
		return
	}
	c.client.bid.waiting = append(c.client.bid.waiting, f)
}

// ClaimLate has a guest claim its identifier: see Guests.
func (b *Broker) ClaimLate(id router.Subscriber) {
	if w := b.workerOf(id); w != nil {
		w.loop.Post(func(w *worker) {
			if c := w.conn(listen.ID(id)); c != nil && c.guest && c.phase == up {
				w.withClaim(c, func(*conn) {})
			}
		})
	}
}

// claimedLate takes the shard's answer to the claim of a connection that is up.
func (w *worker) claimedLate(c *conn, b *bid, r raftstore.Result) {
	if r.Err != nil {
		w.drop(c)
		return
	}
	c.claimed, c.guest, c.epoch = true, false, r.Claim.Epoch
	for _, f := range b.waiting {
		if c.phase == up {
			f(c)
		}
	}
}

// join has the shards of share groups know of a member whose session's shard does,
// as of its command asOf; s goes on when they do, and their routes are everywhere.
func (w *worker) join(c *conn, s suback, subs []raftstore.Subscription, asOf uint64) {
	left := 1
	joined := func(ok bool) {
		c := w.conn(s.conn)
		switch {
		case c == nil || c.phase != up:
		case !ok:
			w.drop(c) // unknown is not failed (R6)
		default:
			if left--; left == 0 {
				w.awaitRoutes(s)
			}
		}
	}
	for _, sub := range subs {
		if sub.Filter.Group() == "" {
			continue
		}
		left++
		sh := raftstore.GroupShard(sub.Filter, w.shards.Shards())
		w.shards.Submit(sh, raftstore.Member{
			Group: sub.Filter, ClientID: w.clientID(c), Shard: c.shard, AsOf: asOf,
			Stored: c.persistent, Options: sub.Options,
		}, func(r raftstore.Result) {
			if r.Err != nil {
				w.loop.Post(func(*worker) { joined(false) })
				return
			}
			w.routes.Synced(sh, r.Index, func(ok bool) {
				w.loop.Post(func(*worker) { joined(ok) })
			})
		})
	}
	joined(true)
}

// queueUp brings a message to the queue of a share group. If it is none any more,
// it has no members but those who came since, and is theirs.
func (w *worker) queueUp(sh router.ShardID, f router.Filter, m *session.Message, legs *legs) {
	slot := legs.add(w)
	kept := m.Append(nil, w.now())
	w.shards.Submit(sh, raftstore.Share{Group: f, Message: *m}, func(r raftstore.Result) {
		w.loop.Post(func(w *worker) {
			w.landed(slot, r.Err != nil)
			if r.Err != nil || r.Known {
				return
			}
			m := &w.message
			if _, err := m.Parse(kept, w.now()); err != nil {
				panic("broker: kept message does not parse: " + err.Error())
			}
			if g := w.table.Group(f); g != nil {
				if _, queue := g.Queue(); !queue {
					w.handOn(sharing{filter: f}, m)
					return
				}
			}
			w.counters.SharedDropped++
		})
	})
}

// follows says whether a pushed delivery is the next that a queue gives to a
// connection whose session is not stored, as Live.Follows does for others.
func (cl *client) follows(index uint64) bool {
	if index != cl.given+1 {
		return false
	}
	cl.given++
	return true
}
