package cluster

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"dunlin/cluster/lease"
	"dunlin/router"
)

// The roster is one goroutine that decides who is a member. It alone makes and
// ends peers and calls Joined and Left, so that for every identity these
// alternate.
//
// Who comes, gossip says. A start of a node makes an end of every earlier start of
// that node: it holds the lock of the data that the earlier one held. Otherwise a
// peer seems to be gone when gossip says so or its ports refuse connections
// (watch.go), and is taken for gone only once it does not count (leases.go): no
// lease of it is left, or it never had one. Until then what is sent to it waits.

type eventKind uint8

const (
	eventUp      eventKind = iota // gossip has a member, or more about it
	eventDown                     // gossip has it no more: dead, or left
	eventGone                     // evidence against a peer
	eventSeen                     // a member that was declared gone has called, or can be called
	eventOver                     // no lease of it is left
	eventRecount                  // who counts has changed
	eventBelong                   // this node has come to belong to a cluster
	eventForeign                  // a member has said that it belongs to another
)

type event struct {
	kind   eventKind
	member member
	peer   *peer
	reason goneReason
}

// goneReason is how it was found out; it labels a metric.
type goneReason string

const (
	goneGossip   goneReason = "gossip"   // it left, or gossip declared it dead
	goneRefused  goneReason = "refused"  // its ports are closed
	goneReplaced goneReason = "replaced" // a later start of it lives
	goneRevoked  goneReason = "revoked"  // it cannot be reached and its lease is over
	goneForeign  goneReason = "foreign"  // it belongs to another cluster
)

// text is r for people.
func (r goneReason) text() string {
	switch r {
	case goneRefused:
		return "its ports are closed: it has crashed or was killed"
	case goneReplaced:
		return "it was started again"
	case goneRevoked:
		return "its lease is over"
	case goneForeign:
		return foreignText
	}
	return "it has left, or was silent for too long"
}

// eventQueue takes events without blocking; there are few.
type eventQueue struct {
	wake chan struct{}
	mu   struct {
		sync.Mutex
		events []event
	}
}

func (c *Cluster) post(e event) {
	c.events.mu.Lock()
	c.events.mu.events = append(c.events.mu.events, e)
	c.events.mu.Unlock()
	signal(c.events.wake)
}

func (q *eventQueue) take() []event {
	q.mu.Lock()
	defer q.mu.Unlock()
	es := q.mu.events
	q.mu.events = nil
	return es
}

// known is a start of a node that gossip holds for a member.
type known struct {
	member
	refused  bool // it was declared gone because its ports were closed
	replaced bool // it was declared gone for good
	foreign  bool // it belongs to another cluster
}

// roll is the roster's own state.
type roll struct {
	c     *Cluster
	ctx   context.Context // of the peers: the roster's
	known map[string]*known
	fated map[*peer]goneReason // who seems to be gone and counts, or can be reached
	ids   numbering
}

// recallInterval is how often a node is called that gossip holds alive and that
// was declared gone because its ports were closed.
const recallInterval = time.Second

func (c *Cluster) roster(ctx context.Context) {
	r := &roll{c: c, ctx: ctx, known: make(map[string]*known), fated: make(map[*peer]goneReason)}
	tick := time.NewTicker(recallInterval)
	defer tick.Stop()
	for {
		select {
		case <-c.events.wake:
		case <-tick.C:
			r.recall()
			r.part()
		case <-ctx.Done():
			for _, p := range c.peerList() {
				c.take(p)
				p.end()
			}
			return
		}
		for _, e := range c.events.take() {
			r.handle(e)
		}
	}
}

func (r *roll) handle(e event) {
	switch e.kind {
	case eventUp:
		k := r.known[e.member.key]
		if k == nil {
			k = &known{}
			r.known[e.member.key] = k
		}
		k.member = e.member
		r.up(k)
	case eventDown:
		k := r.known[e.member.key]
		if k == nil {
			return
		}
		delete(r.known, e.member.key)
		if k.identity == r.c.opts.Identity {
			r.c.setUsurper(0)
		}
		r.seems(r.c.peerOf(k.identity, k.start), goneGossip)
		// A process that was passed over for one with a higher start number may be
		// alive after all: its clock was set back.
		for _, other := range r.known {
			if other.identity == k.identity && !other.replaced {
				r.up(other)
			}
		}
	case eventGone:
		if r.c.peerOf(e.peer.identity, e.peer.start) != e.peer {
			return
		}
		if e.reason == goneReplaced {
			r.gone(e.peer, goneReplaced)
			return
		}
		r.c.setStreams(func() { e.peer.dead = !e.peer.forwardUp && !e.peer.feedUp })
		r.seems(e.peer, e.reason)
	case eventSeen:
		if k := r.known[gossipKey(e.member.identity, e.member.start)]; k != nil && k.refused {
			k.refused = false
			r.up(k)
		}
	case eventOver:
		if p := r.c.peerWith(e.member.identity); p != nil && p.start <= e.member.start {
			r.seems(p, goneRevoked)
		}
	case eventRecount:
		r.part()
	case eventBelong:
		for _, p := range r.c.peerList() {
			p.related()
		}
	case eventForeign:
		if k := r.known[e.member.key]; k != nil {
			k.cluster, k.foreign = e.member.cluster, true
		}
		r.gone(r.c.peerOf(e.member.identity, e.member.start), goneForeign)
	}
}

// seems has p gone, if it is not nil, once it may be.
func (r *roll) seems(p *peer, reason goneReason) {
	if p == nil {
		return
	}
	if _, ok := r.fated[p]; !ok {
		r.fated[p] = reason
	}
	r.part()
}

// part ends the peers that seem to be gone, but for those that count and those
// that can be reached. What one leads that counts is taken over all the same.
func (r *roll) part() {
	for p, reason := range r.fated {
		r.c.mu.Lock()
		here := r.c.mu.peers[p.identity] == p
		reach, _ := p.reachLocked()
		r.c.mu.Unlock()
		_, gossiped := r.known[p.member.key]
		counts := r.c.leases.Counts(p.identity)
		switch {
		case !here:
			delete(r.fated, p)
		case reason == goneRevoked && counts:
			delete(r.fated, p) // it was admitted anew
		case reach == lease.Up:
			if gossiped && reason != goneRevoked {
				delete(r.fated, p)
			}
		case counts:
			r.c.raft.Severed(p.identity)
		default:
			r.gone(p, reason)
		}
	}
}

// up makes a member of k unless it must not be one.
func (r *roll) up(k *known) {
	c := r.c
	if k.identity == c.opts.Identity {
		if k.start > c.opts.Start {
			c.log.Error("another process runs under this node's identity: stop one of them",
				"identity", k.identity, "at", k.gossipAddr)
			c.setUsurper(k.start)
		}
		return
	}
	if k.refused || k.replaced || k.foreign {
		return
	}
	if own := c.belongs(); relate(own, k.cluster) == stranger {
		k.foreign = true
		c.foreign(k.member)
		return
	}
	if p := c.peerWith(k.identity); p != nil {
		if p.start == k.start {
			c.learn(p, k.cluster) // nothing else that a start says of itself changes
		}
		if p.start >= k.start {
			return
		}
		r.gone(p, goneReplaced)
	}
	id, ok := r.ids.take(time.Now())
	if !ok {
		c.log.Error("too many members: this one is left out", "peer", k.name, "max", router.MaxPeers-1)
		return
	}
	p, err := c.newPeer(r.ctx, id, k.member)
	if err != nil {
		c.log.Error("member cannot be called", "peer", k.name, "addr", k.clusterAddr, "err", err)
		r.ids.give(id, time.Now())
		return
	}
	c.log.Info("member joined", "peer", k.name, "identity", k.identity, "addr", k.clusterAddr)
	// The Receiver hears of it before anything comes from it.
	c.recv.Joined(Node{
		ID: p.id, Name: k.name, Identity: k.identity, ClusterAddr: k.clusterAddr,
		State: "joining", Meta: k.addrs,
	})
	p.related()
	c.add(p)
	p.run()
}

// gone ends p, if it is not nil: the last confirmations, its routes, Left.
func (r *roll) gone(p *peer, reason goneReason) {
	if p == nil {
		return
	}
	c := r.c
	delete(r.fated, p)
	if k := r.known[p.member.key]; k != nil {
		k.refused = reason != goneReplaced && reason != goneForeign // it may be back, which gossip need not notice
		k.replaced = reason == goneReplaced
	}
	level := slog.LevelInfo
	if reason == goneRefused {
		level = slog.LevelWarn // whoever is stopped takes its leave
	}
	c.log.Log(r.ctx, level, "member gone", "peer", p.member.name, "identity", p.identity, "reason", reason.text())
	c.metrics.deaths.WithLabelValues(string(reason)).Inc()
	n := p.node()
	c.take(p)
	p.end()
	// Nothing of it is heard here any more, so what it leads has to be led by others.
	c.raft.Severed(p.identity)
	p.lost(p.out.close(), Gone, "member_gone")
	c.routes.RemoveRemote(p.id)
	r.ids.give(p.id, time.Now())
	c.recv.Left(n)
	c.settle()
}

func (c *Cluster) setUsurper(start uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.usurper = start
}

// recall tries nodes that were declared gone and that gossip still reaches.
func (r *roll) recall() {
	for _, k := range r.known {
		if !k.refused {
			continue
		}
		m := k.member
		r.c.wg.Go(func() {
			ctx, cancel := context.WithTimeout(r.ctx, recallInterval)
			defer cancel()
			if conn, err := r.c.opts.Dial(ctx, m.clusterAddr); err == nil {
				_ = conn.Close()
				r.c.post(event{kind: eventSeen, member: m})
			}
		})
	}
}

// add makes p one of the peers.
func (c *Cluster) add(p *peer) {
	c.mu.Lock()
	p.label = p.member.name
	all := append([]*peer(nil), *c.byID.Load()...)
	for _, other := range all {
		if other != nil && other.label == p.label {
			p.label += "#" + p.identity
			break
		}
	}
	for int(p.id) >= len(all) {
		all = append(all, nil)
	}
	all[p.id] = p
	c.mu.peers[p.identity] = p
	c.changedLocked(all)
	c.mu.Unlock()
	c.settle()
	c.changed()
}

// take removes p from the peers: it is sent nothing more and no stream of it is
// admitted.
func (c *Cluster) take(p *peer) {
	c.mu.Lock()
	all := append([]*peer(nil), *c.byID.Load()...)
	all[p.id] = nil
	delete(c.mu.peers, p.identity)
	c.changedLocked(all)
	c.mu.Unlock()
	c.changed()
}

func (c *Cluster) changed() {
	if c.opts.Changed != nil {
		c.opts.Changed()
	}
}

func (c *Cluster) changedLocked(all []*peer) {
	c.byID.Store(&all)
	close(c.mu.changed)
	c.mu.changed = make(chan struct{})
}

func (c *Cluster) peerWith(identity string) *peer {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.peers[identity]
}

func (c *Cluster) peerOf(identity string, start uint64) *peer {
	if p := c.peerWith(identity); p != nil && p.start == start {
		return p
	}
	return nil
}

// numbering gives out NodeIDs: small, and none again before every reader of the
// route table that may have seen it has long finished.
type numbering struct {
	last router.NodeID
	rest []restingID // oldest first
}

type restingID struct {
	id    router.NodeID
	since time.Time
}

const idRest = 30 * time.Second

// take gives out a number below router.MaxPeers. One is cut short in its rest
// rather than a member left out.
func (n *numbering) take(now time.Time) (id router.NodeID, ok bool) {
	full := n.last == router.MaxPeers-1
	if len(n.rest) > 0 && (full || now.Sub(n.rest[0].since) >= idRest) {
		id = n.rest[0].id
		n.rest = n.rest[1:]
		return id, true
	}
	if full {
		return 0, false
	}
	n.last++
	return n.last, true
}

func (n *numbering) give(id router.NodeID, now time.Time) {
	n.rest = append(n.rest, restingID{id, now})
}
