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
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dunlin/cluster"
	"dunlin/node/admin"
	"dunlin/node/auth"
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

	table   *router.Table
	broker  *broker.Broker
	store   *raftstore.Store
	cluster *cluster.Cluster
	loops   *listen.Loops
	admin   *admin.Server

	started time.Time
	serving atomic.Bool // clients are let in
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
	n := &Node{cfg: cfg, log: log, started: time.Now()}
	built := false
	defer func() {
		if !built {
			_ = n.undo(context.Background()) // the first error is what matters
		}
	}()
	id, err := claimIdentity(cfg.DataDir)
	if err != nil {
		return nil, fmt.Errorf("data-dir: %w", err)
	}
	access, err := auth.NewDenied(cfg.ACL.DenyFilters)
	if err != nil {
		return nil, fmt.Errorf("acl.deny-filters: %w", err)
	}
	registry := metrics.NewRegistry(n.observe)
	clock := func() session.Time { return session.Time(time.Since(n.started)) }

	// From the ground up; each floor is handed the one above by the interface
	// that it declares for it.
	n.table = router.NewTable()
	o := brokerOptions(cfg, access, clock, log)
	o.Status = n.status
	n.broker = broker.New(o, n.table)
	if n.store, err = raftstore.Open(storeOptions(cfg, n.table, clock, log, registry), n.broker, n.broker); err != nil {
		return nil, err
	}
	if n.cluster, err = cluster.New(clusterOptions(cfg, id, log, registry), n.table, n.broker); err != nil {
		return nil, err
	}
	n.broker.Attach(n.store, n.store, oneReplica{}, n.cluster)
	if n.loops, err = listen.New(loopOptions(cfg, n.started, log), n.broker.Worker); err != nil {
		return nil, err
	}
	n.admin = admin.New(admin.Options{
		Version: Version(), Cluster: members{n}, Clients: clients{n}, Shards: shards{n}, Metrics: registry, Log: log,
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
	failed := make(chan error, 1)
	go func() {
		if err := n.admin.Serve(); err != nil {
			failed <- fmt.Errorf("admin: %w", err)
		}
	}()
	n.loops.Start()
	err := n.cluster.Start(ctx)
	if err == nil {
		err = n.open(ctx)
	}
	if err == nil {
		select {
		case <-ctx.Done():
		case err = <-failed:
		}
	}
	if ctx.Err() != nil {
		err = nil // asked to stop, whatever that interrupted
	}
	stop, cancel := context.WithTimeout(context.Background(), n.cfg.ShutdownTimeout)
	defer cancel()
	return errors.Join(err, n.undo(stop))
}

// open lets clients in once the node routes to all members: before, a publish
// could miss subscribers that were promised it (P4).
func (n *Node) open(ctx context.Context) error {
	for waited := time.Duration(0); ; waited += joinPoll {
		err := n.cluster.Ready()
		if err == nil {
			break
		}
		if waited%(5*time.Second) == 0 {
			n.log.Info("waiting to join", "missing", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(joinPoll):
		}
	}
	n.broker.Accept(true)
	for _, l := range n.cfg.Listeners() {
		addr, err := n.loops.Listen(l.Name, l.Addr)
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
// there is still a cluster to hear of their wills; then what they relied on.
func (n *Node) undo(ctx context.Context) error {
	n.serving.Store(false)
	var errs []error
	if n.loops != nil {
		errs = append(errs, n.loops.StopAccepting(ctx), n.broker.Disconnect(ctx), n.loops.Shutdown(ctx))
	}
	if n.store != nil {
		n.store.Close()
	}
	if n.cluster != nil {
		errs = append(errs, n.cluster.Shutdown(ctx))
	}
	if n.admin != nil {
		errs = append(errs, n.admin.Shutdown(ctx))
	}
	return errors.Join(errs...)
}

func brokerOptions(cfg config.Config, access auth.Denied, clock func() session.Time, log *slog.Logger) broker.Options {
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
		Auth: auth.Anonymous{}, Access: access, Clock: clock, Log: log,
	}
}

// sharedBytes is what one event loop holds of share group messages lent to other
// nodes before it slows publishers down.
const sharedBytes = 16 << 20

// storeOptions gives each shard its part of what the node may hold.
func storeOptions(cfg config.Config, table *router.Table, clock func() session.Time, log *slog.Logger,
	reg prometheus.Registerer) raftstore.Options {
	o := raftstore.DefaultOptions()
	o.Shards, o.Routes, o.Clock, o.Logger, o.Registerer = cfg.Shards, table, clock, log, reg
	part := func(whole int) int { return (whole + cfg.Shards - 1) / cfg.Shards }
	o.Limits.Sessions = part(cfg.Limits.MaxSessions)
	o.Limits.Retained = part(cfg.Limits.RetainedMessages)
	o.Limits.RetainedBytes = part(int(cfg.Limits.RetainedBytes))
	o.Limits.QueueMessages, o.Limits.QueueBytes = cfg.Limits.QueueMessages, cfg.Limits.QueueBytes
	return o
}

func loopOptions(cfg config.Config, start time.Time, log *slog.Logger) listen.Options {
	return listen.Options{
		Loops: cfg.Loops, Portable: cfg.PortableLoops,
		SendTimeout: cfg.SendTimeout, MaxUnsent: cfg.Limits.MaxUnsent, Start: start, Logger: log,
	}
}

func clusterOptions(cfg config.Config, id identity, log *slog.Logger, reg prometheus.Registerer) cluster.Options {
	o := cluster.DefaultOptions()
	o.Name, o.Identity, o.Start, o.ClusterID = cfg.NodeName, id.Name, id.Starts, cfg.ClusterID
	o.GossipAddr, o.GossipAdvertise = cfg.GossipAddr, cfg.GossipAdvertiseAddr
	o.ClusterAddr, o.ClusterAdvertise = cfg.ClusterAddr, cfg.ClusterAdvertiseAddr
	o.Join, o.BootstrapExpect = cfg.Join, cfg.Bootstrap()
	o.GossipKey = cfg.GossipKey
	o.TLS = cluster.TLSOptions{CertFile: cfg.ClusterTLS.Cert, KeyFile: cfg.ClusterTLS.Key, CAFile: cfg.ClusterTLS.CA}
	o.Meta = map[string]string{"mqtt": cfg.MQTTAddr, "http": cfg.HTTPAddr}
	o.MaxFrameBytes = max(o.MaxFrameBytes, int(cfg.Limits.MaxPacketSize)+1<<20)
	o.Logger, o.Registerer = log, reg
	return o
}

// oneReplica are the routes of shards that are nowhere but on this node: its
// table has them before their commands are answered.
type oneReplica struct{}

func (oneReplica) Synced(_ router.ShardID, _ uint64, done func(ok bool)) { done(true) }
