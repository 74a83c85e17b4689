package broker

import (
	"io"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dunlin/cluster"
	"dunlin/node/auth"
	"dunlin/node/listen"
	"dunlin/proto/mqtt"
	"dunlin/raftstore"
	"dunlin/router"
	"dunlin/session"
)

// The broker is tested on loops and between peers that are plain memory, with the
// real router, sessions and store, inside a synctest bubble: settle runs
// everything until nothing is left to do.

// cell is some brokers that are one another's peers.
type cell struct {
	t     *testing.T
	nodes []*testNode
	told  bool // nodes are told of routes that go, too; else only of those that somebody waits for
}

type testNode struct {
	cell  *cell
	index int
	table *router.Table
	store *raftstore.Store
	b     *Broker
	loops []*testLoop
	start time.Time

	full   bool // Full's answer
	silent bool // confirmations are kept back
	kept   []func()
	fate   cluster.Fate // what confirmations say
	dead   bool

	syncing func(done func(ok bool)) // takes what asks whether a shard's routes are everywhere; nil: they are
}

func newCell(t *testing.T, nodes, loops int, adjust func(*Options)) *cell {
	t.Helper()
	c := &cell{t: t}
	start := time.Now()
	for i := range nodes {
		n := &testNode{cell: c, index: i, table: router.NewTable(), start: start}
		o := Options{
			Session: session.Limits{
				ReceiveMaximum: 20, MaximumPacketSize: 1 << 20, TopicAliasMaximum: 8,
				SendAliasMaximum: 8, MaxInflight: 20, MaxQueueMessages: 1000, MaxQueueBytes: 1 << 20,
			},
			ConnectTimeout: 10 * time.Second, Policy: session.Policy{MaxSessionExpiry: 3600}, MaxSubscriptions: 100,
			MaxUnsent: 1 << 20, MaxSharedBytes: 1 << 20,
			Auth: auth.Anonymous{}, Access: auth.Denied{},
			Clock: func() session.Time { return session.Time(time.Since(start)) },
			Log:   slog.New(slog.NewTextHandler(io.Discard, nil)),
		}
		if adjust != nil {
			adjust(&o)
		}
		n.b = New(o, n.table)
		n.store = openStore(t, n)
		n.b.Attach(n.store, n.store, n.store, n, n)
		for j := range loops {
			l := &testLoop{node: n, index: j, conns: map[listen.ID]*testConn{}}
			l.handler = n.b.Worker(l)
			n.loops = append(n.loops, l)
		}
		n.b.Accept(true)
		c.nodes = append(c.nodes, n)
	}
	for _, n := range c.nodes {
		n.feed()
		for _, other := range c.nodes {
			if other != n {
				n.b.Joined(cluster.Node{ID: n.peer(other)})
			}
		}
	}
	return c
}

// peer is the NodeID by which n knows another node, and back.
func (n *testNode) peer(other *testNode) router.NodeID {
	if other.index == n.index {
		return 0
	}
	return router.NodeID(other.index + 1)
}

func (n *testNode) node(id router.NodeID) *testNode { return n.cell.nodes[id-1] }

func (n *testNode) Buffer() []byte { return make([]byte, 0, 1024) }

// Forward hands the frame over at once; what it starts is done by settle.
func (n *testNode) Forward(to router.NodeID, f cluster.Frame) bool {
	other := n.node(to)
	if other.dead {
		return false
	}
	var done func()
	if f.Reliable {
		done = func() {
			if n.silent {
				n.kept = append(n.kept, func() { n.b.Confirmed(to, f.Token, n.fate) })
				return
			}
			n.b.Confirmed(to, f.Token, n.fate)
		}
	}
	other.b.Forwarded(other.peer(n), f.Body, done)
	return true
}

func (n *testNode) Full(router.NodeID) bool { return n.full }

// Routed feeds the routes to every node, as the cluster does.
func (n *testNode) Routed(_ uint64, done func()) {
	n.feed()
	done()
}

// Synced finds the shards' routes in place: its store is not replicated.
func (n *testNode) Synced(_ router.ShardID, _ uint64, done func(ok bool)) {
	if n.syncing != nil {
		n.syncing(done)
		return
	}
	done(true)
}

func (n *testNode) feed() {
	for _, other := range n.cell.nodes {
		if other != n && !n.dead {
			id := other.peer(n)
			other.table.BeginRemote(id)
			n.table.Snapshot(func(cs []router.Change) bool { other.table.ApplyRemote(id, cs); return true })
			other.table.EndRemote(id)
		}
	}
}

// kill makes a node vanish for the others.
func (n *testNode) kill() {
	n.dead = true
	for _, other := range n.cell.nodes {
		if other != n {
			other.table.RemoveRemote(other.peer(n))
			other.b.Left(cluster.Node{ID: other.peer(n)})
		}
	}
	n.cell.settle()
}

// settle runs the loops until no work is left anywhere.
func (c *cell) settle() {
	for {
		synctest.Wait()
		worked := false
		for _, n := range c.nodes {
			if c.told {
				n.feed()
			}
			for _, l := range n.loops {
				worked = l.turn() || worked
			}
		}
		if !worked {
			synctest.Wait()
			if !c.hasMail() {
				return
			}
		}
	}
}

func (c *cell) hasMail() bool {
	for _, n := range c.nodes {
		for _, l := range n.loops {
			l.mu.Lock()
			has := len(l.mail) > 0
			l.mu.Unlock()
			if has {
				return true
			}
		}
	}
	return false
}

// sleep lets time pass, in ticks.
func (c *cell) sleep(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		time.Sleep(min(250*time.Millisecond, time.Until(end)))
		for _, n := range c.nodes {
			for _, l := range n.loops {
				l.handler.Tick()
			}
		}
		c.settle()
	}
}

// testLoop is a listen.Loop whose connections are memory.
type testLoop struct {
	node    *testNode
	index   int
	handler listen.Handler
	next    uint32
	conns   map[listen.ID]*testConn
	closed  []listen.ID

	mu   sync.Mutex
	mail []any
}

type testConn struct {
	cell    *cell
	loop    *testLoop
	id      listen.ID
	version mqtt.Version
	in, out []byte
	paused  bool
	closed  bool
	idle    time.Duration
	probed  bool
	unsent  int
	flushed bool // unsent is taken by the kernel at the end of the turn
	awaits  bool // Writable is owed when unsent is 0
	lingers bool // the socket stays after Close until the client hangs up
}

func (l *testLoop) turn() bool {
	l.mu.Lock()
	mail := l.mail
	l.mail = nil
	l.mu.Unlock()
	for _, m := range mail {
		l.handler.Mail(m)
	}
	worked := len(mail) > 0
	for _, c := range l.conns {
		if c.awaits && c.unsent == 0 && !c.closed {
			c.awaits, worked = false, true
			l.handler.Writable(c.id)
		}
	}
	for _, c := range l.conns {
		if len(c.in) > 0 && !c.paused && !c.closed {
			n, _ := l.handler.Receive(c.id, c.in)
			worked = worked || n > 0
			c.in = c.in[n:]
		}
	}
	closed := l.closed
	l.closed = nil
	for _, id := range closed {
		if l.conns[id].lingers {
			l.closed = append(l.closed, id)
			continue
		}
		l.handler.Closed(id, nil)
		delete(l.conns, id)
		worked = true
	}
	l.handler.Turn()
	for _, c := range l.conns {
		if c.flushed {
			c.unsent = 0
		}
	}
	return worked
}

func (l *testLoop) Index() int         { return l.index }
func (l *testLoop) Now() time.Duration { return time.Since(l.node.start) }

func (l *testLoop) Begin(id listen.ID) []byte {
	if c := l.conns[id]; c != nil {
		return c.out
	}
	return nil
}

func (l *testLoop) End(id listen.ID, b []byte) {
	if c := l.conns[id]; c != nil {
		c.out = b
	}
}

func (l *testLoop) Unsent(id listen.ID) int {
	if c := l.conns[id]; c != nil {
		return c.unsent
	}
	return 0
}

func (l *testLoop) Await(id listen.ID) {
	if c := l.conns[id]; c != nil {
		c.awaits = true
	}
}

func (l *testLoop) Close(id listen.ID) {
	if c := l.conns[id]; c != nil && !c.closed {
		c.closed = true
		l.closed = append(l.closed, id)
	}
}

func (l *testLoop) Probe(id listen.ID)                    { l.conns[id].probed = true }
func (l *testLoop) SetIdle(id listen.ID, d time.Duration) { l.conns[id].idle = d }
func (l *testLoop) Pause(id listen.ID)                    { l.conns[id].paused = true }
func (l *testLoop) Resume(id listen.ID)                   { l.conns[id].paused = false }

func (l *testLoop) Post(m any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mail = append(l.mail, m)
}

// dial opens a connection to a loop of a node.
func (c *cell) dial(node, loop int) *testConn {
	return c.dialAs(node, loop, listen.Info{Listener: "mqtt", Remote: netip.MustParseAddrPort("127.0.0.1:9"), Loopback: true})
}

// dialAs opens one of which the loop says info.
func (c *cell) dialAs(node, loop int, info listen.Info) *testConn {
	l := c.nodes[node].loops[loop]
	l.next++
	id := listen.ID(uint64(l.index)<<56 | uint64(l.next)<<32 | uint64(l.next-1))
	conn := &testConn{cell: c, loop: l, id: id, version: mqtt.V5}
	l.conns[id] = conn
	if !l.handler.Open(id, info) {
		conn.closed = true
		delete(l.conns, id)
	}
	return conn
}

// send gives the broker a packet and lets everything come to rest.
func (c *testConn) send(p interface {
	Append([]byte, mqtt.Version) []byte
}) {
	c.in = p.Append(c.in, c.version)
	c.cell.settle()
}

// hangUp closes the connection from the client's side.
func (c *testConn) hangUp() {
	c.loop.Close(c.id)
	c.cell.settle()
}

// recv takes the packets that have come; each owns its bytes.
func (c *testConn) recv() []*mqtt.Packet {
	c.cell.t.Helper()
	b := c.out
	c.out = nil
	var ps []*mqtt.Packet
	for len(b) > 0 {
		f, n, err := mqtt.Cut(b, 1<<28)
		if err != nil || n == 0 {
			c.cell.t.Fatalf("the broker's output does not cut: %v, %x", err, b)
		}
		p := new(mqtt.Packet)
		if err := mqtt.Decode(f, c.version, p); err != nil {
			c.cell.t.Fatalf("the broker's packet does not decode: %v, %x", err, b[:n])
		}
		ps = append(ps, p)
		b = b[n:]
	}
	return ps
}

// one takes the only packet that has come.
func (c *testConn) one(kind mqtt.Kind) *mqtt.Packet {
	c.cell.t.Helper()
	ps := c.recv()
	if len(ps) != 1 || ps[0].Kind != kind {
		c.cell.t.Fatalf("got %v, want one %v", kinds(ps), kind)
	}
	return ps[0]
}

// none checks that nothing has come.
func (c *testConn) none() {
	c.cell.t.Helper()
	if ps := c.recv(); len(ps) != 0 {
		c.cell.t.Fatalf("got %v, want nothing", kinds(ps))
	}
}

func kinds(ps []*mqtt.Packet) (ks []mqtt.Kind) {
	for _, p := range ps {
		ks = append(ks, p.Kind)
	}
	return ks
}

// connect dials and connects as a client with a clean start.
func (c *cell) connect(node, loop int, id string) *testConn {
	c.t.Helper()
	conn := c.dial(node, loop)
	conn.send(&mqtt.Connect{Version: mqtt.V5, CleanStart: true, ClientID: []byte(id)})
	if ack := conn.one(mqtt.CONNACK); ack.Connack.Reason != 0 {
		c.t.Fatalf("connect %s: %v", id, ack.Connack.Reason)
	}
	return conn
}

// persistent dials and connects as a client whose session outlives the connection.
func (c *cell) persistent(node, loop int, id string) *testConn {
	c.t.Helper()
	conn := c.dial(node, loop)
	conn.send(&mqtt.Connect{Version: mqtt.V5, ClientID: []byte(id), SessionExpiry: 100})
	conn.one(mqtt.CONNACK)
	return conn
}

// confirm lets go the confirmations that were kept back.
func (n *testNode) confirm() {
	kept := n.kept
	n.kept = nil
	for _, confirm := range kept {
		confirm()
	}
	n.cell.settle()
}

// subscribe subscribes to one filter.
func (c *testConn) subscribe(filter string, qos mqtt.QoS) {
	c.cell.t.Helper()
	c.send(&mqtt.Subscribe{PacketID: 1000, Filters: []mqtt.Subscription{{Filter: []byte(filter), QoS: qos}}})
	for _, p := range c.recv() {
		if p.Kind == mqtt.SUBACK && p.Suback.Reasons[0] == mqtt.Reason(qos) {
			return
		}
	}
	c.cell.t.Fatalf("subscribe %s: not granted", filter)
}

// publish sends a PUBLISH.
func (c *testConn) publish(topic, payload string, qos mqtt.QoS, id uint16) {
	c.send(&mqtt.Publish{Topic: []byte(topic), Payload: []byte(payload), QoS: qos, PacketID: id})
}

// ack answers a delivery with PUBACK.
func (c *testConn) ack(id uint16) { c.send(&mqtt.Ack{Kind: mqtt.PUBACK, PacketID: id}) }

// payloads lists the payloads of PUBLISHes among ps.
func payloads(ps []*mqtt.Packet) (out []string) {
	for _, p := range ps {
		if p.Kind == mqtt.PUBLISH {
			out = append(out, string(p.Publish.Payload))
		}
	}
	return out
}

func openStore(t *testing.T, n *testNode) *raftstore.Store {
	t.Helper()
	o := raftstore.DefaultOptions()
	o.Shards, o.Routes, o.Clock = 4, n.table, n.b.Clock
	o.Logger = n.b.Log
	s, err := raftstore.Open(o, n.b, n.b)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}
