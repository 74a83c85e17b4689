package broker

import (
	"crypto/x509"
	"sync/atomic"
	"time"

	"dunlin/cluster"
	"dunlin/node/auth"
	"dunlin/node/limit"
	"dunlin/node/listen"
	"dunlin/proto/mqtt"
	"dunlin/raftstore"
	"dunlin/router"
	"dunlin/session"
)

// worker is the broker on one event loop: the loop's listen.Handler and the
// owner of its connections. All fields belong to the loop's goroutine.
type worker struct {
	*Broker
	loop  listen.Loop
	index int

	conns     slab     // by listen.ID.Index
	listeners []string // that they came by

	// Scratch of the step under way, reused.
	packet   mqtt.Packet
	message  session.Message
	forms    session.Forms // encodings of message
	matches  router.Matches
	delivery session.Delivery
	ids1     [1]uint32
	who      auth.Identity                // see identity
	moving   *conn                        // whose session may send what had to wait
	mayMove  func(*session.Delivery) bool // says whether it may
	text     []byte                       // see names.go
	packed   []byte                       // the message under way in packed form, if packedAs is its serial
	packedAs uint64

	pendings  pendings                    // publishes that wait for legs
	loans     loans                       // share group messages at other nodes
	shares    shares                      // share group messages at members here
	batches   []*batch                    // by loop index: deliveries for connections of other loops
	outbound  []*outbound                 // by router.NodeID: the frame being gathered for a peer
	dirty     []router.NodeID             // peers with a frame to send
	frames    map[cluster.Token]sentFrame // reliable frames that peers have not confirmed
	token     uint64
	spares    [][]int32
	acks      []ackBatch           // by shard
	acked     []router.ShardID     // shards with acks to send
	routing   []*routing           // SUBACKs of the turn, by where their routes are
	granted   []suback             // SUBACKs whose routes are, for the end of the turn
	pages     [maxShards]pageReads // of retained messages
	pagesDue  int                  // that wait to be read
	answering []listen.ID          // connections with answers to publishes, for the end of the turn
	held      []listen.ID          // publishers held for a loop or shard that is behind
	rested    []listen.ID          // connections held until the next turn
	hasty     []listen.ID          // connections held for sending too fast
	cutReads  [maxShards]cutReads  // SUBACKs that wait for shards' cuts

	flows   bool // clients are held to Flow
	narrow  bool // topics have limits of their own
	work    int  // done in this turn, see turnWork
	overrun bool // the message under way is for a loop or shard that is behind

	mailed gauge // deliveries posted to this worker and not taken yet

	arrears arrears // of peers' deliveries; any goroutine's

	lastWords [maxShards]atomic.Int32 // by shard: see submitLast

	evictions  []eviction // to do at the end of the turn
	errands    []*errand  // to set out
	unfinished []*errand  // to be run again, after a pause
	abroad     int        // errands under way
	errandRoom errandRoom // any goroutine's
	errandOf   map[errandName]*errand

	serial        uint64       // numbers messages, so that a batch packs each once
	heard         accepted     // by the connections of this loop
	statusDue     session.Time // when the node's values are published next
	trimmed       int          // the chunk of connections trimmed last
	lapses        lapses       // of the chunks
	lapsing       bool         // more connections are to end than did in this turn
	subscriptions int          // of connections that are up
	waiting       int          // bytes in the queues of connections

	silent silent // connections whose CONNECT has not come
	watch  limit.LoopWatch
	// The certificates of clients by the chains that TLS has verified, of connections
	// whose CONNECT has not come; where some may be withdrawn later, of all.
	certificates map[listen.ID][][]*x509.Certificate
	exchanges    map[listen.ID]*exchange // authentications by several packets that are under way
	counters     Counters
	shown        shownCounters
}

func newWorker(b *Broker, l listen.Loop) *worker {
	w := &worker{
		Broker: b, loop: l, index: l.Index(), flows: b.Flow.On(), narrow: b.MaxTopicBytes > 0 || b.MaxTopicLevels > 0,
		frames: make(map[cluster.Token]sentFrame), errandOf: make(map[errandName]*errand),
		certificates: make(map[listen.ID][][]*x509.Certificate), exchanges: make(map[listen.ID]*exchange),
	}
	w.arrears.paid.L = &w.arrears.mu
	if b.Pressure != nil {
		w.watch = b.Pressure.WatchLoop(b.MaxLoopDelay)
	}
	w.mayMove = func(d *session.Delivery) bool { return w.mayReceive(w.moving, d.Message.Topic, d.QoS) }
	return w
}

func (w *worker) now() session.Time { return session.Time(w.loop.Now()) }

// conn finds a connection by its ID, nil if it is gone.
func (w *worker) conn(id listen.ID) *conn {
	c := w.conns.at(id.Index())
	if c == nil || c.id != id || c.phase == gone {
		return nil
	}
	return c
}

// Open takes an accepted connection in.
func (w *worker) Open(id listen.ID, info listen.Info) bool {
	if w.serving.Load() == notServing || w.isWithdrawn(&info) {
		w.counters.Refused++
		return false
	}
	w.Broker.conns.Add(1)
	c := w.conns.make(id.Index())
	*c = conn{id: id, phase: fresh}
	c.client.since, c.client.turned = w.now(), limit.Refusal(info.Note)
	w.meet(c, &info)
	if info.TLS != nil && len(info.TLS.VerifiedChains) > 0 {
		w.certificates[id] = info.TLS.VerifiedChains
	}
	w.counters.Opened++
	patience := w.ConnectTimeout
	if c.client.turned != limit.Admitted {
		patience = min(patience, turnedTimeout)
	}
	w.loop.SetIdle(id, patience)
	w.silent.add(w, id)
	return true
}

// Writable resumes what waited for the client's socket.
func (w *worker) Writable(id listen.ID) {
	if c := w.conn(id); c != nil && c.phase == up {
		w.drain(c)
		w.goOnReplaying(c)
	}
}

// Idle ends a connection that was silent for too long: before CONNECT, or for one
// and a half keep-alives [MQTT-3.1.2-22].
func (w *worker) Idle(id listen.ID) {
	if c := w.conn(id); c != nil {
		w.counters.Idle++
		w.end(c, mqtt.KeepAliveTimeout)
	}
}

// Turn sends what the turn has gathered for others.
func (w *worker) Turn() {
	w.doEvictions()
	w.runErrands()
	w.giveAnswers()
	w.flushReplays()
	w.flushAcks()
	w.flushBatches()
	w.flushFrames()
	w.flushRoutes()
	w.work = 0
	if len(w.rested) > 0 || w.lapsing || len(w.errands) > 0 && w.abroad < maxAbroad && w.mayAnswer() {
		w.loop.Post(again{})
	}
}

// again is mail to oneself: the next turn has more to do.
type again struct{}

// Tick runs about every 250 ms.
func (w *worker) Tick() {
	w.watch.Tick(w.loop.Now())
	for n := range w.outbound {
		// A peer may have caught up with what other loops sent it.
		w.resumeStalled(router.NodeID(n))
	}
	w.resumeHeld()
	w.resumeHasty()
	w.takeUpErrands()
	w.endLapsed()
	w.endSlowExchanges()
	w.trim()
	w.showCounters()
	w.publishStatus()
}

// trimTicks is the number of ticks in which every session is trimmed once.
const trimTicks = 40

// trim has sessions without traffic give back their buffers, and refuses who has
// waited long for an answer to CONNECT, some each tick.
func (w *worker) trim() {
	n := len(w.conns.chunks)
	for range (n + trimTicks - 1) / trimTicks {
		w.trimmed = (w.trimmed + 1) % n
		for i := range w.conns.chunks[w.trimmed].conns {
			switch c := &w.conns.chunks[w.trimmed].conns[i]; {
			case c.phase == up:
				c.live.Trim()
				c.client.age(w.now())
			case c.phase == connecting && time.Duration(w.now()-c.client.since) > w.ConnectTimeout:
				w.connack(c, mqtt.ServerUnavailable) // nobody said who it is, or its shard has no leader
			}
		}
	}
}

// hold stops reading from c for a reason; release takes the reason back.
func (w *worker) hold(c *conn, h hold) {
	if c.holds == 0 {
		w.loop.Pause(c.id)
	}
	c.holds |= h
}

func (w *worker) release(c *conn, h hold) {
	if c.holds&h == 0 {
		return
	}
	if c.holds &^= h; c.holds == 0 {
		w.loop.Resume(c.id)
	}
}

// turnWork bounds what a turn does for publishers, in deliveries and the like: some
// milliseconds. Who has more goes on in the next turn, after the others.
const turnWork = 1 << 15

// rest stops reading from c until the next turn. Who was met with the turn's work
// done already is first in line then.
func (w *worker) rest(c *conn) {
	w.hold(c, holdTurn)
	w.rested = append(w.rested, c.id)
}

// resumeRested begins the turn of those that rest: the one that used up the last
// turn comes last.
func (w *worker) resumeRested() {
	if len(w.rested) == 0 {
		return
	}
	ids := w.rested
	for i := range ids {
		if c := w.conn(ids[(i+1)%len(ids)]); c != nil {
			w.release(c, holdTurn)
		}
	}
	w.rested = ids[:0]
}

// end closes a connection from our side, telling a 5.0 client why.
func (w *worker) end(c *conn, why mqtt.Reason) {
	w.lastAnswers(c)
	if c.phase == up {
		w.loop.End(c.id, c.live.Disconnect(why, w.loop.Begin(c.id)))
	}
	w.drop(c)
}

// drop closes a connection without a word. Its socket may linger until the client
// has taken the last output; what the connection stood for ends now, so that a
// client that said goodbye and is back already meets no claim of its own.
func (w *worker) drop(c *conn) {
	if c.phase == closing {
		return
	}
	w.lastAnswers(c)
	w.depart(c, nil)
	w.loop.Close(c.id)
}

// depart ends what a connection stands for: its subscriptions, its claim. The
// worker calls done, unless it is nil, when its shard knows.
func (w *worker) depart(c *conn, done func()) {
	if c.phase == up {
		w.Broker.clients.Add(-1)
	}
	c.phase = closing
	delete(w.exchanges, c.id)
	w.leave(c)
	w.detach(c, done)
}

// Closed frees the place of a connection.
func (w *worker) Closed(id listen.ID, _ error) {
	c := w.conn(id)
	if c == nil {
		return
	}
	if c.phase != closing {
		w.depart(c, nil)
	}
	w.waiting -= c.live.Held()
	w.forgotten(c)
	w.conns.free(c)
	delete(w.certificates, id)
	w.Broker.conns.Add(-1)
	w.counters.Closed++
}

// leave takes a connection's subscriptions out of the node's table and hands on
// what share groups had given it.
func (w *worker) leave(c *conn) {
	w.withdraw(c)
	c.live.Outstanding(func(d *session.Delivery, sent bool) bool {
		w.returned(c, d, sent)
		return true
	})
}

// withdraw takes a connection's subscriptions out of the node's table.
func (w *worker) withdraw(c *conn) {
	if !c.persistent {
		for f := range w.filters(c).All() {
			w.table.Unsubscribe(f, c.subscriber())
		}
	}
	w.deleteFilters(c, func(router.Filter) bool { return true })
}

// detach tells the shard that the connection is over; for done see depart. Where
// nobody waits for that, and no will, it may come late: else each connection that
// is lost costs a commit of its own.
func (w *worker) detach(c *conn, done func()) {
	d := raftstore.Detach{
		ClientID: w.clientID(c), Epoch: c.epoch, Fire: !c.graceful,
		HasExpiry: true, Expiry: c.client.agreed.SessionExpiry,
		Late: done == nil && !c.client.will && c.client.connect == nil, // a CONNECT under way may have a will
		// A queue may have given more, which the shard has pushed to a connection that is gone.
		HasTaken: !c.persistent, Taken: c.client.given,
	}
	if c.guest {
		c.guest = false
		w.guests.Leave(c.shard, w.clientID(c), c.subscriber())
	}
	if b := c.client.bid; b != nil {
		c.client.bid = nil
		if epoch, won := b.giveUp(d); won {
			c.claimed, d.Epoch = true, epoch
		}
	}
	if !c.claimed {
		if done != nil {
			done()
		}
		return
	}
	c.claimed = false
	w.flushAcks()
	w.submitLast(c.shard, d, func(raftstore.Result) {
		if done != nil {
			w.loop.Post(func(*worker) { done() })
		}
	})
}

// closeAll closes every connection of the worker. First they all leave their share
// groups, or each would hand on what it has to the next, which goes too.
func (w *worker) closeAll(why mqtt.Reason) {
	w.conns.all(func(c *conn) {
		if c.phase != gone {
			w.withdraw(c)
		}
	})
	w.conns.all(func(c *conn) {
		switch c.phase {
		case gone:
		case connecting:
			w.connack(c, mqtt.ServerUnavailable)
		default:
			w.end(c, why)
		}
	})
}
