package shardroutes

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"dunlin/cluster/raftnet"
	"dunlin/raftstore"
	"dunlin/router"
)

// Net asks other nodes: raftnet.Net.
type Net interface {
	Self() string
	Handle(kind uint8, h raftnet.Handler)
	Ask(ctx context.Context, node string, group uint16, kind uint8, body []byte) ([]byte, error)
	Start(ctx context.Context, node string, group uint16, kind uint8, body []byte, done func([]byte, error)) error
}

// Nodes says who is there, by identity. Its methods are called from any goroutine
// and may neither block nor call back; what they return is not changed any more.
// When either would answer otherwise, Routes.Changed is to be called before
// anybody relies on it.
type Nodes interface {
	// Members are of this cluster, and fed if they can be reached. Nobody else may be
	// among them: another cluster's shards have the same numbers, and reigns of their own.
	Members() []string
	// Counts are the nodes that may acknowledge publishes, or may before Changed is
	// called: barriers wait for them (E4). ok is false while this node cannot know,
	// and then no barrier is passed.
	Counts() (identities []string, ok bool)
	// Leased says whether this node holds a lease now: it promises nothing in the
	// name of a shard without (E4).
	Leased() bool
}

// Options are what Routes are made with.
type Options struct {
	Net    Net
	Table  *router.Table // this node's
	Shards int
	Leader func(sh router.ShardID) (identity string, ok bool) // who leads, as far as is known here; may not block
	Nodes  Nodes

	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: metrics are kept, not exported
}

func (o *Options) validate() error {
	switch {
	case o.Net == nil || o.Table == nil || o.Leader == nil || o.Nodes == nil || o.Logger == nil:
		return errors.New("shardroutes: options are incomplete")
	case o.Shards < 1 || o.Shards > router.MaxShards:
		return fmt.Errorf("shardroutes: %d shards, allowed are 1 to %d", o.Shards, router.MaxShards)
	}
	return nil
}

// Routes is this node's end: raftstore.Routes for the shards that it leads, what
// it holds of all shards, and broker.ShardRoutes. Close ends it.
type Routes struct {
	net     Net
	nodes   Nodes
	leader  func(sh router.ShardID) (string, bool)
	log     *slog.Logger
	metrics *metrics

	// By shard.
	holdings []*holding
	syncs    []*syncing
	led      []atomic.Pointer[leadership] // nil where this node does not lead

	whole   chan struct{}   // closed when Whole is nil
	ctx     context.Context // ends with the Routes
	stop    context.CancelFunc
	running sync.WaitGroup

	mu struct { // held while a leadership begins
		sync.Mutex
		closed bool
	}
}

var (
	_ Net              = (*raftnet.Net)(nil)
	_ raftstore.Routes = (*Routes)(nil)
)

// New begins to hold what leaders feed, and to answer for the shards that this
// node will lead.
func New(o Options) (*Routes, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	r := &Routes{net: o.Net, nodes: o.Nodes, leader: o.Leader, log: o.Logger, whole: make(chan struct{})}
	r.ctx, r.stop = context.WithCancel(context.Background())
	r.led = make([]atomic.Pointer[leadership], o.Shards)
	for i := range o.Shards {
		sh := router.ShardID(i)
		h := newHolding(o.Table, sh)
		r.holdings = append(r.holdings, h)
		r.syncs = append(r.syncs, &syncing{routes: r, shard: sh})
		r.running.Go(func() { h.run(r.ctx.Done()) })
	}
	r.metrics = newMetrics(o.Registerer, r)
	r.net.Handle(askHold, r.serveHold)
	r.net.Handle(askLeader, r.serveLeader)
	r.running.Go(r.becomeWhole)
	return r, nil
}

// Close ends all feeds and lets nobody wait any longer. The routes stay in the
// table.
func (r *Routes) Close() {
	r.mu.Lock()
	r.mu.closed = true
	r.mu.Unlock()
	for sh := range r.led {
		r.EndShard(router.ShardID(sh))
	}
	for _, s := range r.syncs {
		s.close()
	}
	r.stop()
	r.running.Wait()
}

// LeadShard implements raftstore.Routes.
func (r *Routes) LeadShard(sh router.ShardID, reign uint64, table *router.Table) {
	r.EndShard(sh)
	l := newLeadership(r, sh, reign, table)
	r.mu.Lock()
	if r.mu.closed {
		l.overtaken()
	}
	r.led[sh].Store(l)
	r.mu.Unlock()
	l.update()
}

// ShardApplied implements raftstore.Routes.
func (r *Routes) ShardApplied(sh router.ShardID, index uint64) {
	l := r.led[sh].Load()
	if l == nil {
		return
	}
	l.applied.Store(index)
	if version := l.table.Version(); version != l.told {
		l.told = version
		l.wake()
	}
}

// EndShard implements raftstore.Routes.
func (r *Routes) EndShard(sh router.ShardID) {
	if l := r.led[sh].Swap(nil); l != nil {
		l.overtaken()
	}
}

// Led is the table of a shard that this node leads, which it feeds to the others,
// and the reign; ok is false if it does not lead.
func (r *Routes) Led(sh router.ShardID) (reign uint64, table *router.Table, ok bool) {
	l := r.led[sh].Load()
	if l == nil || l.over.Load() {
		return 0, nil, false
	}
	return l.reign, l.table, true
}

// Changed tells that Nodes answers otherwise than before, or that a node may be
// reached again.
func (r *Routes) Changed() {
	for sh := range r.led {
		if l := r.led[sh].Load(); l != nil {
			l.update()
			l.wake()
		}
	}
}

// fed are the nodes to be fed, this one among them, some perhaps twice.
func (r *Routes) fed() []string {
	members := r.nodes.Members()
	counted, _ := r.nodes.Counts()
	fed := make([]string, 0, len(members)+len(counted)+1)
	return append(append(append(fed, members...), counted...), r.net.Self())
}

// errBusy says that too many leaders feed one shard at once, errElsewhere that
// this node cannot answer as the leader, errNoShard that there is no such shard,
// errClosed that this node's end is closed.
var (
	errBusy      = errors.New("shardroutes: too many feeds of one shard")
	errElsewhere = errors.New("shardroutes: not the leader, or behind")
	errNoShard   = errors.New("shardroutes: no such shard")
	errClosed    = errors.New("shardroutes: closed")
)

// serveHold takes what the leader of a shard feeds.
func (r *Routes) serveHold(from string, group uint16, body []byte, reply func([]byte, error)) {
	if int(group) >= len(r.holdings) {
		r.refuse(from, "malformed", errNoShard, reply)
		return
	}
	h, err := readHold(body)
	if err != nil {
		r.refuse(from, "malformed", err, reply)
		return
	}
	a := arrival{hold: h, reply: func(h held) {
		if h.verdict == later {
			r.metrics.refused.WithLabelValues("later").Inc()
		}
		reply(appendHeld(nil, h), nil)
	}}
	select {
	case r.holdings[group].queue <- a:
	default:
		r.refuse(from, "busy", errBusy, reply)
	}
}

// serveLeader answers a node that takes this one for the leader of a shard.
func (r *Routes) serveLeader(from string, group uint16, body []byte, reply func([]byte, error)) {
	q, err := readQuestion(body)
	if err == nil && int(group) >= len(r.holdings) {
		err = errNoShard
	}
	if err != nil {
		r.refuse(from, "malformed", err, reply)
		return
	}
	l := r.led[group].Load()
	if l == nil || q.verb == verbHolding && !l.heard(from, &q) {
		reply(nil, errElsewhere)
		return
	}
	if q.index == 0 {
		reply(nil, nil)
		return
	}
	l.ask(asker{from, q.verb}, q.index, func(ok bool) {
		// Who catches up asks for no promise, and must not wait for this node's lease.
		if ok && (q.verb == verbHolding || r.nodes.Leased()) {
			reply(nil, nil)
		} else {
			reply(nil, errElsewhere)
		}
	})
}

// refuse counts a bad message and fails the ask.
func (r *Routes) refuse(from, reason string, err error, reply func([]byte, error)) {
	r.metrics.refused.WithLabelValues(reason).Inc()
	r.log.Warn("ask about routes of a shard refused", "peer", from, "err", err)
	reply(nil, err)
}
