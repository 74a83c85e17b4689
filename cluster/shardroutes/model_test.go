package shardroutes

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"dunlin/router"
)

// model drives Routes on several nodes through elections, deaths, cuts and
// restarts, and knows what every shard's log says.
type model struct {
	*world
	*rand.Rand
	shards []*shardModel
	joins  map[string]*join // nodes that were started and do not serve yet
	events chan func()      // from callbacks, for the goroutine of the test
	eager  bool             // plant: a SUBACK does not wait
	hasty  bool             // plant: a new node serves at once

	running sync.WaitGroup
	ended   atomic.Bool

	promises int
}

// shardModel is a shard as its log has it, and who leads it.
type shardModel struct {
	filters  map[string]uint64 // index of the command that made it
	promised map[string]bool   // of filters: its SUBACK was sent
	index    uint64
	reign    uint64
	leader   *node // nil for none that lives
	table    *router.Table
	unheard  []func() // ends of leaderships that their nodes have not heard of
}

// join is a node on its way to serve.
type join struct {
	caughtUp bool
	stop     context.CancelFunc
}

func runModel(t *testing.T, seed uint64, plant func(*model)) (m *model, broken error) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, seed, 2, "a", "b", "c", "d")
		m = &model{world: w, Rand: rand.New(rand.NewPCG(seed, 3)), joins: map[string]*join{}, events: make(chan func(), 1<<16)}
		defer func() {
			for _, j := range m.joins {
				j.stop()
			}
			w.close()
			m.ended.Store(true)
			m.running.Wait()
		}()
		for range w.shards {
			m.shards = append(m.shards, &shardModel{filters: map[string]uint64{}, promised: map[string]bool{}})
		}
		if plant != nil {
			plant(m)
		}
		w.count()
		for _, name := range w.members {
			m.begin(name)
		}
		for step := range 600 {
			m.act()
			time.Sleep(time.Duration(m.IntN(8000)) * time.Microsecond)
			if broken = m.settled(); broken != nil {
				broken = fmt.Errorf("step %d: %w", step, broken)
				return
			}
		}
		broken = m.finish()
	})
	return m, broken
}

// act does something at random.
func (m *model) act() {
	sh := router.ShardID(m.IntN(len(m.shards)))
	switch n := m.IntN(100); {
	case n < 70:
		m.write(sh)
	case n < 76:
		m.elect(sh)
	case n < 88:
		a, b := m.members[m.IntN(4)], m.members[m.IntN(4)]
		if m.IntN(3) == 0 {
			m.wires.heal()
		} else if a != b {
			m.wires.set(a, b, true)
		}
	case n < 90 && len(m.nodes) > 2:
		m.die(m.alive())
	case n < 96:
		for _, name := range m.members {
			if m.nodes[name] == nil {
				m.begin(name)
				break
			}
		}
	default:
		for _, ends := range m.shards[sh].unheard {
			ends()
		}
		m.shards[sh].unheard = nil
	}
}

func (m *model) alive() string {
	names := slices.Sorted(maps.Keys(m.nodes))
	return names[m.IntN(len(names))]
}

// begin starts a node, which counts from now on, and serves later.
func (m *model) begin(name string) {
	n := m.start(name)
	m.count(slices.Sorted(maps.Keys(m.nodes))...)
	m.joins[name] = &join{}
	m.catchUp(n, m.joins[name])
}

// die ends a node; its lease is over at once.
func (m *model) die(name string) {
	for _, s := range m.shards {
		if s.leader == m.nodes[name] {
			s.leader = nil
		}
	}
	if j := m.joins[name]; j != nil {
		j.stop()
		delete(m.joins, name)
	}
	m.kill(name)
	m.count(slices.Sorted(maps.Keys(m.nodes))...)
}

// elect gives a shard another leader. The one before may not hear of it for a
// while.
func (m *model) elect(sh router.ShardID) {
	s := m.shards[sh]
	if old, reign := s.leader, s.reign; old != nil {
		ends := func() {
			if l := old.led[sh].Load(); l != nil && l.reign == reign {
				old.EndShard(sh)
			}
		}
		if m.IntN(2) == 0 {
			s.unheard = append(s.unheard, ends)
		} else {
			ends()
		}
	}
	s.leader = m.nodes[m.alive()]
	s.reign += 1 + m.Uint64N(3)
	s.table = router.NewTable()
	for _, f := range slices.Sorted(maps.Keys(s.filters)) {
		s.table.Subscribe(mustFilter(m, f), 1, router.Options{})
	}
	s.table.KeepChanges(1 << m.IntN(4)) // so that copies are needed now and then
	m.leaders[sh].Store(&s.leader.name)
	s.leader.LeadShard(sh, s.reign, s.table)
	s.leader.ShardApplied(sh, s.index)
}

// write has a shard's leader apply a command of some node's client.
func (m *model) write(sh router.ShardID) {
	s := m.shards[sh]
	if s.leader == nil {
		return
	}
	f := fmt.Sprintf([]string{"f/%d", "f/%d/+", "f/%d/#"}[m.IntN(3)], m.IntN(12))
	s.index++
	index := s.index
	if s.filters[f] != 0 && m.IntN(2) == 0 {
		delete(s.filters, f)
		delete(s.promised, f)
		s.table.Unsubscribe(mustFilter(m, f), 1)
		s.leader.ShardApplied(sh, index)
		return
	}
	s.table.Subscribe(mustFilter(m, f), 1, router.Options{})
	s.leader.ShardApplied(sh, index)
	if s.filters[f] == 0 {
		s.filters[f] = index
	}
	suback := func(ok bool) {
		m.events <- func() {
			if made := s.filters[f]; ok && made != 0 && made <= index {
				s.promised[f] = true
				m.promises++
			}
		}
	}
	if m.eager {
		suback(true)
		return
	}
	m.nodes[m.alive()].Synced(sh, index, suback)
}

// settled takes what callbacks said, has nodes come to serve, and looks whether
// those that serve keep what was promised (P4).
func (m *model) settled() error {
	for len(m.events) > 0 {
		(<-m.events)()
	}
	for name, j := range m.joins {
		if m.hasty || j.caughtUp {
			j.stop()
			delete(m.joins, name)
		}
	}
	for name, n := range m.nodes {
		if m.joins[name] != nil {
			continue
		}
		for sh, s := range m.shards {
			for f := range s.promised {
				if !n.wants(m, topicOf(f), router.ShardID(sh)) {
					return fmt.Errorf("%s does not lead to shard %d at %s, which was promised", f, sh, name)
				}
			}
		}
	}
	return nil
}

// catchUp has a node come to serve. Commands are committed as soon as the shard
// has a leader.
func (m *model) catchUp(n *node, j *join) {
	ctx, stop := context.WithCancel(context.Background())
	j.stop = stop
	m.running.Go(func() {
		if n.CatchUp(ctx, m.commit) == nil {
			m.events <- func() { j.caughtUp = true }
		}
	})
}

// commit has a command applied that changes nothing.
func (m *model) commit(sh router.ShardID, done func(index uint64, err error)) {
	if m.ended.Load() {
		return
	}
	m.events <- func() {
		s := m.shards[sh]
		if s.leader == nil {
			m.running.Go(func() {
				time.Sleep(time.Millisecond)
				m.commit(sh, done)
			})
			return
		}
		s.index++
		s.leader.ShardApplied(sh, s.index)
		done(s.index, nil)
	}
}

// finish heals everything, and compares all tables with the logs.
func (m *model) finish() error {
	m.wires.heal()
	for _, name := range m.members {
		if m.nodes[name] == nil {
			m.begin(name)
		}
	}
	for sh, s := range m.shards {
		m.elect(router.ShardID(sh))
		for _, ends := range s.unheard {
			ends()
		}
	}
	for name := range m.nodes {
		for sh, s := range m.shards {
			m.expectSynced(name, router.ShardID(sh), s.index, true)
		}
	}
	time.Sleep(time.Second)
	if err := m.settled(); err != nil {
		return err
	}
	for name, n := range m.nodes {
		if err := n.Whole(); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		for sh, s := range m.shards {
			for i := range 12 {
				for _, topic := range []string{"f/%d", "f/%d/x", "f/%d/x/y"} {
					topic = fmt.Sprintf(topic, i)
					if got := n.wants(m, topic, router.ShardID(sh)); got != s.wants(topic) {
						return fmt.Errorf("%s leads to shard %d at %s: %v", topic, sh, name, got)
					}
				}
			}
		}
	}
	return nil
}

// topicOf is a topic that the filter matches.
func topicOf(filter string) string {
	return strings.NewReplacer("+", "x", "#", "x/y").Replace(filter)
}

func (s *shardModel) wants(topic string) bool {
	first, rest, _ := strings.Cut(strings.TrimPrefix(topic, "f/"), "/")
	for f := range s.filters {
		i, tail, _ := strings.Cut(strings.TrimPrefix(f, "f/"), "/")
		if i == first && (tail == "#" || tail == rest || tail == "+" && rest == "x") {
			return true
		}
	}
	return false
}

func TestModel(t *testing.T) {
	promises := 0
	for seed := range uint64(12) {
		m, err := runModel(t, seed, nil)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		promises += m.promises
	}
	if t.Logf("%d promises", promises); promises < 500 {
		t.Errorf("%d promises prove little", promises)
	}
}

// The model notices a SUBACK that does not wait, and a new node that does not.
func TestPlanted(t *testing.T) {
	for name, plant := range map[string]func(*model){
		"eager": func(m *model) { m.eager = true },
		"hasty": func(m *model) { m.hasty = true },
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(8) {
				if _, err := runModel(t, seed, plant); err != nil {
					t.Log(err)
					return
				}
			}
			t.Error("the planted bug was not noticed")
		})
	}
}
