package shardroutes

import (
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"dunlin/cluster/raftnet"
	"dunlin/router"
)

// wires is a network in memory. It keeps the order of what one node asks of
// another, takes its time, and breaks asks on ways that are cut.
type wires struct {
	running sync.WaitGroup
	stop    chan struct{}

	mu   sync.Mutex
	rand *rand.Rand
	ends map[string]*end
	ways map[[2]string]chan func()
	cut  map[[2]string]bool
}

func newWires(seed uint64) *wires {
	return &wires{rand: rand.New(rand.NewPCG(seed, 7)), ends: map[string]*end{}, ways: map[[2]string]chan func(){}, cut: map[[2]string]bool{}, stop: make(chan struct{})}
}

// end is a process on the network.
type end struct {
	w        *wires
	name     string
	handlers [256]raftnet.Handler
}

func (w *wires) attach(name string) *end {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := &end{w: w, name: name}
	w.ends[name] = e
	return e
}

func (w *wires) detach(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.ends, name)
}

// set cuts or heals the way between two nodes.
func (w *wires) set(a, b string, cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut[[2]string{a, b}], w.cut[[2]string{b, a}] = cut, cut
}

func (w *wires) heal() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.cut)
}

func (w *wires) close() {
	close(w.stop)
	w.running.Wait()
}

func (w *wires) delay() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Duration(w.rand.IntN(2000)) * time.Microsecond
}

// way is the queue from one node to another.
func (w *wires) way(from, to string) (way chan func(), ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	key := [2]string{from, to}
	if w.cut[key] || w.ends[to] == nil {
		return nil, false
	}
	if way = w.ways[key]; way == nil {
		way = make(chan func(), 1<<12)
		w.ways[key] = way
		w.running.Go(func() {
			for {
				select {
				case f := <-way:
					time.Sleep(w.delay())
					f()
				case <-w.stop:
					return
				}
			}
		})
	}
	return way, true
}

// reaches is who answers at the end of a way, nil if it is cut.
func (w *wires) reaches(from *end, to string) *end {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cut[[2]string{from.name, to}] || w.ends[from.name] != from {
		return nil
	}
	return w.ends[to]
}

func (e *end) Self() string { return e.name }

func (e *end) Handle(kind uint8, h raftnet.Handler) {
	e.w.mu.Lock()
	defer e.w.mu.Unlock()
	e.handlers[kind] = h
}

func (e *end) handler(kind uint8) raftnet.Handler {
	e.w.mu.Lock()
	defer e.w.mu.Unlock()
	if h := e.handlers[kind]; h != nil {
		return h
	}
	return func(_ string, _ uint16, _ []byte, reply func([]byte, error)) {
		reply(nil, raftnet.Failure("nobody answers"))
	}
}

func (e *end) Start(_ context.Context, node string, group uint16, kind uint8, body []byte, done func([]byte, error)) error {
	if node == e.name {
		e.handler(kind)(e.name, group, body, done)
		return nil
	}
	way, ok := e.w.way(e.name, node)
	if !ok {
		return raftnet.ErrUnreachable
	}
	body = slices.Clone(body)
	way <- func() {
		at := e.w.reaches(e, node)
		if at == nil {
			done(nil, raftnet.ErrBroken)
			return
		}
		at.handler(kind)(e.name, group, body, func(answer []byte, err error) {
			answer = slices.Clone(answer)
			e.w.running.Go(func() {
				time.Sleep(e.w.delay())
				switch {
				case e.w.reaches(e, node) != at:
					done(nil, raftnet.ErrBroken)
				case err != nil:
					done(nil, raftnet.Failure(err.Error()))
				default:
					done(answer, nil)
				}
			})
		})
		clear(body) // it was borrowed
	}
	return nil
}

func (e *end) Ask(ctx context.Context, node string, group uint16, kind uint8, body []byte) ([]byte, error) {
	type outcome struct {
		answer []byte
		err    error
	}
	ended := make(chan outcome, 1)
	if err := e.Start(ctx, node, group, kind, body, func(b []byte, err error) { ended <- outcome{slices.Clone(b), err} }); err != nil {
		return nil, err
	}
	for {
		select {
		case o := <-ended:
			return o.answer, o.err
		case <-ctx.Done():
			return nil, raftnet.ErrBroken
		case <-time.After(50 * time.Millisecond):
			if node != e.name && e.w.reaches(e, node) == nil { // the stream broke
				return nil, raftnet.ErrBroken
			}
		}
	}
}

// world is the nodes of a cluster, and what they are told of one another.
type world struct {
	*testing.T
	wires   *wires
	shards  int
	counted atomic.Pointer[[]string]
	members []string
	leaders []atomic.Pointer[string] // by shard, as everybody knows it
	nodes   map[string]*node
	lapsed  atomic.Bool // no node holds a lease
}

// node is one process.
type node struct {
	*Routes
	name  string
	table *router.Table
}

func newWorld(t *testing.T, seed uint64, shards int, members ...string) *world {
	w := &world{T: t, wires: newWires(seed), shards: shards, members: members, nodes: map[string]*node{}}
	w.leaders = make([]atomic.Pointer[string], shards)
	w.counted.Store(&members)
	return w
}

func (w *world) Members() []string { return w.members }
func (w *world) Counts() (identities []string, ok bool) {
	c := w.counted.Load()
	if c == nil {
		return nil, false
	}
	return *c, true
}
func (w *world) Leased() bool { return !w.lapsed.Load() }

func (w *world) start(name string) *node {
	w.Helper()
	n := &node{name: name, table: router.NewTable()}
	r, err := New(Options{
		Net: w.wires.attach(name), Table: n.table, Shards: w.shards, Nodes: w,
		Leader: func(sh router.ShardID) (string, bool) {
			if at := w.leaders[sh].Load(); at != nil {
				return *at, true
			}
			return "", false
		},
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		w.Fatal(err)
	}
	n.Routes = r
	w.nodes[name] = n
	return n
}

func (w *world) kill(name string) {
	w.wires.detach(name)
	w.nodes[name].Close()
	delete(w.nodes, name)
}

// count sets who counts, and tells all.
func (w *world) count(names ...string) {
	w.counted.Store(&names)
	for _, n := range w.nodes {
		n.Changed()
	}
}

// close ends everything.
func (w *world) close() {
	for _, n := range w.nodes {
		n.Close()
	}
	w.wires.close()
}

func mustFilter(t testing.TB, s string) router.Filter {
	t.Helper()
	f, err := router.ParseFilter([]byte(s))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// wants says whether messages of a topic go from n to sh.
func (n *node) wants(t testing.TB, topic string, sh router.ShardID) bool {
	t.Helper()
	to, err := router.ParseTopic([]byte(topic))
	if err != nil {
		t.Fatal(err)
	}
	var ms router.Matches
	n.table.Match(to, 0, &ms)
	return slices.Contains(ms.Shards, sh)
}
