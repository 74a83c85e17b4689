package shardnet

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"dunlin/raftstore"
	"dunlin/raftstore/log"
	"dunlin/router"
	"dunlin/session"
)

// stored is a node with a store on a disk, which is closed and opened again.
type stored struct {
	*node
	dir   string
	start uint64

	mu      sync.Mutex // held while the node starts or stops
	store   *raftstore.Store
	log     *log.Log
	running bool

	known atomic.Pointer[raftstore.Store] // the latest, for who asks whom it follows
}

// follows is whom the node's replica follows.
func (n *stored) follows(sh router.ShardID) (string, bool) {
	s := n.known.Load()
	if s == nil {
		return "", false
	}
	id, ok := s.Leader(sh)
	return string(id), ok
}

const storedShards = 2

// open starts the node from what its directory holds; the first time it forms the
// groups.
func (n *stored) open(t *testing.T) {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	lo := log.DefaultOptions()
	lo.SegmentBytes = 64 << 10
	lo.Failed = func(err error) { t.Error(err) }
	l, err := log.Open(filepath.Join(n.dir, "log"), lo)
	if err != nil {
		t.Fatal(err)
	}
	n.start++
	o := raftstore.DefaultOptions()
	o.Shards, o.Clock, o.Logger = storedShards, n.clock, slog.New(slog.DiscardHandler)
	s, err := raftstore.OpenReplicated(o, raftstore.Replication{
		Node: n.number, Start: n.start, Generation: func() uint64 { return n.start }, Leaders: n.Net, Owners: n.Net, World: nobody{}, Routes: nobody{},
		OutageCap: time.Hour, Wall: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	n.store, n.log, n.running = s, l, true
	n.known.Store(s)
	n.Attach(s)
	for sh := range router.ShardID(storedShards) {
		n.startReplicaLocked(t, sh)
	}
}

func (n *stored) startReplicaLocked(t *testing.T, sh router.ShardID) {
	t.Helper()
	snapshots, err := raft.NewFileSnapshotStoreWithLogger(filepath.Join(n.dir, fmt.Sprint("shard", sh)), 2, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	transport, err := n.raft.Transport(uint16(sh))
	if err != nil {
		t.Fatal(err)
	}
	id, stores := raft.ServerID(n.raft.Self()), n.log.Group(uint16(sh))
	tune := func(c *raft.Config) {
		c.Logger = hclog.NewNullLogger()
		c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = 300*time.Millisecond, 300*time.Millisecond, 200*time.Millisecond
		c.TrailingLogs = 32
	}
	if known, err := raft.HasExistingState(stores, stores, snapshots); err != nil {
		t.Fatal(err)
	} else if !known {
		var all raft.Configuration
		for _, other := range n.mesh.nodes {
			all.Servers = append(all.Servers, raft.Server{ID: raft.ServerID(name(other.number)), Address: raft.ServerAddress(name(other.number))})
		}
		c := raftstore.RaftConfig(id)
		tune(c)
		if err := raft.BootstrapCluster(c, stores, stores, snapshots, transport, all); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := n.store.StartReplica(sh, raftstore.Group{
		ID: id, Log: stores, Stable: stores, Snapshots: snapshots, Transport: transport, Tune: tune, SnapshotBytes: 32 << 10,
	}); err != nil {
		t.Fatal(err)
	}
	transport.Watch(n.store.Raft(sh))
}

// close ends the node; what it has under way is never answered.
func (n *stored) close(t *testing.T) {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.running = false
	n.store.Close()
	if err := n.log.Close(); err != nil {
		t.Error(err)
	}
}

// do submits a command and waits for what it comes to.
func (n *stored) do(sh router.ShardID, cmd raftstore.Command) raftstore.Result {
	n.mu.Lock()
	s := n.store
	if !n.running {
		n.mu.Unlock()
		return raftstore.Result{Err: raftstore.ErrClosed}
	}
	done := make(chan raftstore.Result, 1)
	s.Submit(sh, cmd, func(r raftstore.Result) { done <- r })
	n.mu.Unlock()
	return <-done
}

// nobody takes wills and routes.
type nobody struct{}

func (nobody) Publish(_ *session.Message, _, _ string, done func()) bool {
	done()
	return true
}
func (nobody) Forget(uint64)                                   {}
func (nobody) LeadShard(router.ShardID, uint64, *router.Table) {}
func (nobody) ShardApplied(router.ShardID, uint64)             {}
func (nobody) EndShard(router.ShardID)                         {}

// P1, D6: three nodes with real logs and snapshots, joined as nodes are, whose
// stores are closed and opened again, also all at once, and whose replicas stop
// and start: what was answered is in the queue, and the replicas did the same.
func TestStoresOnDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("real time")
	}
	began := time.Now()
	m, nodes := newStored(t)
	defer m.close()
	f, err := router.ParseFilter([]byte("t"))
	if err != nil {
		t.Fatal(err)
	}
	for sh := range router.ShardID(storedShards) {
		var r raftstore.Result
		until(t, "no claim", func() bool { r = nodes[0].do(sh, claimOf(sh, 1)); return r.Err == nil })
		r = nodes[0].do(sh, raftstore.Subscribe{ClientID: claimOf(sh, 1).ClientID, Epoch: r.Claim.Epoch,
			Filters: []raftstore.Subscription{{Filter: f, Options: router.Options{QoS: 1}}}})
		if r.Err != nil {
			t.Fatal(r.Err)
		}
	}

	var acked sync.Map // payloads
	var publishing sync.WaitGroup
	stop := make(chan struct{})
	for _, n := range nodes {
		for sh := range router.ShardID(storedShards) {
			publishing.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
					}
					payload := fmt.Sprintf("%d-%d-%d", n.number, sh, i)
					msg := session.Message{Topic: topic(t, "t"), Payload: []byte(payload + strings.Repeat("x", 200)), QoS: 1}
					if r := n.do(sh, raftstore.Enqueue{Message: msg}); r.Err == nil && r.Dropped == 0 {
						acked.Store(payload, nil)
					} else {
						time.Sleep(5 * time.Millisecond)
					}
				}
			})
		}
	}
	for round := range 6 {
		time.Sleep(300 * time.Millisecond)
		switch n := nodes[round%3]; {
		case round == 3: // all at once
			for _, n := range nodes {
				n.close(t)
			}
			for _, n := range nodes {
				n.open(t)
			}
		case round%2 == 0:
			n.close(t)
			time.Sleep(400 * time.Millisecond)
			n.open(t)
		default:
			n.mu.Lock()
			if err := n.store.StopReplica(0); err != nil {
				t.Error(err)
			}
			time.Sleep(400 * time.Millisecond)
			n.startReplicaLocked(t, 0)
			n.mu.Unlock()
		}
	}
	time.Sleep(time.Second)
	close(stop)
	publishing.Wait()

	for sh := range router.ShardID(storedShards) {
		var digests [3]uint64
		until(t, "replicas do not agree", func() bool {
			var at [3]uint64
			for i, n := range nodes {
				at[i], digests[i] = n.store.Digest(sh)
			}
			return at[0] == at[1] && at[1] == at[2]
		})
		if digests[0] != digests[1] || digests[1] != digests[2] {
			t.Errorf("shard %d: replicas part: %x", sh, digests)
		}
	}
	// What was acknowledged is there, and in another cluster that takes over a
	// backup.
	queued := nodes[1].drain(t, &acked)
	other, others := newStored(t)
	defer other.close()
	for sh := range router.ShardID(storedShards) {
		var backup bytes.Buffer
		lead := func(nodes []*stored) (leader *stored) {
			until(t, "no leader", func() bool {
				i := slices.IndexFunc(nodes, func(n *stored) bool { return n.store.Leads(sh) })
				if i >= 0 {
					leader = nodes[i]
				}
				return leader != nil
			})
			return leader
		}
		until(t, "not backed up", func() bool {
			backup.Reset()
			return lead(nodes).store.Backup(sh, &backup) == nil
		})
		until(t, "not restored", func() bool {
			err := lead(others).store.Restore(sh, bytes.NewReader(backup.Bytes()))
			if err != nil && !errors.Is(err, raftstore.ErrNotLeader) {
				t.Fatal(err)
			}
			return err == nil
		})
	}
	for sh := range router.ShardID(storedShards) {
		until(t, "not begun", func() bool {
			return slices.ContainsFunc(others, func(n *stored) bool { return n.store.Begin(sh) == nil })
		})
	}
	others[2].close(t)
	others[2].open(t)
	for payload := range others[2].drain(t, &acked) {
		if queued[payload] == nil {
			t.Errorf("%s is in the backup alone", payload)
		}
	}
	n := 0
	acked.Range(func(any, any) bool { n++; return true })
	if t.Logf("%d acknowledged, %d queued, in %s", n, len(queued), time.Since(began)); n < 100 {
		t.Error("that is too little")
	}
	for _, n := range append(nodes, others...) {
		n.close(t)
	}
}

// newStored forms a cluster of three.
func newStored(t *testing.T) (*mesh, []*stored) {
	m := newMesh(t, 3)
	var nodes []*stored
	for _, n := range m.nodes {
		nodes = append(nodes, &stored{node: n, dir: t.TempDir()})
		n.leader = nodes[len(nodes)-1].follows
	}
	for _, n := range nodes {
		n.open(t)
	}
	return m, nodes
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(what)
		}
	}
}

// claimOf claims the session that each shard has one of.
func claimOf(sh router.ShardID, conn router.Subscriber) raftstore.Claim {
	const everything = 1 << 30
	return raftstore.Claim{
		ClientID: fmt.Sprint("c", sh), Conn: conn, Expiry: session.Forever, Inflight: 60_000, InflightBytes: everything,
		MaxQueueMessages: everything, MaxQueueBytes: everything,
	}
}

// drain takes the sessions and waits until all that was acknowledged has come,
// each once: what their windows hold with the claim, what waited behind as pushes.
func (n *stored) drain(t *testing.T, acked *sync.Map) map[string]map[uint64]bool {
	t.Helper()
	queued := map[string]map[uint64]bool{} // indices by payload
	note := func(payload string, sh router.ShardID, index uint64) {
		payload = strings.TrimRight(payload, "x")
		if queued[payload] == nil {
			queued[payload] = map[uint64]bool{}
		}
		queued[payload][index<<8|uint64(sh)] = true
	}
	for sh := range router.ShardID(storedShards) {
		r := n.do(sh, claimOf(sh, router.Subscriber(10+sh)))
		if !r.Claim.Present {
			t.Fatalf("the session is gone: %v", r.Err)
		}
		for _, w := range r.Claim.Window {
			note(string(w.Message.Payload), sh, w.Index)
		}
	}
	until(t, "what was acknowledged is not queued", func() bool {
		for _, line := range n.broker.said() {
			var conn, epoch, index uint64
			var payload string
			if _, err := fmt.Sscanf(line, "push %d %d: %d %s", &conn, &epoch, &index, &payload); err == nil && conn >= 10 {
				note(payload, router.ShardID(conn-10), index)
			}
		}
		all := true
		acked.Range(func(payload, _ any) bool {
			all = queued[payload.(string)] != nil
			return all
		})
		return all
	})
	for payload, indices := range queued {
		if len(indices) > 1 {
			t.Errorf("%s is queued %d times", payload, len(indices))
		}
	}
	return queued
}
