package broker

import (
	"context"
	"net/netip"
	"slices"
	"sort"
	"strings"
	"time"

	"dunlin/node/auth"
	"dunlin/node/listen"
	"dunlin/proto/mqtt"
	"dunlin/raftstore"
	"dunlin/router"
	"dunlin/session"
)

// ClientInfo is a connected client as administrators see it.
type ClientInfo struct {
	ClientID      string
	User          string
	Remote        netip.AddrPort
	Listener      string
	Version       mqtt.Version
	Connected     time.Duration // for how long
	KeepAlive     time.Duration
	SessionExpiry uint32 // seconds
	Subscriptions int
	Inflight      int
	Queued        int
}

// Clients lists the node's connected clients by client identifier.
func (b *Broker) Clients(ctx context.Context) ([]ClientInfo, error) {
	var all []ClientInfo
	err := b.each(ctx, func(w *worker) any {
		var list []ClientInfo
		w.conns.all(func(c *conn) {
			if c.phase == up {
				list = append(list, w.info(c))
			}
		})
		return list
	}, func(part any) { all = append(all, part.([]ClientInfo)...) })
	sort.Slice(all, func(i, j int) bool { return all[i].ClientID < all[j].ClientID })
	return all, err
}

// ClaimInfo is a connection that holds a client identifier by a claim at its shard.
type ClaimInfo struct {
	ClientID string
	Conn     router.Subscriber
	Epoch    session.Epoch
}

// Claims lists the node's connections that hold a claim at shard sh.
func (b *Broker) Claims(ctx context.Context, sh router.ShardID) (all []ClaimInfo, err error) {
	err = b.each(ctx, func(w *worker) any {
		var list []ClaimInfo
		w.conns.all(func(c *conn) {
			if c.phase == up && c.claimed && c.shard == sh {
				list = append(list, ClaimInfo{w.clientID(c), c.subscriber(), c.epoch})
			}
		})
		return list
	}, func(part any) { all = append(all, part.([]ClaimInfo)...) })
	return all, err
}

// Kick closes the connections of a client identifier on this node with 0x98 and
// says how many there were.
func (b *Broker) Kick(ctx context.Context, clientID string) (int, error) {
	n := 0
	err := b.each(ctx, func(w *worker) any {
		kicked := 0
		w.conns.all(func(c *conn) {
			if c.phase == up && w.clientID(c) == clientID {
				w.end(c, mqtt.AdministrativeAction)
				kicked++
			}
		})
		return kicked
	}, func(part any) { n += part.(int) })
	return n, err
}

// Expel closes this node's connections of those who are to be let in no more, 5.0 ones with
// 0x87, and refuses them who wait for their CONNACK. It says how many there were. Who has
// been found before Former knew, and is not known here yet, is refused when he is.
func (b *Broker) Expel(ctx context.Context) (int, error) {
	n := 0
	err := b.each(ctx, func(w *worker) any { return w.expel() }, func(part any) { n += part.(int) })
	return n, err
}

func (w *worker) expel() int {
	var out []listen.ID
	w.conns.all(func(c *conn) {
		if (c.phase == up || c.phase == connecting) && w.former(c.client.who) {
			w.withdraw(c) // all of them first, see closeAll
			out = append(out, c.id)
		}
	})
	w.counters.Expelled += uint64(len(out))
	for _, id := range out {
		switch c := w.conn(id); {
		case c == nil:
		case c.phase == connecting:
			w.connack(c, mqtt.NotAuthorized)
		default:
			w.end(c, mqtt.NotAuthorized)
		}
	}
	return len(out)
}

// former says whether somebody was found who is to be let in no more.
func (w *worker) former(who *auth.Principal) bool { return w.Former != nil && w.Former(who) }

// each runs f on every worker's loop and gives the results to take, one by one.
func (b *Broker) each(ctx context.Context, f func(*worker) any, take func(any)) error {
	results := make(chan any, len(b.workers))
	for _, w := range b.workers {
		w.loop.Post(func(w *worker) { results <- f(w) })
	}
	for range b.workers {
		select {
		case r := <-results:
			take(r)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (w *worker) info(c *conn) ClientInfo {
	queued, _ := c.live.Backlog()
	return ClientInfo{
		ClientID: strings.Clone(w.clientID(c)), User: c.client.who.User(),
		Remote: w.remote(c), Listener: w.listeners[c.client.listener], Version: c.version,
		Connected: time.Duration(w.now() - c.client.since),
		KeepAlive: time.Duration(c.client.agreed.KeepAlive) * time.Second, SessionExpiry: c.client.agreed.SessionExpiry,
		Subscriptions: int(c.client.filters),
		Inflight:      c.live.Inflight(),
		Queued:        queued,
	}
}

// Disconnect closes every connection with 0x8B; the loops flush what they can.
func (b *Broker) Disconnect(ctx context.Context) error {
	b.Accept(false)
	defer func() {
		for _, w := range b.workers {
			w.arrears.end() // the loops end next
		}
	}()
	return b.each(ctx, func(w *worker) any { w.closeAll(mqtt.ServerShuttingDown); return nil }, func(any) {})
}

// Settle waits until the shards know what connections said last: that they ended,
// and how, those included whose claim was still under way. A node calls it when its loops have ended, before it gives up its lease:
// from then on the shards take whoever is left for lost, and a goodbye that is still
// on its way comes too late (P6).
func (b *Broker) Settle(ctx context.Context) error {
	if b.shards == nil {
		return nil // there were no connections
	}
	for sh := range b.shards.Shards() {
		select {
		case <-b.claimsAt[sh].over():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	waiting := 0
	done := make(chan struct{}, b.shards.Shards())
	for sh := range router.ShardID(b.shards.Shards()) {
		if !slices.ContainsFunc(b.workers, func(w *worker) bool { return w.lastWords[sh].Load() > 0 }) {
			continue
		}
		waiting++
		b.shards.Submit(sh, raftstore.Acks{}, func(raftstore.Result) { done <- struct{}{} }) // behind them
	}
	for range waiting {
		select {
		case <-done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
