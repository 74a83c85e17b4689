package control

import (
	"bytes"
	"context"
	"dunlin/raftstore"
	"dunlin/raftstore/meta"
	"dunlin/router"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestStartInEveryOrder(t *testing.T) {
	for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		t.Run(strings.Trim(fmt.Sprint(order), "[]"), func(t *testing.T) {
			inLab(t, 3, func(l *lab) {
				for _, i := range order {
					l.start(i)
					time.Sleep(3 * time.Second)
				}
				l.works()
				for sh := range uint16(labShards) {
					if got := l.placement(sh); got != "[a b c]" {
						t.Errorf("shard %d is at %s", sh, got)
					}
				}
			})
		})
	}
}

func TestAlone(t *testing.T) {
	inLab(t, 1, func(l *lab) {
		began := time.Now()
		n := l.start(0)
		l.works()
		if took := time.Since(began); took > time.Second {
			t.Errorf("it took %v to begin", took)
		}
		number, start := n.self.Node, n.self.Start
		for range 3 {
			l.kill(0)
			began = time.Now()
			n = l.start(0)
			l.works()
			if took := time.Since(began); took > time.Second {
				t.Errorf("it took %v to come back", took)
			}
			if n.self.Node != number || n.self.Start <= start {
				t.Errorf("node %d start %d after %d, %d", n.self.Node, n.self.Start, number, start)
			}
			start = n.self.Start
		}
	})
}

// Nodes are killed and started again at any moment of forming the cluster and of
// placing its shards.
func TestKilledWhileForming(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inLab(t, 3, func(l *lab) {
				r := rand.New(rand.NewPCG(seed, 1))
				for range 12 {
					i := r.IntN(3)
					if l.nodes[i] == nil {
						l.start(i)
					} else {
						l.kill(i)
					}
					time.Sleep(time.Duration(r.IntN(2500)) * time.Millisecond)
				}
				for i, n := range l.nodes {
					if n == nil {
						l.start(i)
					}
				}
				l.works()
			})
		})
	}
}

// All nodes stop at once and come back: numbers stay, starts rise, nothing is
// bootstrapped again, and no group waits for an election timeout, of 1.5 s at least.
func TestAllRestart(t *testing.T) {
	inLab(t, 3, func(l *lab) {
		for i := range 3 {
			l.start(i)
		}
		l.works()
		cluster := l.nodes[0].State().Cluster
		before := []Self{l.nodes[0].self, l.nodes[1].self, l.nodes[2].self}
		for i := range 3 {
			l.kill(i)
		}
		began := time.Now()
		for i := range 3 {
			l.start(i)
		}
		l.works()
		if took := time.Since(began); took > time.Second {
			t.Errorf("it took %v to come back", took)
		}
		for i, n := range l.nodes {
			if n.State().Cluster != cluster || n.self.Node != before[i].Node || n.self.Start <= before[i].Start {
				t.Errorf("%+v of %s after %+v of %s", n.self, n.State().Cluster, before[i], cluster)
			}
		}
	})
}

// D5: with an empty disk under the same name a node is another one.
func TestEmptyDisk(t *testing.T) {
	inLab(t, 3, func(l *lab) {
		for i := range 3 {
			l.start(i)
		}
		l.works()
		was := l.nodes[2].self
		l.kill(2)
		l.wipe(2)
		n := l.start(2).in()
		if n.self.Node == was.Node || n.State().Nodes[was.Node].Identity == n.data.Identity() {
			t.Errorf("%+v after %+v", n.self, was)
		}
		l.works()
	})
}

// Of two nodes with one name the second is not taken in while the first is there:
// the first would be taken for lost when it stopped (D5).
func TestNamesake(t *testing.T) {
	inLab(t, 3, func(l *lab) {
		l.shape = func(i int, o *Options) { growing(3)(i, o); o.Name = string("aab"[i]) }
		l.start(0)
		l.works()
		twin := l.start(1)
		l.start(2)
		time.Sleep(time.Minute)
		select {
		case <-twin.entered:
			t.Error("it has entered")
		default:
		}
		if n := len(l.nodes[0].State().Nodes); n != 2 {
			t.Errorf("%d nodes", n)
		}
	})
}

// A node that may only join waits for a cluster, and one that expects others
// joins what is there.
func TestJoin(t *testing.T) {
	inLab(t, 3, func(l *lab) {
		l.shape = func(i int, o *Options) { o.BootstrapExpect, o.Shards = i, labShards+i }
		l.start(0) // joins only
		time.Sleep(time.Minute)
		if l.nodes[0].State().Cluster != "" {
			t.Error("a cluster came from nothing")
		}
		l.shape = func(i int, o *Options) { o.BootstrapExpect = i }
		l.start(1)
		l.works()
		l.start(2)
		l.works()
		for _, n := range l.nodes {
			if n.State().Cluster != l.nodes[1].State().Cluster || n.State().Shards != labShards {
				t.Errorf("%+v", n.State())
			}
		}
	})
}

// Two clusters that come to know of each other stay two.
func TestTwoClusters(t *testing.T) {
	inLab(t, 2, func(l *lab) {
		l.shape = func(_ int, o *Options) { o.BootstrapExpect = 1 }
		l.net.Partition(l.hosts[:1], l.hosts[1:])
		a, b := l.start(0).in(), l.start(1).in()
		l.net.Heal()
		time.Sleep(time.Minute)
		if len(a.cl.Nodes()) != 1 || len(b.cl.Nodes()) != 1 {
			t.Errorf("%v and %v are members of each other's", a.cl.Nodes(), b.cl.Nodes())
		}
		if a.State().Cluster == b.State().Cluster || len(a.State().Nodes) != 1 || len(b.State().Nodes) != 1 {
			t.Errorf("%+v and %+v", a.State(), b.State())
		}
		l.kill(1)
		b = l.start(1).in()
		if a.State().Cluster == b.State().Cluster {
			t.Error("it changed sides")
		}
	})
}

// A node that comes back alone, perhaps with an older copy of its data, says within
// seconds what it waits for to know.
func TestWaitingNodeSaysWhatFor(t *testing.T) {
	inLab(t, 3, func(l *lab) {
		for i := range 3 {
			l.start(i)
		}
		l.works()
		for i := range 3 {
			l.kill(i)
		}
		var log said
		l.shape = func(_ int, o *Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) }
		l.start(0)
		time.Sleep(logInterval + time.Second)
		if got := log.String(); !strings.Contains(got, "waiting to enter the cluster") || !strings.Contains(got, "older copy") {
			t.Errorf("it says %s", got)
		}
	})
}

// said is a log that is read while it is written.
type said struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all.Write(p)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all.String()
}

func TestPropose(t *testing.T) {
	inLab(t, 3, func(l *lab) {
		for i := range 3 {
			l.start(i)
		}
		l.works()
		ctx := l.t.Context()
		for i, n := range l.nodes {
			if _, err := n.Propose(ctx, &meta.Set{Name: fmt.Sprint(i), Value: "x"}); err != nil {
				t.Errorf("%d: %v", i, err)
			}
			if _, err := n.Propose(ctx, &meta.Retire{Node: 99}); !errors.Is(err, meta.ErrNoNode) {
				t.Errorf("%d: %v", i, err)
			}
		}
		leads := slices.IndexFunc(l.nodes, func(n *labNode) bool { return n.MetaLeader() == n.data.Identity() })
		follower := l.nodes[(leads+1)%3]
		l.net.Partition(l.hosts[leads:leads+1], slices.Concat(l.hosts[:leads], l.hosts[leads+1:]))
		short, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		if _, err := l.nodes[leads].Propose(short, &meta.Set{Name: "lost", Value: "x"}); !errors.Is(err, ErrUnknown) && !errors.Is(err, ErrNoLeader) {
			t.Errorf("without a majority: %v", err)
		}
		for {
			_, err := follower.Propose(ctx, &meta.Set{Name: "kept", Value: "x"})
			if err == nil {
				break
			}
			if !errors.Is(err, ErrUnknown) {
				t.Fatal(err)
			}
		}
		l.net.Heal()
		l.works()
		if s := l.nodes[leads].State().Settings; s["kept"] == "" || s["lost"] != "" {
			t.Errorf("%v", s)
		}
	})
}

// A node that stops hands over what it leads.
func TestShutdownHandsOver(t *testing.T) {
	inLab(t, 3, func(l *lab) {
		for i := range 3 {
			l.start(i)
		}
		l.works()
		leads := slices.IndexFunc(l.nodes, func(n *labNode) bool { return n.MetaLeader() == n.data.Identity() })
		began := time.Now()
		l.nodes[leads].Shutdown(l.t.Context())
		if took := time.Since(began); took > 300*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		l.until("another leader", func() bool {
			leader := l.nodes[(leads+1)%3].MetaLeader()
			return leader != "" && leader != l.nodes[leads].data.Identity()
		})
		if took := time.Since(began); took > 500*time.Millisecond {
			t.Errorf("another led after %v", took)
		}
		l.stop(leads)
	})
}

// What others build upon: who is who, who leads, who votes.
func TestDirectory(t *testing.T) {
	inLab(t, 3, func(l *lab) {
		for i := range 3 {
			l.start(i)
		}
		l.works()
		for _, n := range l.nodes {
			l.until("its own log applied", n.Whole)
			if got := n.Voters(); len(got) != 3 || !slices.IsSorted(got) {
				t.Errorf("voters %v", got)
			}
			id, ok := n.Identity(raftstore.Node(n.self.Node))
			number, ok2 := n.Number(id)
			if !ok || !ok2 || id != n.data.Identity() || number != raftstore.Node(n.self.Node) {
				t.Errorf("%v is %q, %v", n.self, id, number)
			}
			if n.Leading() != (n.MetaLeader() == id) {
				t.Errorf("%s and its leader %s differ about who leads", id, n.MetaLeader())
			}
			for sh := range router.ShardID(labShards) {
				l.until("word of the leader", func() bool { _, ok := n.Leader(sh); return ok })
				if got := n.Replicas(sh); len(got) != 3 {
					t.Errorf("shard %d is at %v", sh, got)
				}
			}
		}
	})
}
