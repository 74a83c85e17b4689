package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/memberlist"
	"google.golang.org/protobuf/proto"

	"dunlin/proto/clusterpb"
)

// metaVersion is of clusterpb.Meta.
const metaVersion = 1

// member is what gossip tells of a node.
type member struct {
	key         string // memberlist's name: identity and start
	name        string
	identity    string
	start       uint64
	gossipAddr  string
	clusterAddr string
	addrs       map[string]string
	cluster     allegiance
}

// gossipKey is a start's name in memberlist. Each start has its own, since
// memberlist refuses a known name at a new address, as every restarted pod has.
func gossipKey(identity string, start uint64) string {
	return identity + "#" + strconv.FormatUint(start, 16)
}

// startGossip joins memberlist, which knows only this node for now.
func (c *Cluster) startGossip(ctx context.Context) error {
	conf := memberlist.DefaultLANConfig()
	conf.Name = gossipKey(c.opts.Identity, c.opts.Start)
	conf.Label = gossipLabel(c.opts.ClusterID)
	conf.Keyring = c.keyring
	conf.LogOutput = &gossipLog{l: c.log, refused: func(why, from string) { c.count(why, from) }}
	conf.Delegate = gossipDelegate{c}
	conf.Events = gossipDelegate{c}
	conf.Alive = gossipDelegate{c}
	conf.Merge = gossipDelegate{c}
	conf.Conflict = gossipDelegate{c}
	conf.EnableCompression = false

	// A silent node is suspected after one failed probe and declared dead four
	// intervals later, in larger clusters eight unless others confirm it. What a
	// node had accepted is lost with it, so it is better missed late than falsely;
	// killed processes are noticed otherwise (watch.go).
	conf.ProbeInterval = c.opts.ProbeInterval
	conf.ProbeTimeout = c.opts.ProbeInterval / 2
	conf.SuspicionMult = 4
	conf.SuspicionMaxTimeoutMult = 2
	conf.AwarenessMaxMultiplier = 3
	conf.GossipInterval = 100 * time.Millisecond
	conf.PushPullInterval = 10 * time.Second
	conf.TCPTimeout = 2 * time.Second

	var err error
	if conf.BindAddr, conf.BindPort, err = c.ipPort(ctx, c.opts.GossipAddr); err != nil {
		return fmt.Errorf("cluster: gossip-addr: %w", err)
	}
	advertise := ""
	if c.opts.GossipAdvertise != "" {
		if advertise, conf.AdvertisePort, err = c.ipPort(ctx, c.opts.GossipAdvertise); err != nil {
			return fmt.Errorf("cluster: gossip-advertise: %w", err)
		}
		conf.AdvertiseAddr = advertise
	}
	if c.opts.Transport != nil {
		conf.Transport, err = c.opts.Transport(c.opts.GossipAddr)
	} else {
		conf.Transport, conf.BindPort, err = c.openGossipPort(conf.BindAddr, conf.BindPort)
	}
	if err != nil {
		return fmt.Errorf("cluster: gossip-addr: %w", err)
	}
	if advertise == "" {
		conf.AdvertisePort = conf.BindPort
	}
	ml, err := memberlist.Create(conf)
	if err != nil {
		_ = conf.Transport.Shutdown()
		return fmt.Errorf("cluster: gossip: %w", err)
	}
	c.gossip, c.gossipAddr = ml, ml.LocalNode().Address()
	return nil
}

// gossipLabel marks every packet of gossip: one of another cluster is dropped
// before it is read.
func gossipLabel(clusterID string) string {
	label := "dunlin/" + clusterID
	return label[:min(len(label), memberlist.LabelMaxSize)]
}

// ipPort resolves an address as memberlist wants it. No host means all
// interfaces.
func (c *Cluster) ipPort(ctx context.Context, addr string) (ip string, port int, err error) {
	host, p, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, err
	}
	if port, err = strconv.Atoi(p); err != nil {
		return "", 0, fmt.Errorf("%q: port must be a number", addr)
	}
	if host == "" {
		return "0.0.0.0", port, nil
	}
	if net.ParseIP(host) != nil {
		return host, port, nil
	}
	ips, err := c.opts.Resolve(ctx, host)
	if err != nil {
		return "", 0, err
	}
	if len(ips) == 0 {
		return "", 0, fmt.Errorf("%q has no address", host)
	}
	return ips[0].Unmap().String(), port, nil
}

// GossipAddr is the address that the others know, once started.
func (c *Cluster) GossipAddr() string { return c.gossipAddr }

// checkMeta says whether gossip can carry what this node tells of itself, also
// once it belongs to a cluster.
func (c *Cluster) checkMeta() error {
	_, err := c.encodeMeta(cmp.Or(c.belongs(), strings.Repeat("x", clusterName)))
	return err
}

// clusterName is how long the name of a cluster is that nodes form.
const clusterName = 32

func (c *Cluster) encodeMeta(cluster string) ([]byte, error) {
	c.mu.Lock()
	addr := c.mu.clusterAddr
	c.mu.Unlock()
	b, err := proto.Marshal(&clusterpb.Meta{
		Version:     metaVersion,
		ClusterId:   c.opts.ClusterID,
		Identity:    c.opts.Identity,
		Start:       c.opts.Start,
		Name:        c.opts.Name,
		ClusterAddr: addr,
		Addrs:       c.opts.Meta,
		Cluster:     &cluster,
	})
	if err != nil {
		return nil, fmt.Errorf("cluster: metadata: %w", err)
	}
	if len(b) > memberlist.MetaMaxSize {
		return nil, fmt.Errorf("cluster: name, identity and addresses take %d bytes: gossip carries %d", len(b), memberlist.MetaMaxSize)
	}
	return b, nil
}

// readMember reads what gossip tells; what is not a member of this cluster is an
// error.
func (c *Cluster) readMember(n *memberlist.Node) (member, error) {
	var meta clusterpb.Meta
	if err := proto.Unmarshal(n.Meta, &meta); err != nil {
		return member{}, err
	}
	switch {
	case meta.Version < metaVersion:
		return member{}, fmt.Errorf("metadata of version %d", meta.Version)
	case meta.ClusterId != c.opts.ClusterID:
		return member{}, fmt.Errorf("cluster id %q is not ours", meta.ClusterId)
	case meta.Identity == "" || gossipKey(meta.Identity, meta.Start) != n.Name:
		return member{}, errors.New("name and identity differ")
	}
	host, port, err := net.SplitHostPort(meta.ClusterAddr)
	if err != nil {
		return member{}, fmt.Errorf("cluster address: %w", err)
	}
	if host == "" {
		host = n.Addr.String()
	}
	return member{
		key:         n.Name,
		name:        meta.Name,
		identity:    meta.Identity,
		start:       meta.Start,
		gossipAddr:  n.Address(),
		clusterAddr: net.JoinHostPort(host, port),
		addrs:       meta.Addrs,
		cluster:     meta.Cluster,
	}, nil
}

// gossipDelegate is what memberlist calls. It holds a lock meanwhile, so that
// everything goes to the roster.
type gossipDelegate struct{ c *Cluster }

// NodeMeta implements memberlist.Delegate.
func (d gossipDelegate) NodeMeta(int) []byte {
	b, err := d.c.encodeMeta(d.c.belongs())
	if err != nil {
		d.c.log.Error("gossip metadata", "err", err) // New has checked it but for the port
		return nil
	}
	return b
}

func (gossipDelegate) NotifyMsg([]byte)                {}
func (gossipDelegate) GetBroadcasts(int, int) [][]byte { return nil }
func (gossipDelegate) LocalState(bool) []byte          { return nil }
func (gossipDelegate) MergeRemoteState([]byte, bool)   {}

// NotifyAlive implements memberlist.AliveDelegate: an error keeps a stranger out.
func (d gossipDelegate) NotifyAlive(n *memberlist.Node) error {
	m, err := d.c.readMember(n)
	if err != nil {
		d.c.count("gossip", n.Address())
		return err
	}
	if own := d.c.belongs(); relate(own, m.cluster) == stranger {
		d.c.foreign(m)
		return &foreignError{theirs: *m.cluster, own: own}
	}
	return nil
}

// NotifyMerge implements memberlist.MergeDelegate: whoever joins, or is joined, shows
// all that it knows. An error refuses all of it, and fails this node's Join: there
// are foreigners only.
func (d gossipDelegate) NotifyMerge(all []*memberlist.Node) error {
	own := d.c.belongs()
	var refused error
	for _, n := range all {
		m, err := d.c.readMember(n)
		if err != nil || n.State != memberlist.StateAlive || m.identity == d.c.opts.Identity {
			continue
		}
		if relate(own, m.cluster) != stranger {
			return nil // each of the foreigners is refused by itself
		}
		d.c.foreign(m)
		refused = &foreignError{theirs: *m.cluster, own: own}
	}
	return refused
}

// NotifyJoin, NotifyUpdate and NotifyLeave implement memberlist.EventDelegate.
func (d gossipDelegate) NotifyJoin(n *memberlist.Node) {
	if m, err := d.c.readMember(n); err == nil {
		d.c.post(event{kind: eventUp, member: m})
	}
}

func (d gossipDelegate) NotifyUpdate(n *memberlist.Node) { d.NotifyJoin(n) }

func (d gossipDelegate) NotifyLeave(n *memberlist.Node) {
	d.c.post(event{kind: eventDown, member: member{key: n.Name}})
}

// NotifyConflict implements memberlist.ConflictDelegate: two processes say that they
// are the same start of a node. Whoever came later hears of the other when it joins.
func (d gossipDelegate) NotifyConflict(existing, other *memberlist.Node) {
	if c := d.c; existing.Name == gossipKey(c.opts.Identity, c.opts.Start) && c.opts.Copied != nil {
		c.opts.Copied(other.Address())
	}
}
