package raftstore

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"dunlin/proto/mqtt"
	"dunlin/raftstore/diskwatch"
	"dunlin/router"
	"dunlin/session"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/client_golang/prometheus"
)

// Owner is the broker as the store calls it, for sessions claimed by this node.
// Calls come from shard goroutines, in order per session, and may not block.
type Owner interface {
	// Evict asks the connection that holds the claim to hand over: send its last
	// batch of acknowledgements, close with 0x8E, call done. The store goes on
	// without it after 50 ms (E2).
	Evict(conn router.Subscriber, clientID string, epoch session.Epoch, done func())
	// Push brings deliveries that entered the committed window, in queue order,
	// and QoS 0 ones. They are borrowed until return. Those of a new claim come
	// after its Result, if that did not have to be asked for twice: see
	// session.Live.Follows.
	Push(conn router.Subscriber, epoch session.Epoch, ds []Delivery)
	// Ended tells that a connected session was ended by the store (overtaken
	// fence, administrative delete): the connection is to be closed.
	Ended(conn router.Subscriber, epoch session.Epoch, reason mqtt.Reason)
}

// Options are what a Store is made with.
type Options struct {
	Shards       int           // 1 to 64, fixed for the life of the data
	Routes       *router.Table // the node's route table; nil for none
	Limits       Limits        // of each shard
	QueueMemory  int           // bytes of queued messages that all shards together hold in memory; the rest goes to ScratchDir
	ScratchDir   string        // emptied by whoever opens the store; "": all queued messages are held in memory
	minSpill     int           // for the tests; 0: the constant
	UserSessions int           // stored sessions of one user in each shard that this node leads; 0: no bound
	MaxTakeovers int           // of one client identifier in 10 s; beyond it they are refused for 10 s (ErrContended); 0: no bound
	// Broken is called when a shard cannot apply what was committed, or otherwise
	// contradicts itself: the node must end at once, acknowledging nothing more (D6).
	// The shard panics when it returns, and without it.
	Broken func(error)
	// Stalled is called, once per operation, while one on a file of ScratchDir has been
	// going on for StallTimeout, 0 for never: the node must end at once (D3).
	Stalled      func(error)
	StallTimeout time.Duration

	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: metrics are kept, not exported
	Clock      func() session.Time   // the node's monotonic clock
}

// DefaultOptions are for 16 shards of an ordinary node.
func DefaultOptions() Options {
	start := time.Now()
	return Options{
		Shards:       16,
		Limits:       DefaultLimits(),
		MaxTakeovers: 10,
		Logger:       slog.Default(),
		Clock:        func() session.Time { return session.Time(time.Since(start)) },
	}
}

// DefaultLimits are those of DefaultOptions.
func DefaultLimits() Limits {
	return Limits{
		Sessions:      1 << 20,
		QueuedBytes:   256 << 20,
		Retained:      1 << 20,
		RetainedBytes: 256 << 20,
		QueueMessages: 1000,
		QueueBytes:    4 << 20,
		InflightBytes: 1 << 20,
	}
}

func (o *Options) validate() error {
	l := o.Limits
	switch {
	case o.Shards < 1 || o.Shards > 64:
		return fmt.Errorf("raftstore: %d shards, allowed are 1 to 64", o.Shards)
	case l.Sessions < 0 || l.QueuedBytes < 0 || l.Retained < 0 || l.RetainedBytes < 0 || l.QueueMessages < 0 || l.QueueBytes < 0 || l.InflightBytes < 0 || o.MaxTakeovers < 0 || o.UserSessions < 0:
		return errors.New("raftstore: a limit is negative")
	case o.QueueMemory < 0:
		return errors.New("raftstore: the memory for queues is negative")
	case o.Clock == nil || o.Logger == nil:
		return errors.New("raftstore: no clock or no logger")
	}
	return nil
}

// Store is this node's shards.
type Store struct {
	shards    []*shard
	running   sync.WaitGroup
	scratches scratches

	// Of a replicated store only.
	lanes    []*lane // by shard
	posts    []post  // by shard
	rep      *Replication
	prepare  func(*replica) // hook of the tests
	snapshot chan struct{}  // held while a shard is written: one at a time
}

// Open starts the shards, empty. Close ends them.
func Open(o Options, owner Owner, out Messenger) (*Store, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	s := &Store{shards: make([]*shard, o.Shards)}
	if err := s.openScratches(&o); err != nil {
		return nil, err
	}
	m := newMetrics(o.Registerer, s)
	for i := range s.shards {
		s.shards[i] = newShard(router.ShardID(i), &o, world{alone{owner}, out}, s, m)
		newSolo(s.shards[i])
	}
	for _, sh := range s.shards {
		s.running.Go(sh.run)
	}
	return s, nil
}

// openScratches empties the directory that queued messages spill to.
func (s *Store) openScratches(o *Options) error {
	s.scratches.dir, s.scratches.share, s.scratches.running = o.ScratchDir, o.QueueMemory/o.Shards, &s.running
	s.scratches.least = cmp.Or(o.minSpill, minSpill)
	s.scratches.watch = func() *diskwatch.Watch {
		if o.Stalled == nil {
			return diskwatch.New(0, nil)
		}
		return diskwatch.New(o.StallTimeout, func(operation string) {
			o.Stalled(fmt.Errorf("%s of a file of spilled messages takes longer than %v", operation, o.StallTimeout))
		})
	}
	return s.scratches.clear()
}

// Close waits until what was submitted is done, which in a replicated store what
// has no answer is not. Later commands come to ErrClosed.
func (s *Store) Close() {
	for _, l := range s.lanes {
		l.close()
	}
	for i := range s.posts {
		s.posts[i].close()
	}
	for _, sh := range s.shards {
		sh.close()
	}
	s.running.Wait()
}

// self is this node, as claims name it.
func (s *Store) self() Node {
	if s.rep == nil {
		return 0
	}
	return s.rep.Node
}

// Shards is the number of shards.
func (s *Store) Shards() int { return len(s.shards) }

// SessionShard is the shard of a client identifier.
func (s *Store) SessionShard(clientID string) router.ShardID {
	return router.ShardID(xxhash.Sum64String(clientID) % uint64(len(s.shards)))
}

// TopicShard is the shard of a topic's retained message.
func (s *Store) TopicShard(t router.Topic) router.ShardID {
	return router.ShardID(t.Hash() % uint64(len(s.shards)))
}

// Submit proposes cmd to shard sh. done is called exactly once, on a goroutine
// of the store, results in submit order per caller and shard (a Claim's may come
// later, while a former owner is evicted); it may not block, and what the Result
// borrows it borrows until done returns. What cmd borrows is borrowed until
// Submit returns. done may be nil.
func (s *Store) Submit(sh router.ShardID, cmd Command, done func(Result)) {
	if s.lanes != nil {
		s.lanes[sh].submit(cmd, done)
		return
	}
	s.shards[sh].submit(cmd, done)
}
