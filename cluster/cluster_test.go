package cluster_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"dunlin/cluster"
	"dunlin/router"
)

// broker is a Receiver that remembers what it was told.
type broker struct {
	t *testing.T

	mu        sync.Mutex
	changed   chan struct{} // closed and replaced at each call
	members   map[router.NodeID]cluster.Node
	got       map[router.NodeID][]uint64 // numbers that Forwarded brought, in order
	confirmed map[cluster.Token]cluster.Fate
	hold      bool // keep the dones
	dones     []func()
	events    []string // joins and leaves
}

func newBroker(t *testing.T) *broker {
	return &broker{
		t:         t,
		changed:   make(chan struct{}),
		members:   make(map[router.NodeID]cluster.Node),
		got:       make(map[router.NodeID][]uint64),
		confirmed: make(map[cluster.Token]cluster.Fate),
	}
}

func (b *broker) tellLocked() {
	close(b.changed)
	b.changed = make(chan struct{})
}

func (b *broker) Forwarded(from router.NodeID, body []byte, done func()) {
	b.mu.Lock()
	if _, ok := b.members[from]; !ok {
		b.t.Errorf("frame from %d, which is no member", from)
	}
	for rest := body; len(rest) > 0; {
		var r cluster.Record
		var err error
		if r, rest, err = cluster.ReadRecord(rest); err != nil {
			b.t.Errorf("record: %v", err)
			break
		}
		b.got[from] = append(b.got[from], binary.LittleEndian.Uint64(r.Message))
	}
	if done != nil && b.hold {
		b.dones = append(b.dones, done)
		done = nil
	}
	b.tellLocked()
	b.mu.Unlock()
	if done != nil {
		done()
	}
}

func (b *broker) Confirmed(to router.NodeID, token cluster.Token, f cluster.Fate) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.members[to]; !ok {
		b.t.Errorf("confirmation of %d, which is no member", to)
	}
	if _, ok := b.confirmed[token]; ok {
		b.t.Errorf("token %d confirmed twice", token)
	}
	b.confirmed[token] = f
	b.tellLocked()
}

func (b *broker) Forgotten(by router.NodeID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events = append(b.events, "forgotten by "+b.members[by].Name)
	b.tellLocked()
}

func (b *broker) Joined(n cluster.Node) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.members[n.ID] = n
	b.events = append(b.events, "joined "+n.Name)
	b.tellLocked()
}

func (b *broker) Left(n cluster.Node) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.members[n.ID].Identity != n.Identity {
		b.t.Errorf("%s left and had not joined", n.Name)
	}
	delete(b.members, n.ID)
	b.events = append(b.events, "left "+n.Name)
	b.tellLocked()
}

// until waits for ok, which is called with b locked whenever something changed.
func (b *broker) until(what string, ok func() bool) {
	b.t.Helper()
	late := time.After(time.Minute)
	for {
		b.mu.Lock()
		yes, changed := ok(), b.changed
		b.mu.Unlock()
		if yes {
			return
		}
		select {
		case <-changed:
		case <-late:
			b.t.Fatalf("no %s", what)
		}
	}
}

// node is one cluster end with its broker and table.
type node struct {
	*cluster.Cluster
	t      *testing.T
	broker *broker
	table  *router.Table
	opts   cluster.Options
	want   int // members that are to meet
}

func newNode(t *testing.T, o cluster.Options) *node {
	t.Helper()
	return makeNode(t, o).begin()
}

// makeNode makes one that is not started.
func makeNode(t *testing.T, o cluster.Options) *node {
	t.Helper()
	n := &node{t: t, broker: newBroker(t), table: router.NewTable(), opts: o, want: 1 + len(o.Join)}
	c, err := cluster.New(o, n.table, n.broker)
	if err != nil {
		t.Fatal(err)
	}
	n.Cluster = c
	return n
}

func (n *node) begin() *node {
	n.t.Helper()
	if err := n.Start(n.t.Context()); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(n.shutdown)
	return n
}

func (n *node) shutdown() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := n.Shutdown(ctx); err != nil {
		n.t.Error(err)
	}
}

// ready waits until the node has met those that it is to meet.
func (n *node) ready() *node {
	n.t.Helper()
	late := time.Now().Add(time.Minute)
	for !met(n.Cluster, n.want) {
		if time.Now().After(late) {
			n.t.Fatalf("%s: %v", n.opts.Name, n.Nodes())
		}
		time.Sleep(time.Millisecond)
	}
	return n
}

// met says whether c and as many members as make want have each other's routes.
func met(c *cluster.Cluster, want int) bool {
	nodes := c.Nodes()
	for _, m := range nodes {
		if m.State != "alive" {
			return false
		}
	}
	return len(nodes) >= want
}

// peer is the number of the member of that name, once it is one.
func (n *node) peer(name string) router.NodeID {
	n.t.Helper()
	for late := time.Now().Add(time.Minute); time.Now().Before(late); time.Sleep(time.Millisecond) {
		for _, m := range n.Nodes()[1:] {
			if m.Name == name {
				return m.ID
			}
		}
	}
	n.t.Fatalf("%s does not know %s", n.opts.Name, name)
	return 0
}

// body is a frame's body with one message, the number i.
func (n *node) body(i uint64) []byte {
	return cluster.AppendMessage(n.Buffer(), binary.LittleEndian.AppendUint64(nil, i))
}

func filter(t *testing.T, s string) router.Filter {
	t.Helper()
	f, err := router.ParseFilter([]byte(s))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// routed waits for the barrier.
func (n *node) routed(version uint64) {
	n.t.Helper()
	done := make(chan struct{})
	n.Routed(version, func() { close(done) })
	select {
	case <-done:
	case <-time.After(time.Minute):
		n.t.Fatalf("%s: version %d is not routed", n.opts.Name, version)
	}
}

// nodesFor is which peers n's table names for topic.
func (n *node) nodesFor(topic string) []router.NodeID {
	n.t.Helper()
	tp, err := router.ParseTopic([]byte(topic))
	if err != nil {
		n.t.Fatal(err)
	}
	var ms router.Matches
	n.table.Match(tp, 0, &ms)
	return ms.Nodes
}

// loopback are the options of a node on this machine, on free ports.
func loopback(t *testing.T, name string, join ...string) cluster.Options {
	o := cluster.DefaultOptions()
	o.Name, o.Identity, o.Start = name, "id-"+name, 1
	o.Cluster = "ours"
	o.GossipAddr, o.ClusterAddr = "127.0.0.1:0", "127.0.0.1:0"
	o.Join = join
	o.Logger = logger(t, name)
	return o
}

// logger writes to the test's log as long as the test runs.
func logger(t *testing.T, name string) *slog.Logger {
	w := &testWriter{t: t}
	t.Cleanup(w.stop)
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug})).With("on", name)
}

type testWriter struct {
	mu sync.Mutex
	t  *testing.T
}

func (w *testWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.t != nil {
		w.t.Log(string(bytes.TrimSpace(p)))
	}
	return len(p), nil
}

func (w *testWriter) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.t = nil
}

func TestLoopback(t *testing.T) {
	a := newNode(t, loopback(t, "a")).ready()
	b := newNode(t, loopback(t, "b", a.GossipAddr())).ready()
	a.broker.until("b", func() bool { return len(a.broker.members) == 1 })

	_, v := b.table.Subscribe(filter(t, "x/+"), 7, router.Options{})
	b.routed(v)
	if got := a.nodesFor("x/y"); len(got) != 1 || got[0] != a.peer("b") {
		t.Fatalf("a routes x/y to %v", got)
	}
	const n = 1000
	for i := range uint64(n) {
		if !a.Forward(a.peer("b"), cluster.Frame{Body: a.body(i), Reliable: true, Token: cluster.Token(i)}) {
			t.Fatal("forward refused")
		}
	}
	a.broker.until("confirmations", func() bool { return len(a.broker.confirmed) == n })
	inOrder(t, b, b.peer("a"), n)
	if got := fmt.Sprint(a.broker.events); got != "[joined b]" {
		t.Fatal(got)
	}
}

// inOrder checks that n got the numbers from 0 to count-1 from a peer, each once.
func inOrder(t *testing.T, n *node, from router.NodeID, count int) {
	t.Helper()
	n.broker.mu.Lock()
	defer n.broker.mu.Unlock()
	got := n.broker.got[from]
	if len(got) != count {
		t.Fatalf("%d of %d frames arrived", len(got), count)
	}
	for i, g := range got {
		if g != uint64(i) {
			t.Fatalf("frame %d came as %d", g, i)
		}
	}
}
