package cluster_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"dunlin/cluster"
	"dunlin/cluster/raftnet"
)

// groups is the Raft groups of one node, with stores in memory.
type groups struct {
	t     testing.TB
	net   *raftnet.Net
	rafts []*raft.Raft
	fsms  []*history
}

// history is a state machine: the commands in order.
type history struct {
	mu       sync.Mutex
	commands [][]byte
}

func (h *history) Apply(l *raft.Log) any {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.commands = append(h.commands, l.Data)
	return len(h.commands)
}

func (h *history) all() [][]byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.commands)
}

func (h *history) Snapshot() (raft.FSMSnapshot, error) { return frozen(h.all()), nil }

// Restore reads commands of equal size: a byte that says which, then that.
func (h *history) Restore(r io.ReadCloser) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.commands = nil
	for len(b) > 0 {
		var n int
		n, b = int(b[0])<<16|int(b[1])<<8|int(b[2]), b[3:]
		h.commands, b = append(h.commands, b[:n]), b[n:]
	}
	return nil
}

type frozen [][]byte

func (f frozen) Persist(s raft.SnapshotSink) error {
	for _, c := range f {
		if _, err := s.Write(append([]byte{byte(len(c) >> 16), byte(len(c) >> 8), byte(len(c))}, c...)); err != nil {
			return err
		}
	}
	return s.Close()
}

func (frozen) Release() {}

// raftConfig has the timeouts of DESIGN.md.
func raftConfig(self string) *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(self)
	c.HeartbeatTimeout, c.ElectionTimeout = 1500*time.Millisecond, 1500*time.Millisecond
	c.LeaderLeaseTimeout, c.CommitTimeout = time.Second, 250*time.Millisecond
	c.Logger = hclog.NewNullLogger()
	return c
}

// startGroups starts n groups on c with all voters, and lets the first bootstrap.
func startGroups(t testing.TB, c *cluster.Cluster, n int, voters ...string) *groups {
	t.Helper()
	g := &groups{t: t, net: c.Raft()}
	var conf raft.Configuration
	for _, v := range voters {
		conf.Servers = append(conf.Servers, raft.Server{ID: raft.ServerID(v), Address: raft.ServerAddress(v)})
	}
	for id := range n {
		tr, err := g.net.Transport(uint16(id))
		if err != nil {
			t.Fatal(err)
		}
		h, store := &history{}, raft.NewInmemStore()
		snaps := raft.NewInmemSnapshotStore()
		rc := raftConfig(g.net.Self())
		rc.TrailingLogs = 1
		if len(voters) > 0 {
			if err := raft.BootstrapCluster(rc, store, store, snaps, tr, conf); err != nil {
				t.Fatal(err)
			}
		}
		r, err := raft.NewRaft(rc, h, store, store, snaps, tr)
		if err != nil {
			t.Fatal(err)
		}
		tr.Watch(r)
		g.rafts, g.fsms = append(g.rafts, r), append(g.fsms, h)
	}
	return g
}

func (g *groups) stop() {
	var fs []raft.Future
	for _, r := range g.rafts {
		fs = append(fs, r.Shutdown())
	}
	for _, f := range fs {
		if err := f.Error(); err != nil {
			g.t.Errorf("shutdown: %v", err)
		}
	}
}

// leads counts the groups that this node leads.
func (g *groups) leads() (n int) {
	for _, r := range g.rafts {
		if r.State() == raft.Leader {
			n++
		}
	}
	return n
}

// led waits until each group has a leader among gs that takes a command.
func led(t testing.TB, within time.Duration, gs ...*groups) {
	t.Helper()
	end := time.Now().Add(within)
	for id := range gs[0].rafts {
		for err := errors.New("none"); err != nil; {
			if time.Now().After(end) {
				t.Fatalf("group %d has no leader after %v: %v", id, within, err)
			}
			err = commit(id, "led", gs...)
			if err != nil {
				time.Sleep(5 * time.Millisecond)
			}
		}
	}
}

// commit has the leader among gs commit a command.
func commit(id int, what string, gs ...*groups) error {
	err := errors.New("no leader")
	for _, g := range gs {
		if r := g.rafts[id]; r.State() == raft.Leader {
			if err = r.Apply([]byte(what), time.Second).Error(); err == nil {
				return nil
			}
		}
	}
	return err
}

const shards = 17

// inRaftLab runs f with three nodes that have all groups, led.
func inRaftLab(t *testing.T, f func(t *testing.T, l *lab, gs []*groups)) {
	t.Helper()
	inLab(t, 3, func(t *testing.T, l *lab) {
		l.startAll()
		gs := make([]*groups, 3)
		for i, n := range l.nodes {
			gs[i] = startGroups(t, n.Cluster, shards, "id-a", "id-b", "id-c")
		}
		// Also when f fails: a bubble with a Raft in it never ends.
		defer func() {
			for _, g := range gs {
				if g != nil {
					g.stop()
				}
			}
		}()
		led(t, 10*time.Second, gs...)
		f(t, l, gs)
	})
}

// same checks that all state machines of a group have the same commands soon.
func same(t testing.TB, gs ...*groups) {
	t.Helper()
	for id := range gs[0].rafts {
		for try := 0; ; try++ {
			want, equal := gs[0].fsms[id].all(), true
			for _, g := range gs[1:] {
				equal = equal && slices.EqualFunc(want, g.fsms[id].all(), bytes.Equal)
			}
			if equal {
				break
			}
			if try == 200 {
				t.Fatalf("group %d: state machines differ", id)
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
}

func TestGroupsCommitEverywhere(t *testing.T) {
	inRaftLab(t, func(t *testing.T, _ *lab, gs []*groups) {
		large := string(bytes.Repeat([]byte("x"), 1<<20)) // more than one piece, and more than one AppendEntries
		for id := range shards {
			for k := range 20 {
				if err := commit(id, fmt.Sprint(id, k), gs...); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := commit(3, large, gs...); err != nil {
			t.Fatal(err)
		}
		same(t, gs...)
	})
}

// A leader that is killed is followed at once, not after an election timeout.
func TestKilledLeaderIsFollowedAtOnce(t *testing.T) {
	inRaftLab(t, func(t *testing.T, l *lab, gs []*groups) {
		for id := range shards { // let a lead all
			for gs[0].rafts[id].State() != raft.Leader {
				for _, g := range gs[1:] {
					if g.rafts[id].State() == raft.Leader {
						_ = g.rafts[id].LeadershipTransferToServer("id-a", "id-a").Error()
					}
				}
				time.Sleep(10 * time.Millisecond)
			}
		}
		time.Sleep(time.Second)
		began := time.Now()
		l.hosts[0].Kill()
		led(t, 700*time.Millisecond, gs[1], gs[2])
		t.Logf("%d groups followed after %v; b leads %d, c %d", shards, time.Since(began), gs[1].leads(), gs[2].leads())
		if b, c := gs[1].leads(), gs[2].leads(); b < shards/3 || c < shards/3 {
			t.Errorf("b leads %d and c %d of the groups", b, c)
		}
		gs[0].stop()
		l.kill(0)
		gs[0] = nil
		same(t, gs[1:]...)
	})
}

// A node that leaves without handing over is followed when the word is out.
func TestLeavingLeaderIsFollowedAtOnce(t *testing.T) {
	inRaftLab(t, func(t *testing.T, l *lab, gs []*groups) {
		l.nodes[0].shutdown()
		led(t, 700*time.Millisecond, gs[1], gs[2])
		gs[0].stop()
		gs[0], l.nodes[0] = nil, nil
	})
}

// b and c cannot reach each other, and their connections are refused rather than
// silent: nobody is deposed, for a hears both.
func TestTwoThatCannotMeetDeposeNobody(t *testing.T) {
	inRaftLab(t, func(t *testing.T, l *lab, gs []*groups) {
		var terms []uint64
		for _, r := range gs[0].rafts {
			terms = append(terms, r.CurrentTerm())
		}
		for range 200 {
			l.net.Partition(l.hosts[1:2], l.hosts[2:])
			time.Sleep(10 * time.Millisecond)
			gs[1].net.Severed("id-c")
			gs[2].net.Severed("id-b")
			time.Sleep(240 * time.Millisecond)
			l.net.Heal()
			time.Sleep(50 * time.Millisecond)
		}
		for i, g := range gs {
			if n := g.net.Stood(); n > 0 {
				t.Errorf("node %d stood %d times", i, n)
			}
		}
		changed := 0
		for id, r := range gs[0].rafts {
			if r.CurrentTerm() != terms[id] {
				changed++
			}
		}
		if changed > 0 {
			t.Errorf("%d groups changed their leader", changed)
		}
		same(t, gs...)
	})
}

func TestPartitionsAndOneWayCutsHeal(t *testing.T) {
	for _, c := range []struct {
		name string
		cut  func(l *lab)
	}{
		{"one node alone", func(l *lab) { l.net.Partition(l.hosts[:1], l.hosts[1:]) }},
		{"one hears and is not heard", func(l *lab) {
			l.net.Cut(l.hosts[0], l.hosts[1])
			l.net.Cut(l.hosts[0], l.hosts[2])
		}},
		{"one is heard and does not hear", func(l *lab) {
			l.net.Cut(l.hosts[1], l.hosts[0])
			l.net.Cut(l.hosts[2], l.hosts[0])
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			inRaftLab(t, func(t *testing.T, l *lab, gs []*groups) {
				c.cut(l)
				led(t, 20*time.Second, gs[1], gs[2])
				for id := range shards {
					if err := commit(id, "while cut", gs[1:]...); err != nil {
						t.Error(err)
					}
				}
				l.net.Heal()
				same(t, gs...)
				led(t, 20*time.Second, gs...)
			})
		})
	}
}

// A node without anything gets a snapshot, on a connection of its own.
func TestSnapshotReachesANewNode(t *testing.T) {
	inLab(t, 3, func(t *testing.T, l *lab) {
		l.startAll()
		gs := []*groups{
			startGroups(t, l.nodes[0].Cluster, 2, "id-a"),
			startGroups(t, l.nodes[1].Cluster, 2),
		}
		defer gs[0].stop()
		defer gs[1].stop()
		led(t, 10*time.Second, gs[0])
		for range 20 {
			if err := commit(1, string(make([]byte, 300_000)), gs[0]); err != nil {
				t.Fatal(err)
			}
		}
		for _, r := range gs[0].rafts {
			if err := r.Snapshot().Error(); err != nil {
				t.Fatal(err)
			}
			if err := r.AddVoter("id-b", "id-b", 0, time.Second).Error(); err != nil {
				t.Fatal(err)
			}
		}
		same(t, gs...)
	})
}

func TestAsk(t *testing.T) {
	inLab(t, 2, func(t *testing.T, l *lab) {
		l.startAll()
		a, b := l.nodes[0].Raft(), l.nodes[1].Raft()
		var mu sync.Mutex
		var order []byte
		held := make(chan func([]byte, error), 1)
		b.Handle(1, func(from string, group uint16, body []byte, reply func([]byte, error)) {
			if from != "id-a" || group != 7 {
				t.Errorf("from %s about group %d", from, group)
			}
			switch {
			case len(body) == 0:
				held <- reply
			case body[0] == 255:
				reply(nil, errors.New("refused"))
			default:
				mu.Lock()
				order = append(order, body[0])
				mu.Unlock()
				reply(body, nil)
			}
		})
		ctx := t.Context()
		big := bytes.Repeat([]byte{1}, 3<<20)
		if got, err := a.Ask(ctx, "id-b", 7, 1, big); err != nil || !bytes.Equal(got, big) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		var wg sync.WaitGroup
		for i := range byte(100) {
			wg.Add(1)
			err := a.Start(ctx, "id-b", 7, 1, []byte{i}, func(got []byte, err error) {
				if err != nil || len(got) != 1 || got[0] != i {
					t.Errorf("%d: %v, %v", i, got, err)
				}
				wg.Done()
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		wg.Wait()
		mu.Lock()
		for i := range byte(100) {
			if order[i+1] != i {
				t.Fatalf("order %v", order)
			}
		}
		mu.Unlock()
		var f raftnet.Failure
		if _, err := a.Ask(ctx, "id-b", 7, 1, []byte{255}); !errors.As(err, &f) || f != "refused" {
			t.Errorf("refusal: %v", err)
		}
		if _, err := a.Ask(ctx, "id-b", 7, 2, nil); !errors.As(err, &f) {
			t.Errorf("no handler: %v", err)
		}
		if _, err := a.Ask(ctx, "id-z", 7, 1, nil); !errors.Is(err, raftnet.ErrUnreachable) {
			t.Errorf("no member: %v", err)
		}
		short, cancel := context.WithTimeout(ctx, time.Second)
		if _, err := a.Ask(short, "id-b", 7, 1, nil); !errors.Is(err, raftnet.ErrBroken) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("late: %v", err)
		}
		cancel()
		(<-held)(nil, nil) // too late, to no effect

		// A broken stream: unknown, at once.
		began := time.Now()
		done := make(chan error)
		go func() {
			_, err := a.Ask(ctx, "id-b", 7, 1, nil)
			done <- err
		}()
		reply := <-held
		l.net.Sever(l.hosts[0], l.hosts[1])
		if err := <-done; !errors.Is(err, raftnet.ErrBroken) || time.Since(began) > 100*time.Millisecond {
			t.Errorf("broken: %v after %v", err, time.Since(began))
		}
		reply(nil, nil)
		for {
			if _, err := a.Ask(ctx, "id-b", 7, 1, []byte{1}); err == nil {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		l.kill(1)
		synctest.Wait()
		began = time.Now()
		if _, err := a.Ask(ctx, "id-b", 7, 1, nil); !errors.Is(err, raftnet.ErrUnreachable) || time.Since(began) > 0 {
			t.Errorf("killed: %v after %v", err, time.Since(began))
		}
	})
}
