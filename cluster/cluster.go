package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
	"google.golang.org/grpc"

	"dunlin/cluster/feed"
	"dunlin/cluster/raftnet"
	"dunlin/router"
)

// Token is the caller's name for a forwarded frame.
type Token uint64

// Receiver is the broker as the cluster calls it. The calls come from goroutines
// of the cluster, those about one peer in order, and may not block for long.
type Receiver interface {
	Frames
	Members
}

// Frames takes what comes on the streams of peers.
type Frames interface {
	// Forwarded takes a frame of messages from a peer, in the order it was sent
	// by each of the peer's loops. body is borrowed until return. done is called once, from
	// any goroutine, when everything in it has been accepted; nil for a frame
	// that wants no confirmation. It may wait for room: the peer waits then too.
	Forwarded(from router.NodeID, body []byte, done func())
	// Confirmed tells what became of the reliable frame of that token.
	Confirmed(to router.NodeID, token Token, f Fate)
}

// Members hears of the other members.
type Members interface {
	// Joined and Left tell who is one; Left comes after the last Confirmed. No call
	// about a peer comes before Joined or after Left.
	Joined(n Node)
	Left(n Node)
	// Forgotten tells that the peer lives, but had declared this node dead: it
	// answers for nothing that it took before. It comes after the Confirmed of
	// what was under way.
	Forgotten(by router.NodeID)
}

// Fate is what became of a reliable frame.
type Fate uint8

const (
	// Accepted: the peer's broker has it.
	Accepted Fate = iota
	// Gone: the peer is declared dead; what was there is gone with it.
	Gone
	// Unknown: the peer lives, but had declared this node dead; it may have accepted
	// the frame before, or never will.
	Unknown
)

// Routes is this node's route table, a *router.Table.
type Routes interface {
	OwnRoutes
	RemoteRoutes
}

// OwnRoutes are this node's own, which it feeds to its peers.
type OwnRoutes interface {
	Version() uint64
	Changes(since uint64, max int, dst []router.Change) (out []router.Change, version uint64, ok bool)
	Snapshot(yield func([]router.Change) bool) (version uint64)
	Notify(f func())
}

// RemoteRoutes are those that the peers feed. For one peer the calls come one
// after the other.
type RemoteRoutes interface {
	ApplyRemote(n router.NodeID, cs []router.Change)
	BeginRemote(n router.NodeID)
	EndRemote(n router.NodeID)
	RemoveRemote(n router.NodeID)
}

// Node is a member of the cluster.
type Node struct {
	ID          router.NodeID // 0 is this node
	Name        string        // node name, for people
	Identity    string        // stable identity
	ClusterAddr string
	State       string            // "alive", "suspect" (it cannot be reached), "joining" (routes were not exchanged yet)
	Meta        map[string]string // addresses for people: mqtt, http
}

// Frame is what one loop has gathered for one peer in a turn. Body is a row of
// records, see batch.go, best built upon Buffer; the cluster takes ownership.
type Frame struct {
	Body     []byte
	Reliable bool // resent until confirmed; otherwise dropped when the stream is down or behind
	Token    Token
}

// Cluster is this node's membership and its peers.
type Cluster struct {
	opts    Options
	routes  Routes
	recv    Receiver
	log     *slog.Logger
	metrics *metrics
	keyring *memberlist.Keyring // nil: gossip in the clear
	told    strangers

	raft    *raftnet.Net
	leases  Leases // constant after Start
	pool    buffers
	barrier *feed.Barrier
	numbers atomic.Uint64 // of conversations

	belonging context.Context // ends when this node has come to belong to a cluster
	adopted   context.CancelFunc

	// Set by Start.
	gossip     *memberlist.Memberlist
	gossipAddr string
	server     *grpc.Server
	stop       context.CancelFunc
	wg         sync.WaitGroup // all goroutines but those of peers

	events eventQueue // what the roster has to work through

	// byID is the peers by NodeID, nil where there is none: for readers without a
	// lock. The roster alone replaces it, holding mu.
	byID atomic.Pointer[[]*peer]

	// Lock order: inbox.deliver or feedIn.mu, Cluster.mu, then any one of the
	// others. The Receiver is called with at most inbox.deliver held.
	mu struct {
		sync.Mutex
		clusterAddr string // as the others are told it; set by Start

		peers   map[string]*peer // by identity
		changed chan struct{}    // closed and replaced when peers changes
		usurper uint64           // start of a newer process with this identity, 0 for none

		cluster    string             // that this node belongs to, "" for none yet
		foreigners map[foreigner]bool // who were told of, at most maxForeigners

		shutdown bool
	}
}

// New makes the cluster's end on this node; Start starts it.
func New(o Options, routes Routes, recv Receiver) (*Cluster, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	c := &Cluster{
		opts:    o,
		routes:  routes,
		recv:    recv,
		log:     o.Logger,
		metrics: newMetrics(),
	}
	var err error
	if c.keyring, err = newKeyring(o.GossipKeys); err != nil {
		return nil, err
	}
	calls := o.Raft
	calls.Logger = o.Logger
	if c.raft, err = raftnet.New(o.Identity, calls); err != nil {
		return nil, err
	}
	c.events.wake = make(chan struct{}, 1)
	c.mu.peers = make(map[string]*peer)
	c.mu.changed = make(chan struct{})
	c.mu.cluster, c.mu.foreigners = o.Cluster, make(map[foreigner]bool)
	c.belonging, c.adopted = context.WithCancel(context.Background())
	if o.Cluster != "" {
		c.adopted()
	}
	c.byID.Store(new([]*peer))
	c.barrier = feed.NewBarrier()
	c.leases = unleased{c}
	c.mu.clusterAddr = advertised(o.ClusterAdvertise, o.ClusterAddr) // the port may be 0 yet
	if err := c.checkMeta(); err != nil {
		return nil, err
	}
	if o.Registerer != nil {
		if err := o.Registerer.Register(c); err != nil {
			return nil, fmt.Errorf("cluster: metrics: %w", err)
		}
	}
	return c, nil
}

// Start listens, and looks for the others from then on. It waits for none of
// them.
func (c *Cluster) Start(ctx context.Context) error {
	l, err := c.opts.Listen(c.opts.ClusterAddr)
	if err != nil {
		return fmt.Errorf("cluster: cluster-addr: %w", err)
	}
	c.mu.Lock()
	c.mu.clusterAddr = advertised(c.opts.ClusterAdvertise, l.Addr().String())
	c.mu.Unlock()
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	c.stop = stop
	c.server = c.newServer()
	if err := c.startGossip(ctx); err != nil {
		stop()
		_ = l.Close()
		return err
	}
	c.routes.Notify(c.routesChanged)
	c.wg.Go(func() { c.roster(life) })
	c.wg.Go(func() { c.rejoin(life) })
	c.wg.Go(func() {
		if err := c.server.Serve(l); err != nil {
			c.log.Error("cluster port", "err", err)
		}
	})
	return nil
}

// advertised is what others are told for an address that is listened on: addr if
// it is given, and no host where that stands for all interfaces.
func advertised(addr, bound string) string {
	if addr != "" {
		bound = addr
	}
	host, port, err := net.SplitHostPort(bound)
	if ip := net.ParseIP(host); err == nil && ip != nil && ip.IsUnspecified() {
		return ":" + port
	}
	return bound
}

const (
	flushTimeout = time.Second            // for what is on its way at Shutdown
	leaveTimeout = 300 * time.Millisecond // for the word of it to go out: three gossip intervals
)

// Shutdown sends what is queued, says farewell and stops. It calls the Receiver
// for nothing that it abandons: that is unknown, not lost. It returns when
// everything has stopped; ctx bounds the politeness before.
func (c *Cluster) Shutdown(ctx context.Context) error {
	c.mu.Lock()
	again := c.mu.shutdown
	c.mu.shutdown = true
	c.mu.Unlock()
	if again {
		c.wg.Wait()
		return nil
	}
	if c.opts.Registerer != nil {
		c.opts.Registerer.Unregister(c)
	}
	defer c.raft.Close()
	if c.gossip == nil {
		return nil // never started
	}
	c.flush(ctx)
	wait := leaveTimeout
	if at, ok := ctx.Deadline(); ok {
		wait = max(min(wait, time.Until(at)), time.Millisecond)
	}
	if err := c.gossip.Leave(wait); err != nil {
		// The others may be leaving too; whoever stays finds the ports closed.
		c.log.Info("left without being heard", "err", err)
	}
	c.stop()
	c.server.Stop()
	err := c.gossip.Shutdown()
	c.wg.Wait()
	return err
}

// flush waits until the peers that can be reached have confirmed everything.
func (c *Cluster) flush(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		busy := false
		for _, p := range c.peerList() {
			busy = busy || p.out.busy()
		}
		if !busy {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// Buffer returns an empty slice to build a frame's body upon. It need not come
// back.
func (c *Cluster) Buffer() []byte { return c.pool.get() }

// Forward queues f for a peer, behind what was queued before. It reports false,
// having taken nothing, for any frame while that node is no member, and for one
// that is not reliable while the peer's queue is full or its stream down, or
// that is above MaxFrameBytes there or here. (A reliable one above it is
// confirmed in the end, but its body dropped and counted.) The queue of reliable
// frames has a byte bound too: Full tells that the peer is behind, so that
// callers stop reading from publishers.
func (c *Cluster) Forward(to router.NodeID, f Frame) bool {
	p := c.peer(to)
	switch {
	case p == nil:
		c.metrics.dropped.WithLabelValues("no_member").Inc()
	case p.out.put(f):
		return true
	case !f.Reliable:
		c.metrics.dropped.WithLabelValues("stream").Inc()
	}
	return false
}

// Full says that so much is unconfirmed by a peer that no more should be added.
func (c *Cluster) Full(to router.NodeID) bool {
	p := c.peer(to)
	return p != nil && p.out.full()
}

// Routed calls done, from any goroutine and at once if it can, when everybody who
// counts has confirmed this node's routes up to version (E4; P4).
func (c *Cluster) Routed(version uint64, done func()) { c.barrier.Wait(version, done) }

// Nodes lists the members, this node first.
func (c *Cluster) Nodes() []Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	self := Node{
		Name:        c.opts.Name,
		Identity:    c.opts.Identity,
		ClusterAddr: c.mu.clusterAddr,
		State:       "alive",
		Meta:        maps.Clone(c.opts.Meta),
	}
	nodes := []Node{self}
	for _, p := range *c.byID.Load() {
		if p != nil {
			nodes = append(nodes, p.nodeLocked())
		}
	}
	return nodes
}

// peer is the member of that number, nil if there is none.
func (c *Cluster) peer(id router.NodeID) *peer {
	if all := *c.byID.Load(); int(id) < len(all) {
		return all[id]
	}
	return nil
}

// peerList is all members but this.
func (c *Cluster) peerList() []*peer {
	var ps []*peer
	for _, p := range *c.byID.Load() {
		if p != nil {
			ps = append(ps, p)
		}
	}
	return ps
}

// routesChanged wakes the feeds. The route table calls it after own changes.
func (c *Cluster) routesChanged() {
	for _, p := range *c.byID.Load() {
		if p != nil {
			signal(p.feedWake)
		}
	}
}
