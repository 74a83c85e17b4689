// Package node joins the parts of a Dunlin node: it builds them bottom up,
// starts them and takes them down in reverse.
package node

import (
	"context"
	"crypto/x509"
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
	"dunlin/node/audit"
	"dunlin/node/broker"
	"dunlin/node/config"
	"dunlin/node/limit"
	"dunlin/node/listen"
	"dunlin/node/listen/secure"
	"dunlin/node/metrics"
	"dunlin/raftstore"
	"dunlin/raftstore/meta"
	"dunlin/router"
	"dunlin/session"
)

// Node is one Dunlin node: a list of its components.
type Node struct {
	cfg config.Config
	log *slog.Logger

	data     *control.Data
	table    *router.Table
	broker   *broker.Broker
	cluster  *cluster.Cluster
	control  *control.Control
	lease    *lease.Lease
	store    atomic.Pointer[raftstore.Store] // nil until the node has entered the cluster
	links    *shardnet.Net
	calls    *bulk.Calls
	routes   atomic.Pointer[shardroutes.Routes] // likewise
	front    listeners
	access   *access
	doorman  *limit.Door
	marks    *marks
	secrets  *secrets
	bans     *bans
	draining *draining
	tokens   *tokens
	audit    *audit.Log // nil: nothing is written down
	roster   chan struct{}
	revoked  chan meta.Node // that have lost their lease
	web      *secure.Store  // of http-addr; nil: no TLS
	loops    *listen.Loops
	admin    *admin.Server

	pressure limit.Pressure
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
// bound when the node has joined. It holds the data directory until Run returns. The command
// to start a hasher, in which password.Serve runs, may be left out.
func New(cfg config.Config, log *slog.Logger, hasher ...string) (*Node, error) {
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("data-dir: %w", err)
	}
	for _, l := range cfg.Listeners() {
		if err := probe(l.Addr); err != nil {
			return nil, fmt.Errorf("%s-addr: %w", l.Name, err)
		}
	}
	n := &Node{
		cfg: cfg, log: log, started: time.Now(), failed: make(chan error, 1), mourning: make(chan struct{}, 1), roster: make(chan struct{}, 1), revoked: make(chan meta.Node, maxRevoked),
	}
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
	if n.audit, err = openAudit(cfg, log); err != nil {
		return nil, err
	}
	n.doorman = newDoorman(cfg, &n.pressure, func() time.Duration { return time.Duration(n.clock()) }, log)
	if n.access, err = newAccess(cfg, n.doorman, log, hasher...); err != nil {
		return nil, err
	}
	if n.secrets, err = newSecrets(cfg, n.useGossipKeys, log); err != nil {
		return nil, err
	}

	n.marks = n.newMarks()
	n.marks.look() // a node that is full from the start takes nothing in

	// From the ground up; each floor is handed the one above by the interface
	// that it declares for it.
	n.table = router.NewTable()
	o := brokerOptions(cfg, n.clock, log)
	o.Auth, o.Methods, o.Former, o.Access, o.Status = n.access.auth, n.access.methods, n.access.former(), n.access.rules, n.status
	o.Admission, o.Pressure = n.doorman, &n.pressure
	if len(cfg.TLS.CRLFiles) > 0 {
		o.Withdrawn = func(chains [][]*x509.Certificate) bool { return n.front.withdrawn(chains) }
	}
	o.Denied = n.denied
	n.broker = broker.New(o, n.table)
	if n.cluster, err = cluster.New(n.clusterOptions(), n.table, n.broker); err != nil {
		return nil, err
	}
	if n.control, err = control.Open(n.data, n.controlOptions()); err != nil {
		return nil, err
	}
	n.bans = newBans(n.control.Records(meta.KindBan), n.doorman, n.broker.Banish, func() bool { return n.store.Load() != nil }, log)
	n.draining = newDraining(cfg.ServerReference, n.control, n.broker, n.life, &n.tasks, log)
	n.access.attach(n.control.Records(meta.KindUser), n.control.Records(meta.KindRules), n.broker.Expel)
	n.access.decoys.stored = n.control.Records(meta.KindSecret)
	if n.tokens, err = newTokens(cfg, n.control.Records(meta.KindToken), log); err != nil {
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
	n.serveDraining()
	if n.front, err = newListeners(cfg, n.broker.Revoke, log); err != nil {
		return nil, err
	}
	growFiles()
	if n.loops, err = listen.New(loopOptions(cfg, gate{n.doorman}, n.started, log), n.broker.Worker); err != nil {
		return nil, err
	}
	if n.web, err = openWeb(cfg, log); err != nil {
		return nil, err
	}
	n.admin = admin.New(n.adminOptions(admin.Options{
		Version: Version(), Cluster: members{n}, Membership: membership{n}, Replication: membership{n}, Drains: drains{n}, Clients: clients{n}, Shards: shards{n},
		Users: newUserStore(n), Rules: ruleset{n, n.control.Records(meta.KindRules)}, Bans: n.bans,
		Backups: backups{n}, Restores: backups{n}, Agreement: agreement{n}, Metrics: n.registry, Log: log,
	}))
	if err := n.admin.Listen(cfg.HTTPAddr, cfg.DataDir); err != nil {
		return nil, fmt.Errorf("http-addr: %w", err)
	}
	n.auditReloads()
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
	n.tasks.Go(func() { n.marks.watch(life) })
	n.tasks.Go(func() { n.secrets.watch(life) })
	n.tasks.Go(func() { n.tokens.watch(life) })
	if n.web != nil {
		n.tasks.Go(func() { n.web.Watch(life, filesPoll) })
	}
	n.tasks.Go(func() { n.auditMembers(life) })
	n.audit.Did(audit.Event{What: "node.start", Target: n.cfg.NodeName + " " + n.data.Identity(), Result: audit.Done})
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
	n.audit.Did(audit.Event{What: "node.stop", Target: n.cfg.NodeName + " " + n.data.Identity(), Result: audit.Done})
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
// for clients and for peers, gossip keys, and who may do what. They are looked at every
// few seconds anyway.
func (n *Node) Reload() {
	n.audit.Did(audit.Event{What: "reload.asked", Who: "signal", Result: audit.Done})
	n.front.refresh()
	n.access.refresh()
	n.secrets.refresh()
	n.tokens.refresh()
	if n.web != nil {
		n.web.Refresh()
	}
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
	n.audit.Close()
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
		ConnectTimeout:   cfg.ConnectTimeout,
		MaxSubscriptions: l.MaxSubscriptions, MaxNodeSubscriptions: l.MaxNodeSubscriptions, MaxLoopDelay: l.Admission.MaxLoopDelay,
		MaxTopicBytes: lower(l.MaxTopicLength, router.MaxBytes), MaxTopicLevels: lower(l.MaxTopicLevels, router.MaxLevels),
		MaxUnsent: l.MaxUnsent / 4, MaxWaiting: int(l.BufferMemory / 2), MaxSharedBytes: sharedBytes,
		Flow:        flow(l),
		OwnClientID: cfg.Auth.OwnClientID,
		Clock:       clock, Log: log,
	}
}

// lower is n if that is below what holds anyway, else 0.
func lower(n, anyway int) int {
	if n < anyway {
		return n
	}
	return 0
}

// ratePatience is how long a client may go on sending faster than it may.
const ratePatience = 10 * time.Second

func flow(l config.Limits) limit.Flow {
	f := limit.Flow{Messages: int64(l.MessageRate), Bytes: l.ByteRate}
	if l.RateAction == config.RateDisconnect {
		f.Patience = ratePatience
	}
	return f
}

// sharedBytes is what one event loop holds of share group messages lent to other
// nodes before it slows publishers down.
const sharedBytes = 16 << 20

func loopOptions(cfg config.Config, gate listen.Gate, start time.Time, log *slog.Logger) listen.Options {
	return listen.Options{
		Loops: cfg.Loops, Portable: cfg.PortableLoops,
		OpenTimeout: cfg.ConnectTimeout, SendTimeout: cfg.SendTimeout, MaxUnsent: cfg.Limits.MaxUnsent, MaxHeld: int(cfg.Limits.BufferMemory / 2),
		Gate: gate, Start: start, Logger: log,
	}
}
