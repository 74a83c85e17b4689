package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"dunlin/cluster"
	"dunlin/cluster/clustertest"
	"dunlin/raftstore"
	"dunlin/router"
)

// lab is nodes in a bubble, on a network in memory and real directories.
type lab struct {
	t     *testing.T
	net   *clustertest.Network
	dir   string
	hosts []*clustertest.Host
	mu    sync.Mutex // held while nodes is written, and where traffic reads it
	nodes []*labNode
	shape func(i int, o *Options)
}

const labShards = 4

// labNode is one start of a node.
type labNode struct {
	*Control
	lab     *lab
	i       int
	cl      *cluster.Cluster
	data    *Data
	shards  *fakeShards
	stopped context.CancelFunc
	entered chan struct{} // closed when Enter has returned
	self    Self
	err     error
}

// inLab runs f in a bubble with n hosts, whose nodes expect all of them.
func inLab(t *testing.T, n int, f func(l *lab)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		l := &lab{t: t, net: clustertest.New(), dir: dir, nodes: make([]*labNode, n), shape: func(int, *Options) {}}
		for i := range n {
			l.hosts = append(l.hosts, l.net.Host(i+1))
		}
		// Also when f fails: a bubble with a Raft in it never ends.
		defer func() {
			for i := range l.nodes {
				l.kill(i)
			}
			time.Sleep(10 * time.Second) // memberlist ends its last probe
		}()
		f(l)
	})
}

func (l *lab) dataDir(i int) string { return filepath.Join(l.dir, fmt.Sprint(i)) }

type nobody struct{}

func (nobody) Forwarded(router.NodeID, []byte, func())              {}
func (nobody) Confirmed(router.NodeID, cluster.Token, cluster.Fate) {}
func (nobody) Joined(cluster.Node)                                  {}
func (nobody) Left(cluster.Node)                                    {}
func (nobody) Forgotten(router.NodeID)                              {}

// start starts node i; it enters by itself.
func (l *lab) start(i int) *labNode {
	l.t.Helper()
	name := string(rune('a' + i))
	level := slog.LevelWarn
	if testing.Verbose() {
		level = slog.LevelInfo
	}
	log := slog.New(slog.NewTextHandler(l.t.Output(), &slog.HandlerOptions{Level: level})).With("at", name)
	failed := func(err error) { l.t.Errorf("%s failed: %v", name, err) }
	d, err := OpenData(DataOptions{Dir: l.dataDir(i), Failed: failed, Logger: log})
	if err != nil {
		l.t.Fatal(err)
	}
	co := cluster.DefaultOptions()
	co.Name, co.Identity, co.Start, co.ClusterID = name, d.Identity(), d.Starts(), "lab"
	co.Cluster = d.Cluster()
	co.Logger = slog.New(slog.DiscardHandler)
	for _, h := range l.hosts {
		co.Join = append(co.Join, h.GossipAddr())
	}
	l.hosts[i].Use(&co)
	n := &labNode{lab: l, i: i, data: d, shards: newFakeShards(), entered: make(chan struct{})}
	if n.cl, err = cluster.New(co, router.NewTable(), nobody{}); err != nil {
		l.t.Fatal(err)
	}
	o := Options{
		Name: name, BootstrapExpect: len(l.hosts), Shards: labShards, Factor: 3,
		Net: n.cl.Raft(), Belongs: n.cl.Belong, Failed: failed, Broken: failed, Logger: log,
		Members: func() (ms []Member) {
			for _, m := range n.cl.Nodes()[1:] {
				ms = append(ms, Member{Identity: m.Identity, Name: m.Name, Reachable: m.State != "suspect"})
			}
			return ms
		},
	}
	l.shape(i, &o)
	if n.Control, err = Open(d, o); err != nil {
		l.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.stopped = cancel
	if err := n.cl.Start(ctx); err != nil {
		l.t.Fatal(err)
	}
	go func() {
		defer close(n.entered)
		if n.self, n.err = n.Enter(ctx); n.err == nil {
			n.Run(n.shards)
		}
	}()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.nodes[i] = n
	return n
}

// kill ends node i's process without a word, if it runs.
func (l *lab) kill(i int) {
	n := l.nodes[i]
	if n == nil {
		return
	}
	l.hosts[i].Kill()
	dead, cancel := context.WithCancel(context.Background())
	cancel()
	n.end(dead)
	l.hosts[i] = l.net.Host(i + 1)
}

// stop has node i shut down.
func (l *lab) stop(i int) { l.nodes[i].end(context.Background()) }

func (n *labNode) end(ctx context.Context) {
	n.stopped()
	<-n.entered
	n.Shutdown(ctx)
	n.shards.close()
	_ = n.cl.Shutdown(ctx)
	if err := n.data.Close(); err != nil {
		n.lab.t.Error(err)
	}
	n.lab.mu.Lock()
	defer n.lab.mu.Unlock()
	n.lab.nodes[n.i] = nil
}

// wipe removes what node i has stored.
func (l *lab) wipe(i int) {
	if err := os.RemoveAll(l.dataDir(i)); err != nil {
		l.t.Fatal(err)
	}
}

// until waits for ok, a minute at most.
func (l *lab) until(what string, ok func() bool) {
	l.t.Helper()
	for range 1200 {
		if ok() {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	l.t.Fatalf("a minute without %s", what)
}

// in waits until node i has entered.
func (n *labNode) in() *labNode {
	n.lab.t.Helper()
	select {
	case <-n.entered:
	case <-time.After(time.Minute):
		n.lab.t.Fatalf("%c did not enter", 'a'+n.i)
	}
	if n.err != nil {
		n.lab.t.Fatalf("%c: %v", 'a'+n.i, n.err)
	}
	return n
}

// works waits until all nodes that run have entered one cluster, agree on what
// meta holds, and each shard takes a command.
func (l *lab) works() {
	l.t.Helper()
	var first *labNode
	for _, n := range l.nodes {
		if n != nil {
			n.in()
			if first == nil {
				first = n
			}
		}
	}
	l.until("all agreeing on meta", func() bool {
		for _, n := range l.nodes {
			if n != nil && (n.State().Cluster == "" || n.State().Hash() != first.State().Hash()) {
				return false
			}
		}
		return len(first.State().Groups) == labShards
	})
	for sh := range router.ShardID(labShards) {
		l.until(fmt.Sprintf("a command of shard %d", sh), func() bool { return l.command(sh, []byte("x")) == nil })
	}
}

// running are the nodes that run.
func (l *lab) running() (nodes []*labNode) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range l.nodes {
		if n != nil {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// command has the leader of sh commit something.
func (l *lab) command(sh router.ShardID, b []byte) error {
	for _, n := range l.running() {
		if r := n.shards.Raft(sh); r != nil && r.State() == raft.Leader {
			return r.Apply(b, time.Second).Error()
		}
	}
	return errors.New("no leader")
}

// voters are the nodes that vote in sh, by letter.
func (l *lab) placement(sh uint16) string {
	for _, n := range l.nodes {
		if n == nil {
			continue
		}
		s := n.State()
		var names []string
		for _, r := range s.Groups[sh].Replicas {
			name := s.Nodes[r.Node].Name
			if !r.Voter {
				name = "(" + name + ")"
			}
			names = append(names, name)
		}
		slices.Sort(names)
		return fmt.Sprint(names)
	}
	return ""
}

// fakeShards is a store whose shards list commands.
type fakeShards struct {
	mu      sync.Mutex
	rafts   map[router.ShardID]*raft.Raft
	ledgers map[router.ShardID]*ledger

	restoring atomic.Int64 // the shard that is, and one more
}

func newFakeShards() *fakeShards {
	return &fakeShards{rafts: make(map[router.ShardID]*raft.Raft), ledgers: make(map[router.ShardID]*ledger)}
}

// ledger is a state machine that keeps what it is told.
type ledger struct {
	mu      sync.Mutex
	entries []string
}

func (m *ledger) Apply(l *raft.Log) any {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.entries = append(m.entries, string(l.Data))
	return nil
}

func (m *ledger) Snapshot() (raft.FSMSnapshot, error) { return frozenLedger(m.list()), nil }

func (m *ledger) Restore(r io.ReadCloser) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.entries = nil
	return errors.Join(json.NewDecoder(r).Decode(&m.entries), r.Close())
}

func (m *ledger) list() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.entries)
}

type frozenLedger []string

func (f frozenLedger) Persist(s raft.SnapshotSink) error {
	if err := json.NewEncoder(s).Encode(f); err != nil {
		return err
	}
	return s.Close()
}

func (frozenLedger) Release() {}

func (f *fakeShards) StartReplica(sh router.ShardID, g raftstore.Group) (*raft.Raft, error) {
	conf := raftstore.RaftConfig(g.ID)
	g.Tune(conf)
	conf.BatchApplyCh = false // so that commands are answered
	conf.SnapshotThreshold, conf.SnapshotInterval, conf.TrailingLogs = 32, 5*time.Second, 8
	m := &ledger{}
	r, err := raft.NewRaft(conf, m, g.Log, g.Stable, g.Snapshots, g.Transport)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rafts[sh], f.ledgers[sh] = r, m
	return r, nil
}

func (f *fakeShards) Restoring(sh router.ShardID) bool { return f.restoring.Load() == int64(sh)+1 }

func (f *fakeShards) Settle(context.Context, router.ShardID) error { return nil }

func (f *fakeShards) StopReplica(sh router.ShardID) error {
	f.mu.Lock()
	r := f.rafts[sh]
	delete(f.rafts, sh)
	delete(f.ledgers, sh)
	f.mu.Unlock()
	return r.Shutdown().Error()
}

func (f *fakeShards) Raft(sh router.ShardID) *raft.Raft {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rafts[sh]
}

func (f *fakeShards) ledger(sh router.ShardID) *ledger {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ledgers[sh]
}

func (f *fakeShards) close() {
	f.mu.Lock()
	rafts := maps.Clone(f.rafts)
	f.mu.Unlock() // virtual time stands still while somebody waits for the lock
	for _, r := range rafts {
		_ = r.Shutdown().Error()
	}
}
