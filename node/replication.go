package node

import (
	"context"
	"math"
	"path/filepath"
	"slices"
	"time"

	"dunlin/cluster"
	"dunlin/cluster/control"
	"dunlin/cluster/shardnet"
	"dunlin/cluster/shardroutes"
	"dunlin/raftstore"
	"dunlin/raftstore/meta"
	"dunlin/router"
)

// outageCap bounds by how much deadlines move on after all replicas of a shard
// were down (T2): a wall clock that jumped by years must not end all sessions.
const outageCap = 30 * 24 * time.Hour

// enter has the node form a cluster with others or join one, opens its store and
// has it hold the replicas that are placed here.
func (n *Node) enter(ctx context.Context) error {
	self, err := n.control.Enter(ctx)
	if err != nil {
		return err
	}
	n.access.look(ctx)
	n.access.rules.warn()
	n.tasks.Go(func() { n.access.follow(ctx) })
	n.bans.follows.look(ctx)
	n.tasks.Go(func() { n.bans.follows.watch(ctx) })
	n.draining.follows.look(ctx)
	n.tasks.Go(func() { n.draining.follows.watch(ctx) })
	n.links.Enter(raftstore.Node(self.Node))
	shards := n.control.State().Shards
	routes, err := shardroutes.New(n.routeOptions(shards))
	if err != nil {
		return err
	}
	n.routes.Store(routes)
	o := n.storeOptions(shards)
	store, err := raftstore.OpenReplicated(o, raftstore.Replication{
		Node: raftstore.Node(self.Node), Start: self.Start, Generation: n.lease.Generation,
		Guest: n.broker.ClaimLate, Leaders: n.links, Owners: n.links, World: n.broker, Routes: leading{routes, n},
		OutageCap: outageCap, Wall: time.Now,
	})
	if err != nil {
		return err
	}
	n.store.Store(store)
	n.links.Attach(store)
	n.broker.Attach(store, store, store, routes, n.cluster)
	n.control.Run(store)
	n.tasks.Go(func() { n.oversee(ctx, store) })
	n.lease.Start(meta.Result{Node: self.Node, Start: self.Start, Generation: self.Generation})
	return nil
}

// gossiped are the members that gossip knows, for control.
func (n *Node) gossiped() []control.Member {
	nodes := n.cluster.Nodes()
	members := make([]control.Member, 0, len(nodes))
	for _, x := range nodes[1:] { // but for this one
		members = append(members, control.Member{Identity: x.Identity, Name: x.Name, Reachable: x.State != "suspect"})
	}
	return members
}

// scratchName is the folder of the data directory that queues spill to. It is
// emptied at every start.
const scratchName = "scratch"

// storeOptions gives each shard its part of what the node may hold.
func (n *Node) storeOptions(shards int) raftstore.Options {
	o, l := raftstore.DefaultOptions(), n.cfg.Limits
	o.Shards, o.Clock, o.Broken, o.Logger, o.Registerer = shards, n.clock, n.broken, n.log, n.registry
	part := func(whole int) int { return (whole + shards - 1) / shards }
	o.Limits.Sessions = part(l.MaxSessions)
	o.Limits.Retained = part(l.RetainedMessages)
	o.Limits.RetainedBytes = part(int(l.RetainedBytes))
	o.UserSessions = userPart(l.MaxUserSessions, shards)
	o.QueueMemory, o.ScratchDir = int(l.QueueMemory), filepath.Join(n.cfg.DataDir, scratchName)
	o.Stalled, o.StallTimeout = n.stalled, n.cfg.DiskStallTimeout
	o.Limits.QueueMessages, o.Limits.QueueBytes = l.QueueMessages, l.QueueBytes
	return o
}

// userPart is a shard's part of the sessions that a user may have; 0: any number. Which
// shard has how many of them is by chance, which the part allows for: five standard
// deviations of what would be in a shard, and two. See docs/limits.md for what follows.
func userPart(whole, shards int) int {
	share := float64(whole) / float64(shards)
	if whole == 0 {
		return 0
	}
	return min(whole, int(math.Ceil(share+5*math.Sqrt(share)+2)))
}

func (n *Node) clusterOptions() cluster.Options {
	o, cfg := cluster.DefaultOptions(), n.cfg
	o.Name, o.Identity, o.Start, o.ClusterID = cfg.NodeName, n.data.Identity(), n.data.Starts(), cfg.ClusterID
	o.Cluster = n.data.Cluster()
	o.GossipAddr, o.GossipAdvertise = cfg.GossipAddr, cfg.GossipAdvertiseAddr
	o.ClusterAddr, o.ClusterAdvertise = cfg.ClusterAddr, cfg.ClusterAdvertiseAddr
	o.Join = cfg.Join
	o.GossipKeys, o.TLS = n.secrets.gossipKeys(), n.secrets.credentials()
	o.Meta = map[string]string{"mqtt": cfg.MQTTAddr, "http": cfg.HTTPAddr}
	o.MaxFrameBytes = max(o.MaxFrameBytes, int(cfg.Limits.MaxPacketSize)+1<<20)
	o.Logger, o.Registerer, o.Changed, o.Copied = n.log, n.registry, n.membersChanged, n.copied
	o.Refused = n.strangerRefused
	return o
}

// membersChanged has those look who ask who is there and can be reached.
func (n *Node) membersChanged() {
	n.lease.Wake()
	n.routesChanged()
	select {
	case n.roster <- struct{}{}:
	default:
	}
}

// routesChanged has those look who feed others.
func (n *Node) routesChanged() {
	if r := n.routes.Load(); r != nil {
		r.Changed()
	}
}

func (n *Node) controlOptions() control.Options {
	return control.Options{
		Name: n.cfg.NodeName, BootstrapExpect: n.cfg.Bootstrap(), Shards: n.cfg.Shards, Factor: n.cfg.ReplicationFactor,
		SnapshotBytes: uint64(n.cfg.SnapshotLogSize), Release: Version(), Clients: n.broker.Connected,
		Net: n.cluster.Raft(), Members: n.gossiped, Belongs: n.cluster.Belong, Failed: n.fail, Broken: n.broken, Logger: n.log,
	}
}

func (n *Node) linkOptions() shardnet.Options {
	return shardnet.Options{
		Raftnet: n.cluster.Raft(), Directory: n.control, Owner: n.broker,
		Clock: n.clock, Logger: n.log, Registerer: n.registry,
	}
}

func (n *Node) routeOptions(shards int) shardroutes.Options {
	return shardroutes.Options{
		Net: n.cluster.Raft(), Table: n.table, Shards: shards, Leader: n.shardLeader, Nodes: counted{n},
		Logger: n.log, Registerer: n.registry,
	}
}

// shardLeader is who leads a shard, as far as this node knows; without a replica of
// it, from what commands for it met.
func (n *Node) shardLeader(sh router.ShardID) (identity string, ok bool) {
	at, ok := n.links.Leader(sh)
	if !ok {
		return "", false
	}
	return n.control.Identity(at)
}

// counted are the nodes that shardroutes feeds and waits for.
type counted struct{ n *Node }

// Members are those that meta knows: gossip may tell of nodes of another cluster.
func (c counted) Members() (ids []string) {
	for _, x := range c.n.cluster.Nodes() {
		if _, ok := c.n.control.Number(x.Identity); ok {
			ids = append(ids, x.Identity)
		}
	}
	return ids
}

// Counts has this node count as well, which waits for itself.
func (c counted) Counts() (ids []string, ok bool) {
	return append(slices.Clip(c.n.lease.Counted()), c.n.data.Identity()), c.n.lease.Entered()
}

func (c counted) Leased() bool { return c.n.lease.Held() }
