package raftstore

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"dunlin/proto/mqtt"
	"dunlin/router"
	"dunlin/session"
)

// trio is a cluster of three replicas of one shard in a synctest bubble, whose
// nodes are killed, restarted from their stores and parted.
type trio struct {
	sync.Mutex
	snapshotBytes uint64
	nodes         [3]*member
	entries       map[uint64][]byte // committed, by index
	digests       map[uint64]uint64

	pushed    map[router.Subscriber]map[uint64]string // payloads, by connection and index
	published map[string]bool                         // wills
	ended     map[router.Subscriber]bool

	before  func(r *replica, l *raft.Log) // a planted bug
	led     func(m *member)               // called when a node begins to lead; nil for nobody
	wrong   error
	started uint64

	replies           atomic.Uint64 // of which some are lost
	leaders, restored atomic.Uint64 // elections, and snapshots that a replica took over
	wall              time.Time     // at shard time's beginning
}

// member is one node: what outlives its starts, and its present one.
type member struct {
	t         *trio
	node      Node
	addr      raft.ServerAddress
	log       *raft.InmemStore
	stable    *raft.InmemStore
	snapshots *raft.InmemSnapshotStore
	transport *raft.InmemTransport
	cut       atomic.Bool // from the others
	store     atomic.Pointer[Store]
	start     uint64
	scratch   string         // directory to which it spills all it can; "" for none
	to        [4]chan func() // frames under way, by node

	userSessions int // of its Options
}

func newTrio(t testing.TB, snapshotBytes uint64) *trio {
	c := &trio{snapshotBytes: snapshotBytes, pushed: map[router.Subscriber]map[uint64]string{}, published: map[string]bool{}, ended: map[router.Subscriber]bool{}, entries: map[uint64][]byte{}, digests: map[uint64]uint64{}, wall: time.Now()}
	var servers raft.Configuration
	for i := range c.nodes {
		scratch := t.TempDir()
		if i == 2 {
			scratch = "" // the others must do what this one does
		}
		m := &member{t: c, scratch: scratch, node: Node(i + 1), addr: raft.ServerAddress(fmt.Sprint("n", i+1)),
			log: raft.NewInmemStore(), stable: raft.NewInmemStore(), snapshots: raft.NewInmemSnapshotStore()}
		c.nodes[i] = m
		servers.Servers = append(servers.Servers, raft.Server{ID: raft.ServerID(m.addr), Address: m.addr})
	}
	for _, m := range c.nodes {
		_, m.transport = raft.NewInmemTransport(m.addr)
		if err := raft.BootstrapCluster(quiet(m), m.log, m.stable, m.snapshots, m.transport, servers); err != nil {
			t.Fatal(err)
		}
		m.run(t)
	}
	return c
}

func quiet(m *member) *raft.Config {
	c := RaftConfig(raft.ServerID(m.addr))
	c.Logger = hclog.NewNullLogger()
	c.TrailingLogs = 8
	return c
}

// run starts a node.
func (m *member) run(t testing.TB) {
	m.cut.Store(false)
	m.t.started++
	m.start = m.t.started
	o := DefaultOptions()
	if m.scratch != "" {
		o.ScratchDir, o.minSpill = m.scratch, 1
	}
	o.Shards, o.UserSessions, o.Logger = 1, m.userSessions, slog.New(slog.NewTextHandler(io.Discard, nil))
	for i := range m.to {
		ch := make(chan func(), 1024)
		m.to[i] = ch
		go func() {
			for f := range ch {
				time.Sleep(200 * time.Microsecond)
				f()
			}
		}()
	}
	generation := m.start // each start holds one lease
	s, err := openReplicated(o, Replication{
		Node: m.node, Start: m.start, Generation: func() uint64 { return generation }, Leaders: m, Owners: m, World: m, Routes: begins{&tableRoutes{node: router.NewTable()}, m},
		Wall: time.Now, OutageCap: time.Hour,
	}, func(r *replica) {
		r.before = func(l *raft.Log) {
			if h, _ := openEntry(l.Data); h.maker == r.maker && r.first != nil && r.first.number == h.number {
				m.t.leaders.Add(1)
			}
			if m.t.before != nil {
				m.t.before(r, l)
			}
		}
		r.after = func(l *raft.Log) { m.t.committed(r, l) }
	})
	if err != nil {
		t.Fatal(err)
	}
	m.store.Store(s)
	m.startReplica(t)
}

// begins tells the test of leaderships.
type begins struct {
	Routes
	m *member
}

func (b begins) LeadShard(sh router.ShardID, reign uint64, table *router.Table) {
	b.Routes.LeadShard(sh, reign, table)
	c := b.m.t
	c.Lock()
	led := c.led
	c.Unlock()
	if led != nil {
		led(b.m)
	}
}

// startReplica has the node take part in the group, with what its stores hold.
func (m *member) startReplica(t testing.TB) {
	_, m.transport = raft.NewInmemTransport(m.addr)
	m.t.connect()
	if _, err := m.store.Load().StartReplica(0, Group{
		ID: raft.ServerID(m.addr), Log: m.log, Stable: m.stable, Snapshots: counted{m.snapshots, m.t},
		Transport: m.transport, SnapshotBytes: m.t.snapshotBytes, Tune: func(c *raft.Config) { *c = *quiet(m) },
	}); err != nil {
		t.Fatal(err)
	}
}

// counted counts the snapshots that are read.
type counted struct {
	raft.SnapshotStore
	t *trio
}

func (s counted) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	s.t.restored.Add(1)
	return s.SnapshotStore.Open(id)
}

func (m *member) kill() {
	if m.store.Load() == nil {
		return
	}
	m.cut.Store(true)
	m.t.connect()
	m.store.Load().Close()
	m.store.Store(nil)
	for _, ch := range m.to {
		close(ch)
	}
}

// connect joins the nodes that are not cut off.
func (c *trio) connect() {
	for _, a := range c.nodes {
		for _, b := range c.nodes {
			switch {
			case a == b || a.transport == nil || b.transport == nil:
			case a.cut.Load() || b.cut.Load():
				a.transport.Disconnect(b.addr)
			default:
				a.transport.Connect(b.addr, b.transport)
			}
		}
	}
}

// committed compares what replicas applied at equal index (D6).
func (c *trio) committed(r *replica, l *raft.Log) {
	digest := r.sh.st.digest
	c.Lock()
	defer c.Unlock()
	if c.entries == nil {
		return
	}
	if old, ok := c.entries[l.Index]; ok {
		if !slices.Equal(old, l.Data) {
			c.failLocked(fmt.Errorf("entry %d differs", l.Index))
		}
		if c.digests[l.Index] != digest {
			c.failLocked(fmt.Errorf("replicas part at entry %d", l.Index))
		}
	}
	c.entries[l.Index], c.digests[l.Index] = slices.Clone(l.Data), digest
}

func (c *trio) failLocked(err error) {
	if c.wrong == nil {
		c.wrong = err
	}
}

// leader is a node that serves, or nil.
func (c *trio) leader() *member {
	for _, m := range c.nodes {
		if m.store.Load() != nil && !m.cut.Load() && m.store.Load().shards[0].leading.Load() {
			return m
		}
	}
	return nil
}

func (c *trio) byAddr(id raft.ServerID) *member {
	for _, m := range c.nodes {
		if raft.ServerID(m.addr) == id {
			return m
		}
	}
	return nil
}

// Leader and Ask implement Leaders.
func (m *member) Leader(sh router.ShardID) (Node, bool) {
	s := m.store.Load()
	if s == nil {
		return 0, false
	}
	if id, ok := s.Leader(sh); ok {
		return m.t.byAddr(id).node, true
	}
	for _, other := range m.t.nodes { // as other nodes know
		if s := other.store.Load(); s != nil && !other.cut.Load() && s.Leads(sh) {
			return other.node, true
		}
	}
	return 0, false
}

func (m *member) Ask(at Node, sh router.ShardID, frame []byte, reply func([]byte, error)) {
	to := m.t.nodes[at-1]
	lost := errors.New("lost")
	m.to[at] <- func() {
		s := to.store.Load()
		if m.cut.Load() || to.cut.Load() || s == nil {
			go reply(nil, lost)
			return
		}
		s.Serve(sh, frame, func(answer []byte) {
			go func() {
				time.Sleep(200 * time.Microsecond)
				if m.cut.Load() || to.cut.Load() || m.t.replies.Add(1)%29 == 0 {
					time.Sleep(time.Second)
					reply(nil, lost)
					return
				}
				reply(answer, nil)
				clear(answer) // it was borrowed
			}()
		})
	}
}

// Evict and what follows implement Owners and Messenger.
func (m *member) Evict(_ Node, _ router.Subscriber, _ string, _ session.Epoch, done func()) {
	go done()
}
func (m *member) Push(_ Node, conn router.Subscriber, _ session.Epoch, ds []Delivery) {
	m.t.Lock()
	defer m.t.Unlock()
	for _, d := range ds {
		m.t.deliver(conn, d.Index, string(d.Message.Payload))
	}
}
func (m *member) Room(Node) bool { return true }
func (m *member) Ended(_ Node, conn router.Subscriber, _ session.Epoch, _ mqtt.Reason) {
	m.t.Lock()
	defer m.t.Unlock()
	m.t.ended[conn] = true
}
func (m *member) Forget(uint64) {}
func (m *member) Publish(msg *session.Message, _, _ string, done func()) bool {
	m.t.Lock()
	m.t.published[string(msg.Payload)] = true
	m.t.Unlock()
	go done()
	return true
}

// deliver notes that a connection was told of a delivery, which a new leader may
// tell again.
func (c *trio) deliver(conn router.Subscriber, index uint64, payload string) {
	if c.pushed[conn] == nil {
		c.pushed[conn] = map[uint64]string{}
	}
	if old, again := c.pushed[conn][index]; index != 0 && again && old != payload {
		c.failLocked(fmt.Errorf("connection %d: delivery %d was %s and is %s", conn, index, old, payload))
	}
	c.pushed[conn][index] = payload
}

// untold looks for what a connection should have been told and was not.
func (c *trio) untold(st *state, wills map[string]bool) error {
	for will := range wills {
		if !c.published[will] {
			return fmt.Errorf("will %s was never published", will)
		}
	}
	if n := len(st.wills.fired); n > 0 {
		return fmt.Errorf("%d wills are kept", n)
	}
	for _, box := range st.mail.out {
		if n := len(box.letters); n > 0 {
			return fmt.Errorf("%d letters are kept, from %d on", n, box.letters[0].number)
		}
	}
	for _, rec := range st.sessions.each {
		for o := range rec.Window {
			if _, told := c.pushed[rec.conn][o.Index]; rec.Attached() && !o.Received && !told {
				return fmt.Errorf("%s was not told of delivery %d", rec.clientID, o.Index)
			}
		}
	}
	return nil
}

// tally is what runs came to.
type tally struct{ commands, answered, repeated, entries, leaders, restored, minutes uint64 }

// sent is a command that was submitted, and what came of it.
type sent struct {
	cmd    Command
	node   Node
	result *Result
	found  bool // in the log
}

// chaos is a run of random commands under faults.
type chaos struct {
	*trio
	in                *inputs
	sent              map[[3]uint64]*sent // by node, start, number
	claims            map[router.Subscriber]*sent
	conns             router.Subscriber
	answers, repeated uint64
}

// runChaos drives a cluster for so many steps, heals it, and replays the log it
// came to against the model.
func runChaos(t *testing.T, seed uint64, steps int, sum *tally, before func(*replica, *raft.Log), onKill func(*member)) (err error) {
	synctest.Test(t, func(t *testing.T) {
		c := &chaos{trio: newTrio(t, 4<<10), sent: map[[3]uint64]*sent{}, claims: map[router.Subscriber]*sent{},
			in: &inputs{Rand: rand.New(rand.NewPCG(seed, 1)), epochs: map[string][]session.Epoch{}}}
		c.before = before
		for range steps {
			time.Sleep(time.Duration(c.in.IntN(40)) * time.Millisecond)
			if c.in.IntN(150) == 0 {
				time.Sleep(time.Duration(c.in.IntN(20)) * time.Minute)
			}
			for range 1 + c.in.IntN(4) {
				c.command()
			}
			if c.in.IntN(50) == 0 || c.faulty() && c.in.IntN(10) == 0 {
				c.fault(t, onKill)
			}
			c.Lock()
			wrong := c.wrong
			c.Unlock()
			if wrong != nil {
				break
			}
		}
		for _, m := range c.nodes {
			if m.cut.Store(false); m.store.Load() == nil {
				m.run(t)
			}
		}
		c.connect()
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if err = c.judge(); err == nil && sum != nil {
			sum.commands += uint64(len(c.sent) + len(c.claims))
			sum.answered += c.answers
			sum.repeated += c.repeated
			sum.entries += uint64(len(c.entries))
			sum.leaders += c.leaders.Load()
			sum.restored += c.restored.Load()
			sum.minutes += uint64(time.Since(c.wall).Minutes())
		}
		for _, m := range c.nodes {
			m.kill()
		}
		time.Sleep(2 * time.Second) // for answers that were lost on their way
	})
	return err
}

func (c *chaos) command() {
	m := c.nodes[c.in.IntN(3)]
	if m.store.Load() == nil {
		return
	}
	c.Lock()
	defer c.Unlock()
	cmd := c.in.command(m.store.Load().shards[0].clock())
	if _, transient := cmd.(Transient); transient {
		return
	}
	// A full queue counts what has expired for up to a second, the model does not.
	switch e := cmd.(type) {
	case Enqueue:
		e.Message.HasExpiry = false
		cmd = e
	case EnqueueFor:
		e.Delivery.Message.HasExpiry = false
		cmd = e
	}
	s := &sent{cmd: cmd, node: m.node}
	if claim, ok := cmd.(Claim); ok {
		c.conns++
		claim.Conn = c.conns
		s.cmd, cmd = claim, claim
		c.claims[c.conns] = s
	} else {
		l := m.store.Load().lanes[0]
		l.mu.Lock()
		c.sent[[3]uint64{uint64(m.node), m.start, l.mu.next}] = s
		l.mu.Unlock()
	}
	c.Unlock()
	m.store.Load().Submit(0, cmd, func(r Result) {
		c.Lock()
		defer c.Unlock()
		if s.result != nil {
			c.failLocked(fmt.Errorf("%T answered twice", cmd))
		}
		s.result = &r
		c.in.latest = max(c.in.latest, r.Index)
		if claim, ok := cmd.(Claim); ok && r.Err == nil {
			for _, w := range r.Claim.Window {
				if !w.Received {
					c.deliver(claim.Conn, w.Index, string(w.Message.Payload))
				}
			}
			c.in.epochs[claim.ClientID] = append(c.in.epochs[claim.ClientID], r.Claim.Epoch)
		}
	})
	if c.in.IntN(3) == 0 {
		synctest.Wait()
	}
	c.Lock()
}

// faulty says whether a node is down or cut off.
func (c *chaos) faulty() bool {
	return slices.ContainsFunc(c.nodes[:], func(m *member) bool { return m.store.Load() == nil || m.cut.Load() })
}

func (c *chaos) fault(t *testing.T, onKill func(*member)) {
	m := c.leader()
	if m == nil || c.in.IntN(3) == 0 {
		m = c.nodes[c.in.IntN(3)]
	}
	for _, down := range c.nodes {
		if c.in.IntN(2) == 0 && (down.store.Load() == nil || down.cut.Load()) {
			m = down
		}
	}
	switch {
	case m.store.Load() == nil:
		m.run(t)
	case m.cut.Load():
		m.cut.Store(false)
	case c.in.IntN(12) == 0: // all
		for _, m := range c.nodes {
			m.kill()
			if onKill != nil {
				onKill(m)
			}
		}
		time.Sleep(time.Duration(c.in.IntN(60)) * time.Second)
		for _, m := range c.nodes {
			m.run(t)
		}
	case c.in.IntN(6) == 0: // its replica alone
		if err := m.store.Load().StopReplica(0); err != nil {
			t.Error(err)
		}
		for range 4 {
			c.command()
			time.Sleep(time.Duration(c.in.IntN(2000)) * time.Millisecond)
		}
		m.startReplica(t)
	case c.in.IntN(2) == 0:
		// What a leader was to tell of its last entries dies with it.
		r := m.store.Load().posts[0].replica.Load()
		r.call(func() { r.sh.world = world{deafOwners{}, deafOwners{}} })
		for range 4 {
			c.command()
			time.Sleep(5 * time.Millisecond)
		}
		m.kill()
		if onKill != nil {
			onKill(m)
		}
	case c.in.IntN(4) == 0:
		go m.store.Load().Raft(0).LeadershipTransfer()
	default:
		m.cut.Store(true)
	}
	c.connect()
}

// judge replays the log.
func (c *chaos) judge() error {
	if c.wrong != nil {
		return c.wrong
	}
	sh := newManual(DefaultOptions())
	sh.shard.adopt(newState(0))
	sh.st.fx.leads, sh.owner.log = true, nil
	model := newModel(sh.st.now)
	starts, wills := map[Node]uint64{}, map[string]bool{}
	for _, index := range slices.Sorted(maps.Keys(c.entries)) {
		entry := c.entries[index]
		h, r := openEntry(entry)
		p := &proposal{}
		sh.flight = append(sh.flight[:0], p)
		sh.applied(entry, p)
		if digest := c.digests[index]; digest != sh.st.digest {
			return fmt.Errorf("entry %d: the replicas did something else", index)
		}
		model.advance(max(model.now, h.time))
		var from source
		number, next := uint64(0), 0
		for len(r.b) > 0 {
			k, body := r.command()
			if k == kindFrom {
				if from, number = body.source(); from.start > starts[from.node] {
					model.lost(from.node)
					starts[from.node] = from.start
				}
				continue
			}
			res := sh.results[next]
			next++
			var s *sent
			switch {
			case k == kindLetter:
				if res.Err == nil && !res.Known {
					model.deliver()
				}
			case k == kindClaim:
				claim := body.claim()
				switch s = c.claims[claim.conn]; {
				case claim.start > starts[claim.node]:
					model.lost(claim.node)
					starts[claim.node] = claim.start
				case claim.start < starts[claim.node]: // its node has begun anew
					if s.found = true; res.Err != ErrFenced {
						return fmt.Errorf("entry %d: a claim of an earlier start came to %w", index, res.Err)
					}
					continue
				}
			case from.node != 0:
				s = c.sent[[3]uint64{uint64(from.node), from.start, number}]
				number++
			}
			if s == nil || res.Err == errTurn {
				continue // the leader's own, or not its turn
			}
			if err := c.compare(s, res, model); err != nil {
				return fmt.Errorf("entry %d: %#v: %w", index, s.cmd, err)
			}
		}
		if err := sameLog(sh.owner.log, model.log); err != nil {
			return fmt.Errorf("entry %d: %w", index, err)
		}
		for _, line := range sh.owner.log {
			if who, what, _ := strings.Cut(line, ": "); strings.HasPrefix(who, "will of") {
				wills[what] = true
			}
		}
		sh.owner.log, model.log = nil, nil
	}
	if err := c.untold(sh.st, wills); err != nil {
		return err
	}
	for _, s := range c.sent {
		if err := s.lost(); err != nil {
			return err
		}
		if s.found && s.result != nil && s.result.Err == nil {
			c.answers++
		}
	}
	for _, s := range c.claims {
		if err := s.lost(); err != nil {
			return err
		}
	}
	return nil
}

// compare holds what a command came to in the log against the model, and against
// what was answered.
func (c *chaos) compare(s *sent, res Result, model *model) error {
	if s.found {
		c.repeated++
	}
	got := describeResult(s.cmd, res)
	if !s.found {
		s.found = true
		want := model.apply(s.cmd, res)
		if got != want {
			return fmt.Errorf("%s, want %s", got, want)
		}
		if claim, ok := s.cmd.(Claim); ok && res.Err == nil {
			model.sessions[claim.ClientID].node = s.node
		}
	}
	if _, claim := s.cmd.(Claim); claim || s.result == nil || errors.Is(s.result.Err, ErrUnknown) || errors.Is(s.result.Err, ErrClosed) {
		return nil
	}
	if told := describeResult(s.cmd, *s.result); told != got && res.Err != ErrUnknown {
		return fmt.Errorf("came to %s, answered was %s", got, told)
	}
	return nil
}

// lost says whether what was answered is not in the log.
func (s *sent) lost() error {
	if s.result == nil || s.found {
		return nil
	}
	switch s.result.Err {
	case nil, ErrFenced, ErrNotYours:
		return fmt.Errorf("%#v was answered and is lost", s.cmd)
	}
	return nil
}

// lost ends what the connections of a node own.
func (m *model) lost(node Node) {
	for _, id := range m.bySlot() {
		if s := m.sessions[id]; s.attached && s.node == node {
			m.apply(Detach{ClientID: id, Epoch: s.epoch, Fire: true}, Result{Index: m.index})
		}
	}
}

// Thousands of commands of three nodes under kills, cuts, restarts and outages of
// all: what every replica did is what the model says, nothing that was answered is
// lost, and nothing that was asked again was done twice.
func TestReplicasUnderFaults(t *testing.T) {
	runs := uint64(12)
	if testing.Short() {
		runs = 3
	}
	var sum tally
	for seed := range runs {
		if err := runChaos(t, seed, 800, &sum, nil, nil); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
	t.Logf("%+v", sum)
	if n := runs; sum.answered < 200*n || sum.leaders < 2*n || sum.restored < n || sum.repeated < n || sum.minutes < 10*n {
		t.Errorf("the runs saw too little: %+v", sum)
	}
}

// deafOwners loses all that a leader tells.
type deafOwners struct{}

func (deafOwners) Evict(_ Node, _ router.Subscriber, _ string, _ session.Epoch, done func()) {
	go done()
}
func (deafOwners) Push(Node, router.Subscriber, session.Epoch, []Delivery)   {}
func (deafOwners) Room(Node) bool                                            { return true }
func (deafOwners) Ended(Node, router.Subscriber, session.Epoch, mqtt.Reason) {}
func (deafOwners) Publish(*session.Message, string, string, func()) bool     { return true }
func (deafOwners) Forget(uint64)                                             {}

// What the runs above must find.
func TestReplicasUnderFaultsFindPlantedBugs(t *testing.T) {
	for name, plant := range map[string]struct {
		before func(*replica, *raft.Log)
		onKill func(*member)
	}{
		// What was acknowledged was not on stable storage.
		"acknowledged before the commit": {onKill: func(m *member) {
			first, _ := m.log.FirstIndex()
			if last, _ := m.log.LastIndex(); last > first+4 {
				_ = m.log.DeleteRange(last-3, last)
			}
		}},
		"numbers are not looked at": {before: func(r *replica, l *raft.Log) {
			_, b := openEntry(l.Data)
			for len(b.b) > 0 {
				k, body := b.command()
				if k != kindFrom {
					continue
				}
				s, number := body.source()
				if p := r.sh.st.proposers.of[s.node]; p != nil && p.start == s.start {
					p.last, p.low, p.answers = number-1, number, nil
				}
			}
		}},
		"a new leader does nothing again": {before: func(r *replica, l *raft.Log) {
			switch _, deaf := r.sh.world.Owners.(deafOwners); {
			case r.first != nil:
				r.sh.world = world{deafOwners{}, deafOwners{}}
			case deaf && r.sh.made < 3:
				r.sh.world = world{r.rep.Owners, r.rep.World}
			}
		}},
		"packet identifiers are forgotten by a new leader": {before: func(r *replica, l *raft.Log) {
			if r.first != nil {
				for _, rec := range r.sh.st.sessions.each {
					for _, id := range rec.Inbound(nil) {
						rec.Release(id)
					}
				}
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(10) {
				if err := runChaos(t, seed, 400, nil, plant.before, plant.onKill); err != nil {
					t.Logf("seed %d: %v", seed, err)
					return
				}
			}
			t.Error("nothing was noticed")
		})
	}
}
