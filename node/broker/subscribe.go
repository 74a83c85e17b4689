package broker

import (
	"errors"
	"slices"

	"dunlin/node/listen"
	"dunlin/proto/mqtt"
	"dunlin/raftstore"
	"dunlin/router"
	"dunlin/session"
)

// suback is a SUBACK that waits until the routes of its subscriptions have
// reached every node that may acknowledge publishes (P4, E4).
type suback struct {
	conn     listen.ID
	packetID uint16
	reasons  []mqtt.Reason
	routes   whereabouts
	wants    bool          // retained messages may follow
	replays  []*replay     // those that do
	cuts     []session.Cut // of them
}

// subscribe takes a SUBSCRIBE: each filter is judged alone [MQTT-3.8.4-6].
func (w *worker) subscribe(c *conn, p *mqtt.Subscribe) {
	s := suback{conn: c.id, packetID: p.PacketID, reasons: make([]mqtt.Reason, len(p.Filters))}
	var durable []raftstore.Subscription // to commit at the shard
	var places []int                     // their places in reasons
	size := messageCost                  // of what goes to the shard
	held := w.holds(c)
	for i := range p.Filters {
		line := &p.Filters[i]
		f, reason := w.judge(c, i, line, held)
		if reason == mqtt.ProtocolError {
			w.end(c, reason)
			return
		}
		s.reasons[i] = reason
		if reason >= mqtt.Unspecified {
			w.counters.SubscribeRefused++
			if reason == mqtt.NotAuthorized {
				w.denied(c, AttemptSubscribe, line.Filter)
			}
			continue
		}
		o := router.Options{
			QoS: uint8(line.QoS), NoLocal: line.NoLocal,
			RetainAsPublished: line.RetainAsPublished, ID: p.SubscriptionID,
		}
		sub := raftstore.Subscription{Filter: f, Options: o, RetainHandling: line.RetainHandling}
		s.wants = s.wants || sub.WantsRetained(false)
		if c.persistent || f.Group() != "" {
			durable = append(durable, sub)
			places = append(places, i)
			size += messageCost + len(line.Filter)
		}
		if c.persistent {
			c.client.granting++
		} else {
			existed := w.enter(c, f, o, &s)
			s.wantRetained(&sub, existed)
		}
	}
	w.work += filterWork * len(p.Filters)
	c.client.asking++
	if s.wants {
		c.client.begin()
		c.client.wanting++ // from now on it may be sent live what a replay finds
	}
	if len(durable) == 0 {
		w.awaitRoutes(s)
		return
	}
	c.client.restartReplays(durable)
	w.withClaim(c, func(c *conn) {
		left := w.bytesToShard(c.shard, size)
		w.shards.Submit(c.shard, raftstore.Subscribe{ClientID: w.clientID(c), Epoch: c.epoch, Filters: durable},
			func(r raftstore.Result) {
				left()
				w.loop.Post(func(w *worker) { w.subscribed(s, durable, places, r) })
			})
		w.holdBack(c.id)
	})
}

// filterWork is what a filter counts in the turn's work.
const filterWork = 8

// holds returns a test whether the client has a filter, which looks through them once,
// when it is first asked.
func (w *worker) holds(c *conn) func(router.Filter) bool {
	var all map[router.Filter]bool
	return func(f router.Filter) bool {
		if all == nil {
			w.work += int(c.client.filters) / filterWork
			all = make(map[router.Filter]bool, c.client.filters)
			for have := range w.filters(c).All() {
				all[have] = true
			}
		}
		return all[f]
	}
}

// judge parses line i of a SUBSCRIBE and says what to grant. held is the client's.
// ProtocolError ends the connection.
func (w *worker) judge(c *conn, i int, line *mqtt.Subscription, held func(router.Filter) bool) (router.Filter, mqtt.Reason) {
	if w.MaxSubscriptions > 0 && i >= w.MaxSubscriptions {
		w.counters.Limited[LimitSubscriptions]++
		return router.Filter{}, mqtt.QuotaExceeded // case 22
	}
	f, err := router.ParseFilter(line.Filter)
	switch {
	case err != nil || w.tooLong(line.Filter):
		w.countTopic(err)
		return f, mqtt.TopicFilterInvalid // cases 13, 14, 15
	case f.Group() != "" && line.NoLocal:
		return f, mqtt.ProtocolError // [MQTT-3.8.3-4]
	case !w.Access.Unrestricted() && !w.Access.MaySubscribe(w.identity(c), f, uint8(line.QoS)):
		return f, mqtt.NotAuthorized
	}
	if l, full := w.full(c); full && !held(f) {
		w.counters.Limited[l]++
		return f, mqtt.QuotaExceeded // case 23; what replaces one is no more
	}
	return f, mqtt.Reason(line.QoS)
}

// enter makes the route of a subscription held by the connection itself.
func (w *worker) enter(c *conn, f router.Filter, o router.Options, s *suback) (existed bool) {
	existed, version := w.table.Subscribe(f, c.subscriber(), o)
	if !existed {
		w.addFilter(c, f)
	}
	s.routes.version = max(s.routes.version, version)
	return existed
}

// subscribed takes the shard's answer for the subscriptions that it has.
func (w *worker) subscribed(s suback, subs []raftstore.Subscription, places []int, r raftstore.Result) {
	c := w.conn(s.conn)
	if c == nil || c.phase != up {
		return
	}
	if c.persistent {
		c.client.granting -= int32(len(subs))
	}
	switch {
	case c.persistent && errors.Is(r.Err, raftstore.ErrQuota):
		for _, i := range places {
			s.reasons[i] = mqtt.QuotaExceeded
		}
		w.awaitRoutes(s)
		return
	case r.Err != nil:
		w.failed(c, r.Err)
		return
	}
	if c.persistent {
		s.routes.durable, s.routes.shard, s.routes.index = true, c.shard, r.Index
		for i, sub := range subs {
			if !r.Existed[i] {
				w.addFilter(c, sub.Filter)
			}
			s.wantRetained(&subs[i], r.Existed[i])
		}
	}
	w.join(c, s, subs, r.Index)
}

// wantRetained notes that retained messages follow the SUBACK, if they do.
func (s *suback) wantRetained(sub *raftstore.Subscription, existed bool) {
	if sub.WantsRetained(existed) {
		s.replays = append(s.replays, &replay{filter: sub.Filter, options: sub.Options, fresh: !existed})
	}
}

// unsubscribe takes an UNSUBSCRIBE.
func (w *worker) unsubscribe(c *conn, p *mqtt.Unsubscribe) {
	reasons := make([]mqtt.Reason, len(p.Filters))
	var durable []router.Filter
	var places []int
	size := messageCost
	ended := make(map[router.Filter]bool, len(p.Filters))
	w.work += filterWork * len(p.Filters)
	for i, line := range p.Filters {
		f, err := router.ParseFilter(line)
		if err != nil {
			reasons[i] = mqtt.TopicFilterInvalid
			continue
		}
		reasons[i] = mqtt.NoSubscriptionExisted
		existed, _ := w.table.Unsubscribe(f, c.subscriber())
		if existed {
			reasons[i] = mqtt.Success
		}
		if c.persistent || existed && f.Group() != "" {
			durable = append(durable, f)
			places = append(places, i)
			size += messageCost + len(line)
		}
		ended[f] = true
	}
	if !c.persistent {
		w.deleteFilters(c, func(f router.Filter) bool { return ended[f] })
	}
	c.client.forget(ended)
	id, packetID := c.id, p.PacketID
	if len(durable) == 0 {
		w.loop.End(id, c.live.Unsubscribed(packetID, reasons, w.loop.Begin(id)))
		return
	}
	c.client.asking++
	w.withClaim(c, func(c *conn) {
		left := w.bytesToShard(c.shard, size)
		w.shards.Submit(c.shard, raftstore.Unsubscribe{ClientID: w.clientID(c), Epoch: c.epoch, Filters: durable},
			func(r raftstore.Result) {
				left()
				w.loop.Post(func(w *worker) {
					c := w.conn(id)
					switch {
					case c == nil || c.phase != up:
						return
					case r.Err != nil:
						w.failed(c, r.Err)
						return
					}
					if c.persistent {
						c.client.forget(ended) // a replay that was resumed meanwhile, too
					}
					if c.persistent {
						w.deleteFilters(c, func(f router.Filter) bool { return ended[f] })
					}
					for j, i := range places {
						if r.Existed[j] && c.persistent {
							reasons[i] = mqtt.Success
						}
					}
					w.answered(c)
					w.loop.End(id, c.live.Unsubscribed(packetID, reasons, w.loop.Begin(id)))
				})
			})
		w.holdBack(c.id)
	})
}

// subscriptions is how many the client has, those not yet granted included.
func (cl *client) subscriptions() int { return int(cl.filters + cl.granting) }

// forget drops the replays of filters.
func (cl *client) forget(ended map[router.Filter]bool) {
	cl.cancelReplays(ended)
	if cl.catchUp != nil {
		cl.fresh = slices.DeleteFunc(cl.fresh, func(x newcomer) bool { return ended[x.filter] })
	}
}
