// Package node joins the parts of a Dunlin node: it builds them bottom up,
// starts them and takes them down in reverse.
package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dunlin/cluster"
	"dunlin/cluster/bulk"
	"dunlin/cluster/control"
	"dunlin/cluster/lease"
	"dunlin/cluster/shardnet"
	"dunlin/cluster/shardroutes"
	"dunlin/node/admin"
	"dunlin/node/broker"
	"dunlin/node/config"
	"dunlin/node/listen"
	"dunlin/node/metrics"
	"dunlin/raftstore"
	"dunlin/router"
	"dunlin/session"
)

// Node is one Dunlin node: a list of its components.
type Node struct {
	cfg config.Config
	log *slog.Logger

	data    *control.Data
	table   *router.Table
	broker  *broker.Broker
	cluster *cluster.Cluster
	control *control.Control
	lease   *lease.Lease
	store   atomic.Pointer[raftstore.Store] // nil until the node has entered the cluster
	links   *shardnet.Net
	calls   *bulk.Calls
	routes  atomic.Pointer[shardroutes.Routes] // likewise
	front   listeners
	access  *access
	loops   *listen.Loops
	admin   *admin.Server

	registry *prometheus.Registry
	clock    func() session.Time
	started  time.Time
	serving  atomic.Bool // clients are let in
	failed   chan error  // why the node must stop
	tasks    sync.WaitGroup

	life     context.Context // ends when Run takes the node down
	end      context.CancelCauseFunc
	mourning chan struct{}
	door     struct {
		sync.Mutex
		open     bool // clients were let in once
		standing lease.Standing
		shut     context.Context // ends when there is no client left, for good
		close    context.CancelFunc
	}
}

// New builds a node and binds its addresses, but for those of clients, which are
// bound when the node has joined. It holds the data directory until Run returns.
func New(cfg config.Config, log *slog.Logger) (*Node, error) {
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("data-dir: %w", err)
	}
	for _, l := range cfg.Listeners() {
		if err := probe(l.Addr); err != nil {
			return nil, fmt.Errorf("%s-addr: %w", l.Name, err)
		}
	}
	n := &Node{cfg: cfg, log: log, started: time.Now(), failed: make(chan error, 1), mourning: make(chan struct{}, 1)}
	n.life, n.end = context.WithCancelCause(context.Background())
	n.door.shut, n.door.close = context.WithCancel(context.Background())
	built := false
	defer func() {
		if !built {
			_ = n.undo(context.Background()) // the first error is what matters
		}
	}()
	n.registry = metrics.NewRegistry(n.observe)
	n.clock = func() session.Time { return session.Time(time.Since(n.started)) }
	var err error
	if n.data, err = control.OpenData(control.DataOptions{
		Dir: cfg.DataDir, Failed: n.poisoned, Stalled: n.stalled, StallTimeout: cfg.DiskStallTimeout,
		Logger: log, Registerer: n.registry,
	}); err != nil {
		return nil, fmt.Errorf("data-dir: %w", err)
	}
	if n.access, err = newAccess(cfg, log); err != nil {
		return nil, err
	}

	// From the ground up; each floor is handed the one above by the interface
	// that it declares for it.
	n.table = router.NewTable()
	o := brokerOptions(cfg, n.clock, log)
	o.Auth, o.Access, o.Status = n.access.auth, n.access.guard, n.status
	n.broker = broker.New(o, n.table)
	if n.cluster, err = cluster.New(n.clusterOptions(), n.table, n.broker); err != nil {
		return nil, err
	}
	if n.control, err = control.Open(n.data, n.controlOptions()); err != nil {
		return nil, err
	}
	if err = n.newLease(); err != nil {
		return nil, err
	}
	if n.links, err = shardnet.New(n.linkOptions()); err != nil {
		return nil, err
	}
	n.calls = bulk.New(n.cluster.Raft(), known...)
	n.serveBackups()
	n.serveAgreement()
	if n.front, err = newListeners(cfg, log); err != nil {
		return nil, err
	}
	if n.loops, err = listen.New(loopOptions(cfg, n.started, log), n.broker.Worker); err != nil {
		return nil, err
	}
	n.admin = admin.New(admin.Options{
		Version: Version(), Cluster: members{n}, Membership: membership{n}, Replication: membership{n}, Clients: clients{n}, Shards: shards{n},
		Backups: backups{n}, Restores: backups{n}, Agreement: agreement{n}, Metrics: n.registry, Log: log,
	})
	if err := n.admin.Listen(cfg.HTTPAddr, cfg.DataDir); err != nil {
		return nil, fmt.Errorf("http-addr: %w", err)
	}
	built = true
	return n, nil
}

// probe says whether an address could be bound, so that a busy port stops the
// start rather than the first client. The loops share their ports among
// themselves, which would hide another owner of the same user.
func probe(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	return l.Close()
}

// Run serves until ctx is done or a component fails, then takes the node down
// and returns.
func (n *Node) Run(ctx context.Context) error {
	go func() {
		if err := n.admin.Serve(); err != nil {
			n.fail(fmt.Errorf("admin: %w", err))
		}
	}()
	life, cancel := n.life, n.end
	defer cancel(nil)
	defer context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })()
	n.tasks.Go(n.mournAlways)
	n.tasks.Go(func() { n.front.watch(life) })
	n.tasks.Go(func() { n.access.watch(life) })
	go func() {
		select {
		case err := <-n.failed:
			cancel(err)
		case <-life.Done():
		}
	}()
	err := n.cluster.Start(life)
	if err == nil {
		err = n.enter(life)
	}
	if err == nil {
		n.loops.Start()
		err = n.open(life)
	}
	if err == nil {
		<-life.Done()
	}
	switch cause := context.Cause(life); {
	case ctx.Err() != nil:
		err = nil // asked to stop, whatever that interrupted
	case cause != nil:
		err = cause
	}
	patience := n.cfg.ShutdownTimeout
	if err != nil {
		patience = min(patience, time.Second) // what failed may not be able to answer any more (D2)
	}
	defer n.overdue(patience)()
	stop, done := context.WithTimeout(context.Background(), patience)
	defer done()
	return errors.Join(err, n.undo(stop))
}

// Reload has the files looked at that may change while the node runs: certificates
// for clients, and who may do what. They are looked at every few seconds anyway.
func (n *Node) Reload() {
	n.front.refresh()
	n.access.refresh()
}

// fail has Run take the node down.
func (n *Node) fail(err error) {
	select {
	case n.failed <- err:
	default: // it is on its way down
	}
}

// missing is what the node lacks to serve clients: a lease, for which it must have
// been admitted, with all routes (E4, P4).
func (n *Node) missing() error {
	if err := n.cluster.Usurped(); err != nil {
		return err
	}
	return n.lease.Ready()
}

// open lets clients in once nothing is missing.
func (n *Node) open(ctx context.Context) error {
	for waited := time.Duration(0); ; waited += joinPoll {
		err := n.missing()
		if err == nil {
			err = n.letIn()
		}
		if err == nil {
			break
		}
		if waited > 0 && waited%(5*time.Second) == 0 {
			n.log.Info("waiting to join", "missing", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(joinPoll):
		}
	}
	for _, l := range n.cfg.Listeners() {
		addr, err := n.loops.Listen(l.Name, l.Addr, n.front.protocols(l)...)
		if err != nil {
			return err
		}
		n.log.Info("listening", "listener", l.Name, "addr", addr.String())
	}
	n.serving.Store(true)
	n.log.Info("ready", "node", n.cfg.NodeName)
	return nil
}

// joinPoll is how often a node that is not ready looks again.
const joinPoll = 20 * time.Millisecond

// undo takes down what New and Run have put up, in reverse: clients first, while
// there is still a cluster to hear of their wills; then what they relied on. What
// this node leads is handed over meanwhile, for the clients of others to wait as
// short as can be.
func (n *Node) undo(ctx context.Context) error {
	n.serving.Store(false)
	var errs []error
	var handing sync.WaitGroup
	if n.control != nil {
		handing.Go(func() { n.control.HandOver(ctx) })
	}
	if n.loops != nil {
		errs = append(errs, n.loops.StopAccepting(ctx), n.broker.Disconnect(ctx), n.loops.Shutdown(ctx))
		n.front.wait()
	}
	if n.access != nil {
		n.access.close()
	}
	handing.Wait()
	n.end(nil)
	n.door.close()
	if n.lease != nil {
		n.release(ctx)
	}
	if n.calls != nil {
		n.calls.Close() // they use the store
	}
	if n.control != nil {
		n.control.Shutdown(ctx)
	}
	if store := n.store.Load(); store != nil {
		store.Close()
	}
	if routes := n.routes.Load(); routes != nil {
		routes.Close()
	}
	if n.links != nil {
		n.links.Close()
	}
	if n.cluster != nil {
		errs = append(errs, n.cluster.Shutdown(ctx))
	}
	if n.data != nil {
		errs = append(errs, n.data.Close())
	}
	if n.admin != nil {
		errs = append(errs, n.admin.Shutdown(ctx))
	}
	n.tasks.Wait() // their context ended before
	return errors.Join(errs...)
}

func brokerOptions(cfg config.Config, clock func() session.Time, log *slog.Logger) broker.Options {
	l := cfg.Limits
	expiry := uint32(min(l.MaxSessionExpiry/time.Second, session.Forever))
	if expiry == 0 {
		expiry = session.Forever
	}
	return broker.Options{
		Session: session.Limits{
			ReceiveMaximum: l.ReceiveMaximum, MaximumPacketSize: l.MaxPacketSize,
			TopicAliasMaximum: l.TopicAliasMaximum, SendAliasMaximum: l.SendTopicAliasMaximum,
			MaxInflight: l.MaxInflight, MaxQueueMessages: l.QueueMessages, MaxQueueBytes: l.QueueBytes,
			DropOldest: l.QueuePolicy == config.DropOldest,
		},
		Policy: session.Policy{
			MaxKeepAlive: uint16(min(l.MaxKeepalive/time.Second, 65535)), MaxSessionExpiry: expiry,
		},
		ConnectTimeout: cfg.ConnectTimeout,
		MaxConnections: l.MaxConnections, MaxSubscriptions: l.MaxSubscriptions,
		MaxUnsent: l.MaxUnsent / 4, MaxSharedBytes: sharedBytes,
		Clock: clock, Log: log,
	}
}

// sharedBytes is what one event loop holds of share group messages lent to other
// nodes before it slows publishers down.
const sharedBytes = 16 << 20

func loopOptions(cfg config.Config, start time.Time, log *slog.Logger) listen.Options {
	return listen.Options{
		Loops: cfg.Loops, Portable: cfg.PortableLoops,
		OpenTimeout: cfg.ConnectTimeout, SendTimeout: cfg.SendTimeout, MaxUnsent: cfg.Limits.MaxUnsent, Start: start, Logger: log,
	}
}
