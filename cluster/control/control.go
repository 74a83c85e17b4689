package control

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"dunlin/cluster/raftnet"
	"dunlin/raftstore"
	"dunlin/raftstore/level"
	"dunlin/raftstore/meta"
)

// MetaGroup is the Raft group meta. Shard sh is group uint16(sh).
const MetaGroup uint16 = 64

// Member is a node that gossip knows besides this one.
type Member struct {
	Identity, Name string
	Reachable      bool
}

// Options are for Open.
type Options struct {
	Name string // of this node, for people

	// BootstrapExpect is how many empty nodes form a cluster; 0 to join one only.
	// Shards and Factor are what a cluster that this node forms begins with.
	BootstrapExpect, Shards, Factor int

	// SnapshotBytes of log are what a shard takes a snapshot after; 0: the store's default.
	SnapshotBytes uint64

	// Release is the name of the program's version, Levels what it can work at; the zero value is
	// level.Known.
	Release string
	Levels  level.Span

	Net *raftnet.Net // with the identity of the data
	// Members is called often, from any goroutine.
	Members func() []Member

	// Clients is how many are connected to this node. May not block. nil: none ever.
	Clients func() int

	// DeadAfter is for how long a node must not be reached before its replicas go
	// elsewhere; 0: five minutes.
	DeadAfter time.Duration

	// Belongs is called when this node has come to belong to a cluster, which is on
	// disk; Data.Cluster says so of one that did before. May not block.
	Belongs func(cluster string)

	// Failed is called when this node cannot go on: it must stop (D2). Broken is called
	// when it cannot apply what meta's group has committed: it must end at once (D6), with a
	// level.Error if a later release could. Raft's goroutine panics when it returns.
	Failed, Broken func(error)

	Logger *slog.Logger
}

func (o *Options) validate() error {
	switch {
	case o.BootstrapExpect < 0:
		return fmt.Errorf("control: bootstrap-expect %d: must not be negative", o.BootstrapExpect)
	case o.Shards < 1 || o.Shards > int(MetaGroup):
		return fmt.Errorf("control: %d shards: must be 1 to %d", o.Shards, MetaGroup)
	case o.DeadAfter < 0:
		return fmt.Errorf("control: dead after %v: must not be negative", o.DeadAfter)
	case o.Factor < 1:
		return fmt.Errorf("control: replication factor %d: must be positive", o.Factor)
	case o.Net == nil || o.Members == nil || o.Belongs == nil || o.Failed == nil || o.Broken == nil || o.Logger == nil:
		return errors.New("control: options are incomplete")
	}
	if o.Levels == (level.Span{}) {
		o.Levels = level.Known()
	}
	if o.Clients == nil {
		o.Clients = func() int { return 0 }
	}
	o.Release = o.Release[:min(len(o.Release), meta.MaxRelease)]
	if o.DeadAfter == 0 {
		o.DeadAfter = defaultDeadAfter
	}
	return nil
}

// Control is this node's part in running the cluster.
type Control struct {
	opts   Options
	data   *Data
	log    *slog.Logger
	former former

	machine   *meta.Machine
	numbers   atomic.Pointer[map[string]raftstore.Node] // of State's nodes, by identity; replaced, never written
	ctx       context.Context                           // ends with Shutdown
	stop      context.CancelFunc
	wg        sync.WaitGroup // loops
	asked     chan struct{}  // room for asks that are being served
	wake      chan struct{}  // the leader's duties
	rebalance atomic.Bool    // leaders are to move without waiting for calm
	drains    sync.Mutex     // held while meta's leader takes an order to drain a node

	mu struct {
		sync.Mutex
		closed   bool
		serving  sync.WaitGroup // what may wait for meta's Raft
		watchers []func(*meta.State)
		changed  chan struct{}               // closed and replaced when the state changes
		records  map[meta.Kind]*meta.Records // of the state before
		groups   map[uint16]*replica         // of this node; meta's too, once it is a member
		missing  string                      // for Enter to log
		outside  map[string]uint64           // starts that cannot work at the level, by identity; those that were told of
	}
}

// Open begins to answer other nodes, and starts meta's Raft if this node is a
// member of a cluster already.
func Open(d *Data, o Options) (*Control, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	c := &Control{opts: o, data: d, log: o.Logger, asked: make(chan struct{}, maxAsked), wake: make(chan struct{}, 1)}
	c.former = former{self: d.Identity(), expect: o.BootstrapExpect, factor: o.Factor, newID: newID}
	c.ctx, c.stop = context.WithCancel(context.Background())
	c.machine = meta.NewMachine(o.Levels, c.stateChanged)
	c.numbers.Store(new(map[string]raftstore.Node))
	c.mu.changed = make(chan struct{})
	c.mu.groups, c.mu.outside = make(map[uint16]*replica), make(map[string]uint64)
	c.answerAsks()
	if d.standing().Stage == member {
		if err := c.startMeta(); err != nil {
			c.stop()
			return nil, err
		}
	}
	return c, nil
}

func newID() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// State is what this node's replica of meta holds. It is never written again.
func (c *Control) State() *meta.State { return c.machine.State() }

// Level is the one in force.
func (c *Control) Level() level.Level { return max(c.State().Level, level.First) }

// InForce says that all nodes of the cluster understand what a level brought, so that this one
// may propose and send it: see package level. Once true it remains so. Safe for concurrent use.
func (c *Control) InForce(l level.Level) bool { return c.State().InForce(l) }

// Watch has f called with the present state, and then after each change, one
// call after the other. f may not block, nor call Control but for State.
func (c *Control) Watch(f func(*meta.State)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.watchers = append(c.mu.watchers, f)
	f(c.machine.State())
}

// stateChanged is called by meta's Raft.
func (c *Control) stateChanged(s *meta.State) {
	numbers := make(map[string]raftstore.Node, len(s.Nodes))
	for number, n := range s.Nodes {
		numbers[n.Identity] = raftstore.Node(number)
	}
	c.numbers.Store(&numbers)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.mu.watchers {
		f(s)
	}
	close(c.mu.changed)
	c.mu.changed = make(chan struct{})
	// A command that changes a record changes nothing that the leader sees to, unless it is
	// about who is drained. There may be many, and for each it would ask all nodes what they
	// hold.
	if c.mu.records[meta.KindDrain] != s.Records[meta.KindDrain] || maps.Equal(c.mu.records, s.Records) {
		signal(c.wake)
	}
	c.mu.records = s.Records
}

// changed is closed when the state next changes.
func (c *Control) changed() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.changed
}

// meta is the group's Raft, nil before this node is a member.
func (c *Control) meta() *raft.Raft { return c.raftOf(MetaGroup) }

// fail says that this node cannot go on.
func (c *Control) fail(err error) { c.opts.Failed(err) }

// Shutdown hands over what this node leads, and stops meta and all that Control
// does. The replicas of shards run on, with their stores: whoever was given to Run
// is closed next. ctx bounds the politeness.
func (c *Control) Shutdown(ctx context.Context) {
	c.HandOver(ctx)
	c.stop()
	c.mu.Lock()
	c.mu.closed = true
	c.mu.Unlock()
	c.wg.Wait()
	c.mu.serving.Wait() // while Raft runs, for it answers what it has taken
	if meta := c.replica(MetaGroup); meta != nil {
		if err := raftstore.Shutdown(meta.raft, meta.transport); err != nil {
			c.log.Warn("meta did not stop well", "err", err)
		}
	}
}

// handOver bounds how long leaderships are being handed over.
const handOver = 250 * time.Millisecond

// HandOver hands over what this node leads, all groups at a time, each to the voter
// with most of its log. It may be led back here while this node runs.
func (c *Control) HandOver(ctx context.Context) {
	if ctx.Err() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, handOver)
	defer cancel()
	c.mu.Lock()
	rafts := make([]*raft.Raft, 0, len(c.mu.groups))
	for _, rep := range c.mu.groups {
		rafts = append(rafts, rep.raft)
	}
	c.mu.Unlock()
	done := make(chan struct{}, len(rafts))
	under := 0
	for _, r := range rafts {
		if r.State() != raft.Leader {
			continue
		}
		under++
		go func() { // Raft ends it, but when it shuts down just then
			_ = r.LeadershipTransfer().Error() // otherwise the others elect one
			done <- struct{}{}
		}()
	}
	for ; under > 0; under-- {
		select {
		case <-done:
		case <-ctx.Done():
			return
		}
	}
}

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
