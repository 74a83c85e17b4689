package shardnet

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dunlin/cluster/raftnet"
	"dunlin/proto/mqtt"
	"dunlin/raftstore"
	"dunlin/router"
	"dunlin/session"
)

// mesh is nodes 1, 2, 3, ... named n1, n2, n3, ... with streams in memory between
// them.
type mesh struct {
	t     testing.TB
	nodes []*node
	wg    sync.WaitGroup
	stop  context.CancelFunc
	ctx   context.Context

	mu    sync.Mutex
	parts map[[2]int]bool // links that are cut, lower node first
	cuts  map[[2]int][]context.CancelFunc
}

// node is one end of a mesh, and all that it works for.
type node struct {
	*Net
	number raftstore.Node
	mesh   *mesh
	clock  func() session.Time
	broker broker
	leader func(router.ShardID) (string, bool) // of its replica
	hidden map[string]bool                     // names that its directory does not know yet
}

func newMesh(t testing.TB, size int) *mesh {
	t.Helper()
	m := &mesh{t: t, parts: map[[2]int]bool{}, cuts: map[[2]int][]context.CancelFunc{}}
	m.ctx, m.stop = context.WithCancel(t.Context())
	began := time.Now()
	for i := range size {
		n := &node{
			number: raftstore.Node(i + 1), mesh: m,
			clock:  func() session.Time { return session.Time(time.Since(began)) },
			leader: func(router.ShardID) (string, bool) { return "", false },
		}
		o := raftnet.DefaultOptions()
		o.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
		rn, err := raftnet.New(name(n.number), o)
		if err != nil {
			t.Fatal(err)
		}
		n.Net, err = New(Options{Raftnet: rn, Directory: n.directory(), Owner: &n.broker, Clock: n.clock, Logger: o.Logger})
		if err != nil {
			t.Fatal(err)
		}
		n.Enter(n.number)
		m.nodes = append(m.nodes, n)
	}
	for i := range m.nodes {
		for j := range m.nodes {
			if i != j {
				m.wg.Go(func() { m.link(i, j) })
			}
		}
	}
	return m
}

func name(n raftstore.Node) string { return fmt.Sprint("n", n) }

// close ends a mesh; no store may be left that uses it.
func (m *mesh) close() {
	m.stop()
	m.wg.Wait()
	for _, n := range m.nodes {
		n.Close()
		n.raft.Close()
	}
}

// link keeps up the stream that node i has open to node j.
func (m *mesh) link(i, j int) {
	a, b := m.nodes[i].raft, m.nodes[j].raft
	key := [2]int{min(i, j), max(i, j)}
	for m.ctx.Err() == nil {
		time.Sleep(5 * time.Millisecond)
		m.mu.Lock()
		cut := m.parts[key]
		ctx, cancel := context.WithCancel(m.ctx)
		if !cut {
			m.cuts[key] = append(m.cuts[key], cancel)
		}
		m.mu.Unlock()
		if cut {
			cancel()
			continue
		}
		x, y := make(chan [2][]byte, 1), make(chan [2][]byte, 1)
		var wg sync.WaitGroup
		c := a.Connect(b.Self(), func(parent context.Context) (raftnet.Stream, context.CancelFunc, error) {
			ctx, cancel := context.WithCancel(parent)
			x, y := make(chan [2][]byte, 1), make(chan [2][]byte, 1)
			m.wg.Go(func() {
				_ = b.ServeSnapshot(ctx, a.Self(), pipe{ctx, y, x}, m.wg.Go)
				cancel()
			})
			return lastWord{pipe{ctx, x, y}}, cancel, nil
		})
		wg.Go(func() { _ = b.Serve(ctx, a.Self(), pipe{ctx, y, x}, wg.Go); cancel() })
		if err := c.Run(ctx, pipe{ctx, x, y}, cancel); err != nil && strings.Contains(err.Error(), "malformed") {
			m.t.Error(err)
		}
		cancel()
		c.Close()
		wg.Wait()
	}
}

// sever breaks the streams between two nodes; they come back at once.
func (m *mesh) sever(i, j int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := [2]int{min(i, j), max(i, j)}
	for _, cancel := range m.cuts[key] {
		cancel()
	}
	delete(m.cuts, key)
}

// part cuts two nodes from one another until they are joined.
func (m *mesh) part(i, j int, apart bool) {
	m.mu.Lock()
	m.parts[[2]int{min(i, j), max(i, j)}] = apart
	m.mu.Unlock()
	if apart {
		m.sever(i, j)
	}
}

// pipe is one end of a stream in memory. What it carries takes a while, so that
// there is something on its way when it breaks.
type pipe struct {
	ctx     context.Context
	out, in chan [2][]byte
}

func (p pipe) Send(urgent, bulk []byte) error {
	select {
	case p.out <- [2][]byte{bytes.Clone(urgent), bytes.Clone(bulk)}:
		return nil
	case <-p.ctx.Done():
		return p.ctx.Err()
	}
}

func (p pipe) Recv(f func(raftnet.Class, []byte) error) error {
	select {
	case rows := <-p.in:
		time.Sleep(200 * time.Microsecond)
		if p.ctx.Err() != nil {
			return io.EOF
		}
		for c, row := range rows {
			if len(row) > 0 {
				if err := f(raftnet.Class(c), row); err != nil {
					return err
				}
				clear(row) // it was borrowed
			}
		}
		return nil
	case <-p.ctx.Done():
		return io.EOF
	}
}

// lastWord is a pipe that gives what was sent before its end, as a call does whose
// other side has returned.
type lastWord struct{ pipe }

func (p lastWord) Recv(f func(raftnet.Class, []byte) error) error {
	select {
	case rows := <-p.in:
		return f(raftnet.Bulk, rows[raftnet.Bulk])
	case <-p.ctx.Done():
	}
	select {
	case rows := <-p.in:
		return f(raftnet.Bulk, rows[raftnet.Bulk])
	default:
		return io.EOF
	}
}

// directory implements Directory for a node.
func (n *node) directory() Directory { return directory{n} }

type directory struct{ n *node }

func (d directory) Identity(n raftstore.Node) (string, bool) {
	d.n.mesh.mu.Lock()
	defer d.n.mesh.mu.Unlock()
	return name(n), int(n) <= len(d.n.mesh.nodes) && !d.n.hidden[name(n)]
}

func (d directory) Number(identity string) (raftstore.Node, bool) {
	var n raftstore.Node
	_, err := fmt.Sscanf(identity, "n%d", &n)
	d.n.mesh.mu.Lock()
	defer d.n.mesh.mu.Unlock()
	return n, err == nil && !d.n.hidden[identity]
}

func (d directory) Leader(sh router.ShardID) (string, bool) { return d.n.leader(sh) }

func (d directory) Replicas(router.ShardID) (all []raftstore.Node) {
	for _, n := range d.n.mesh.nodes {
		all = append(all, n.number)
	}
	return all
}

// broker is a node's Owner: a line for each call, and what its connections were
// delivered, as a broker's connection takes it.
type broker struct {
	mu    sync.Mutex
	lines []string
	hold  bool // evictions are not answered
}

func (b *broker) say(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines = append(b.lines, fmt.Sprintf(format, args...))
}

func (b *broker) said() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.lines)
}

func (b *broker) Evict(conn router.Subscriber, clientID string, epoch session.Epoch, done func()) {
	b.say("evict %d %s %d", conn, clientID, epoch)
	if !b.hold {
		go done()
	}
}

func (b *broker) Push(conn router.Subscriber, epoch session.Epoch, ds []raftstore.Delivery) {
	for _, d := range ds {
		b.say("push %d %d: %d %s %v", conn, epoch, d.Index, d.Message.Payload, d.IDs)
	}
}

func (b *broker) Ended(conn router.Subscriber, epoch session.Epoch, reason mqtt.Reason) {
	b.say("ended %d %d %#x", conn, epoch, byte(reason))
}

// shards is a store that says what it was called for.
type shards struct {
	mu    sync.Mutex
	lines []string
	serve func(sh router.ShardID, frame []byte, reply func([]byte))
}

func (s *shards) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, fmt.Sprintf(format, args...))
}

func (s *shards) said() (lines []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	lines, s.lines = s.lines, nil
	return lines
}

func (s *shards) Serve(sh router.ShardID, frame []byte, reply func([]byte)) {
	s.serve(sh, frame, reply)
}
func (s *shards) PushAgain(to raftstore.Node) { s.say("again %d", to) }
func (s *shards) Moved(sh router.ShardID)     { s.say("moved %d", sh) }

// inMesh runs f with so many nodes whose streams are up.
func inMesh(t *testing.T, size int, f func(t *testing.T, m *mesh)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, size)
		defer m.close()
		time.Sleep(50 * time.Millisecond)
		f(t, m)
	})
}
