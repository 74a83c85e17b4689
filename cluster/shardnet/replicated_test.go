package shardnet

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"dunlin/proto/mqtt"
	"dunlin/raftstore"
	"dunlin/router"
	"dunlin/session"
)

const (
	holders    = 3 // nodes with replicas; node 4 has none
	shardCount = 2
)

// fleet is a mesh of stores: three nodes have the replicas of all shards, a
// fourth has none. Raft goes over transports of its own.
type fleet struct {
	*mesh
	ports   []*port
	clients []*client

	faults struct {
		sync.Mutex
		found []string
	}
	acked   map[string]bool // publishes that were answered
	unknown int
	moves   int // claims that were answered, in all
	rnd     *rand.Rand
	plant   string // a bug, that the test is to find
}

// port is what a node of a fleet has beside its Net: its store, and the
// connections that a broker would have.
type port struct {
	fleet      *fleet
	number     raftstore.Node
	store      *raftstore.Store
	transports [shardCount]*raft.InmemTransport
	cut        bool

	mu      sync.Mutex
	conns   map[router.Subscriber]*conn
	last    router.Subscriber
	evicted int
	early   int // pushes that came before the answer to the claim
	gaps    int // pushes that came before what was lost
	doubles int // pushes that had come before
}

// conn is a connection as node/broker has it: see its connect.go and deliver.go.
type conn struct {
	client      *client
	id          router.Subscriber
	epoch       session.Epoch
	live        session.Live
	next        uint64 // what live expects
	pushed      uint64
	pushedEpoch session.Epoch
	closed      bool
}

// client is a session's client. It goes from node to node, and remembers all that
// it was ever sent.
type client struct {
	name string
	lazy bool // acknowledges nothing

	mu   sync.Mutex
	got  map[uint64]string
	by   map[uint64]session.Epoch // under which it came last
	at   *port
	conn *conn
	busy bool // a claim has no answer
}

func newFleet(t testing.TB, seed uint64, plant string) *fleet {
	f := &fleet{plant: plant, mesh: newMesh(t, holders+1), acked: map[string]bool{}, rnd: rand.New(rand.NewPCG(seed, 1))}
	for _, n := range f.nodes {
		p := &port{fleet: f, number: n.number, conns: map[router.Subscriber]*conn{}}
		n.owner = p
		var err error
		o := raftstore.DefaultOptions()
		o.Shards, o.Logger, o.Clock = shardCount, slog.New(slog.NewTextHandler(io.Discard, nil)), n.clock
		p.store, err = raftstore.OpenReplicated(o, raftstore.Replication{
			Node: n.number, Start: 1, Generation: func() uint64 { return 1 }, Leaders: n.Net, Owners: n.Net, World: silent{}, Routes: silent{},
			OutageCap: time.Hour, Wall: time.Now,
		})
		if err != nil {
			t.Fatal(err)
		}
		n.Attach(attached{p.store, f})
		n.leader = func(sh router.ShardID) (string, bool) {
			if r := p.store.Raft(sh); r != nil {
				_, id := r.LeaderWithID()
				return string(id), id != ""
			}
			return "", false
		}
		f.ports = append(f.ports, p)
	}
	for sh := range router.ShardID(shardCount) {
		var servers raft.Configuration
		for _, p := range f.ports[:holders] {
			id := name(p.number)
			_, p.transports[sh] = raft.NewInmemTransport(raft.ServerAddress(id))
			servers.Servers = append(servers.Servers, raft.Server{ID: raft.ServerID(id), Address: raft.ServerAddress(id)})
		}
		for _, p := range f.ports[:holders] {
			id := raft.ServerID(name(p.number))
			tune := func(c *raft.Config) { c.Logger = hclog.NewNullLogger() }
			c := raftstore.RaftConfig(id)
			tune(c)
			store, snapshots := raft.NewInmemStore(), raft.NewInmemSnapshotStore()
			if err := raft.BootstrapCluster(c, store, store, snapshots, p.transports[sh], servers); err != nil {
				t.Fatal(err)
			}
			if _, err := p.store.StartReplica(sh, raftstore.Group{
				ID: id, Log: store, Stable: store, Snapshots: snapshots, Transport: p.transports[sh], Tune: tune,
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
	f.connect()
	return f
}

// close ends the stores, then what joins them.
func (f *fleet) close() {
	for _, p := range f.ports {
		p.store.Close()
	}
	f.mesh.close()
}

// connect joins the replicas of the nodes that are not cut off.
func (f *fleet) connect() {
	for sh := range shardCount {
		for _, a := range f.ports[:holders] {
			for _, b := range f.ports[:holders] {
				switch x, y := a.transports[sh], b.transports[sh]; {
				case a == b:
				case a.cut || b.cut:
					x.Disconnect(y.LocalAddr())
				default:
					x.Connect(y.LocalAddr(), y)
				}
			}
		}
	}
}

// isolate cuts a node off, or joins it again.
func (f *fleet) isolate(p *port, cut bool) {
	p.cut = cut
	f.connect()
	for i := range f.ports {
		if i != int(p.number)-1 {
			f.part(int(p.number)-1, i, cut || f.ports[i].cut)
		}
	}
}

// led waits until each shard has a leader that answers every node.
func (f *fleet) led() {
	for sh := range router.ShardID(shardCount) {
		for _, p := range f.ports {
			done := make(chan raftstore.Result)
			p.store.Submit(sh, raftstore.Delete{ClientID: "nobody"}, func(r raftstore.Result) { done <- r })
			if r := <-done; r.Err != nil {
				f.t.Fatal(r.Err)
			}
		}
	}
}

// move has a client claim its session at a node, where it subscribes.
func (f *fleet) move(c *client, p *port) {
	c.mu.Lock()
	if c.busy {
		c.mu.Unlock()
		return
	}
	c.busy = true
	c.mu.Unlock()
	p.mu.Lock()
	p.last++
	k := &conn{client: c, id: p.last}
	p.conns[k.id] = k
	p.mu.Unlock()
	sh := p.store.SessionShard(c.name)
	p.store.Submit(sh, raftstore.Claim{ClientID: c.name, Conn: k.id, Expiry: 1e6, Inflight: 1000},
		func(r raftstore.Result) { p.claimed(sh, k, r) })
}

func (p *port) claimed(sh router.ShardID, k *conn, r raftstore.Result) {
	c := k.client
	c.mu.Lock()
	c.busy = false
	c.mu.Unlock()
	if r.Err != nil {
		p.close(k)
		return
	}
	p.mu.Lock()
	behind := k.pushedEpoch == r.Claim.Epoch && k.pushed >= r.Claim.Next
	k.epoch = r.Claim.Epoch
	k.live.Expect(r.Claim.Next)
	k.next = r.Claim.Next
	p.fleet.mu.Lock()
	p.fleet.moves++
	p.fleet.mu.Unlock()
	if !behind {
		for _, w := range r.Claim.Window {
			p.take(k, &w.Delivery)
		}
	}
	p.mu.Unlock()
	if behind {
		p.close(k)
		p.store.Submit(sh, raftstore.Detach{ClientID: c.name, Epoch: r.Claim.Epoch}, nil)
		return
	}
	c.mu.Lock()
	c.at, c.conn = p, k
	c.mu.Unlock()
	filter, _ := router.ParseFilter([]byte("x"))
	p.store.Submit(sh, raftstore.Subscribe{ClientID: c.name, Epoch: r.Claim.Epoch,
		Filters: []raftstore.Subscription{{Filter: filter, Options: router.Options{QoS: 1}}}}, nil)
}

func (p *port) close(k *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	k.closed = true
	delete(p.conns, k.id)
}

// take is a delivery to the client, which acknowledges it. The port is locked, as a
// connection's loop takes one thing after the other.
func (p *port) take(k *conn, d *raftstore.Delivery) {
	c := k.client
	c.mu.Lock()
	defer c.mu.Unlock()
	payload := string(d.Message.Payload)
	if old, again := c.got[d.Index]; again && old != payload {
		p.fleet.wrong("%s: delivery %d was %s and is %s", c.name, d.Index, old, payload)
	}
	// A message that comes for the first time is the next: what a connection left
	// out comes too late over the one after it, where judge sees no gap any more.
	if next := uint64(len(c.got)) + 1; c.got[d.Index] == "" && d.Index != next {
		p.fleet.wrong("%s: delivery %d came when %d was to come", c.name, d.Index, next)
	}
	if c.by[d.Index] == k.epoch {
		p.fleet.wrong("%s: delivery %d came twice over one connection", c.name, d.Index)
	}
	c.got[d.Index], c.by[d.Index] = payload, k.epoch
	if c.lazy {
		return
	}
	p.store.Submit(p.store.SessionShard(c.name), raftstore.Acks{Items: []raftstore.Ack{
		{ClientID: c.name, Epoch: k.epoch, Index: d.Index},
	}}, nil)
}

// Push, Evict and Ended implement raftstore.Owner.
func (p *port) Push(id router.Subscriber, epoch session.Epoch, ds []raftstore.Delivery) {
	for i := range ds {
		d := &ds[i]
		p.mu.Lock()
		k, next := p.conns[id], false
		switch {
		case k == nil:
		case k.epoch == 0:
			p.early++
			if epoch > k.pushedEpoch {
				k.pushedEpoch, k.pushed = epoch, 0
			}
			if epoch == k.pushedEpoch {
				k.pushed = max(k.pushed, d.Index)
			}
		case k.epoch == epoch:
			next = k.live.Follows(d.Index)
			switch {
			case next:
				k.next = d.Index + 1
			case d.Index > k.next:
				p.gaps++
				if p.fleet.plant == "what rises is taken" {
					next, k.next = true, d.Index+1
					k.live.Expect(k.next)
				}
			default:
				p.doubles++
				next = p.fleet.plant == "all is taken"
			}
		}
		if next {
			p.take(k, d)
		}
		p.mu.Unlock()
	}
}

func (p *port) Evict(id router.Subscriber, _ string, epoch session.Epoch, done func()) {
	p.mu.Lock()
	k := p.conns[id]
	mine := k != nil && k.epoch == epoch
	if mine {
		p.evicted++
	}
	p.mu.Unlock()
	if mine {
		p.close(k)
	}
	done()
}

func (p *port) Ended(id router.Subscriber, epoch session.Epoch, _ mqtt.Reason) {
	p.Evict(id, "", epoch, func() {})
}

// attached is a store to which a bug may be planted.
type attached struct {
	*raftstore.Store
	f *fleet
}

func (s attached) PushAgain(to raftstore.Node) {
	if s.f.plant != "nothing is pushed again" {
		s.Store.PushAgain(to)
	}
}

// silent are a Messenger and Routes of no interest.
type silent struct{}

func (silent) Publish(_ *session.Message, _, _ string, done func()) bool {
	go done()
	return true
}
func (silent) Forget(uint64)                                         {}
func (silent) LeadShard(_ router.ShardID, _ uint64, _ *router.Table) {}
func (silent) ShardApplied(_ router.ShardID, _ uint64)               {}
func (silent) EndShard(router.ShardID)                               {}

// publish has a node publish one message to all shards.
func (f *fleet) publish(p *port, payload string) {
	for sh := range router.ShardID(shardCount) {
		m := session.Message{Topic: topic(f.t, "x"), Payload: []byte(payload), QoS: 1}
		p.store.Submit(sh, raftstore.Enqueue{From: "p", Message: m}, func(r raftstore.Result) {
			f.mu.Lock()
			defer f.mu.Unlock()
			switch {
			case r.Err == nil:
				f.acked[fmt.Sprint(payload, " at ", sh)] = true
			case errors.Is(r.Err, raftstore.ErrUnknown), errors.Is(r.Err, raftstore.ErrClosed):
				f.unknown++
			default:
				f.t.Error(r.Err)
			}
		})
	}
}

// wrong notes what must not be.
func (f *fleet) wrong(format string, args ...any) {
	f.faults.Lock()
	defer f.faults.Unlock()
	f.faults.found = append(f.faults.found, fmt.Sprintf(format, args...))
}

// judge compares what each client got with what was acknowledged: nothing lost
// (P1), nothing doubled, and each node's messages in order (P7).
func (f *fleet) judge() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.clients {
		c.mu.Lock()
		sh := f.ports[0].store.SessionShard(c.name)
		seen, latest := map[string]bool{}, map[byte]string{}
		var indexes []uint64
		for i := range c.got {
			indexes = append(indexes, i)
		}
		slices.Sort(indexes)
		for n, i := range indexes {
			payload := c.got[i]
			if i != uint64(n+1) {
				f.wrong("%s: delivery %d follows on %d others", c.name, i, n)
			}
			if seen[payload] {
				f.wrong("%s: %s came twice", c.name, payload)
			}
			if seen[payload] = true; payload < latest[payload[0]] {
				f.wrong("%s: %s came after %s", c.name, payload, latest[payload[0]])
			}
			latest[payload[0]] = payload
		}
		lost := 0
		for what := range f.acked {
			var payload string
			var at router.ShardID
			if _, err := fmt.Sscanf(what, "%s at %d", &payload, &at); err != nil {
				f.t.Fatal(err)
			}
			if at == sh && !seen[payload] {
				lost++
			}
		}
		if lost > 0 {
			f.wrong("%s: %d of %d acknowledged messages are lost", c.name, lost, len(f.acked)/shardCount)
		}
		c.mu.Unlock()
	}
}

// inFleet runs f with a fleet whose shards are led, and so many clients that are
// subscribed, each at another node.
func inFleet(t *testing.T, seed uint64, plant string, clients int, run func(f *fleet)) (wrong []string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, seed, plant)
		defer f.close()
		time.Sleep(5 * time.Second)
		f.led()
		for i := range clients {
			c := &client{name: fmt.Sprint("c", i), got: map[uint64]string{}, by: map[uint64]session.Epoch{}}
			f.clients = append(f.clients, c)
			f.move(c, f.ports[i%len(f.ports)])
		}
		time.Sleep(time.Second)
		run(f)
		f.judge()
		wrong = f.faults.found
	})
	return wrong
}

// Commands reach leaders from any node, one without replicas too, deliveries any
// owner, and a session moves between nodes within the time of a handover's answer.
func TestSessionsOfAllNodes(t *testing.T) {
	wrong := inFleet(t, 1, "", 8, func(f *fleet) {
		for n := range 100 {
			for i, p := range f.ports {
				f.publish(p, fmt.Sprintf("%c%05d", 'a'+i, n))
			}
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Second)
		for i, c := range f.clients {
			to := f.ports[(i+1)%len(f.ports)]
			f.move(c, to)
			time.Sleep(20 * time.Millisecond)
			synctest.Wait()
			if c.at != to {
				f.wrong("%s did not move to node %d in time", c.name, to.number)
			}
		}
		for _, p := range f.ports {
			if p.evicted != 2 || p.early+p.gaps+p.doubles > 0 {
				f.wrong("node %d: %d were evicted, %d pushes too early, %d doubled", p.number, p.evicted, p.early, p.doubles)
			}
		}
		if want := 100 * len(f.ports) * shardCount; len(f.acked) != want {
			f.wrong("%d of %d publishes were answered", len(f.acked), want)
		}
	})
	for _, w := range wrong {
		t.Error(w)
	}
}

// bound has nodes take less at a time than they would.
func (f *fleet) bound(room, most int) {
	for _, n := range f.nodes {
		n.room, n.most = room, most
	}
}

// What a node's sessions have not acknowledged is far more than may wait for the
// node: all of it comes, though streams break, and every session's in turn.
func TestWindowsBeyondTheBacklog(t *testing.T) {
	const messages = 40
	wrong := inFleet(t, 1, "", 0, func(f *fleet) {
		f.bound(32<<10, 200<<10)
		for i := range 60 {
			c := &client{name: fmt.Sprint("c", i), lazy: true, got: map[uint64]string{}, by: map[uint64]session.Epoch{}}
			f.clients = append(f.clients, c)
			f.move(c, f.ports[holders])
		}
		time.Sleep(time.Second)
		for n := range messages {
			f.publish(f.ports[0], fmt.Sprintf("a%05d%s", n, string(bytes.Repeat([]byte("."), 1000))))
			time.Sleep(2 * time.Millisecond)
			if n%10 == 5 {
				for i := range holders {
					f.sever(i, holders)
				}
			}
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		for _, c := range f.clients {
			if len(c.got) != messages {
				f.wrong("%s got %d of %d", c.name, len(c.got), messages)
			}
		}
		if p := f.ports[holders]; p.doubles+p.gaps == 0 {
			f.wrong("nothing was pushed again")
		}
	})
	for _, w := range wrong {
		t.Error(w)
	}
}

// tally is what runs saw.
type tally struct{ moves, early, gaps, doubles int }

// runFaults has streams break, nodes cut off and leaders change while clients move
// and messages flow.
func runFaults(t *testing.T, seed uint64, plant string, sum *tally) (wrong []string) {
	return inFleet(t, seed, plant, 8, func(f *fleet) {
		if seed%2 == 1 { // often more than there is room for
			f.bound(1<<10, 4<<10)
		}
		for n := range 400 {
			for i, p := range f.ports {
				if f.rnd.IntN(3) == 0 {
					f.publish(p, fmt.Sprintf("%c%05d", 'a'+i, n))
				}
			}
			time.Sleep(time.Duration(f.rnd.IntN(20)) * time.Millisecond)
			f.disturb()
		}
		for _, p := range f.ports {
			f.isolate(p, false)
		}
		time.Sleep(30 * time.Second)
		synctest.Wait()
		for i, c := range f.clients {
			if c.conn == nil || c.conn.closed {
				f.move(c, f.ports[i%len(f.ports)])
			}
		}
		time.Sleep(30 * time.Second)
		synctest.Wait()
		for _, p := range f.ports {
			sum.early, sum.gaps, sum.doubles = sum.early+p.early, sum.gaps+p.gaps, sum.doubles+p.doubles
		}
		sum.moves += f.moves
	})
}

// Nothing acknowledged is lost, nothing comes twice or out of order, whatever
// happens between the nodes (P1, P7).
func TestNothingIsLostOrDoubledUnderFaults(t *testing.T) {
	var sum tally
	runs := 8
	if testing.Short() {
		runs = 2
	}
	few := func() bool {
		return !testing.Short() && (sum.moves < 30*runs || sum.early == 0 || sum.gaps == 0 || sum.doubles < runs)
	}
	// How goroutines take turns is not of the seed: what is rare may want more of them.
	for seed := 0; seed < runs || few() && seed < 4*runs; seed++ {
		for _, w := range runFaults(t, uint64(seed), "", &sum) {
			t.Errorf("seed %d: %s", seed, w)
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("%+v", sum)
	if few() {
		t.Errorf("the runs saw too little: %+v", sum)
	}
}

// What the runs above must find.
func TestFaultsFindPlantedBugs(t *testing.T) {
	for _, plant := range []string{
		"what rises is taken", "all is taken", "nothing is pushed again",
	} {
		t.Run(plant, func(t *testing.T) {
			var sum tally
			for seed := range uint64(40) {
				if wrong := runFaults(t, seed, plant, &sum); len(wrong) > 0 {
					t.Logf("seed %d: %s", seed, wrong[0])
					return
				}
			}
			t.Errorf("nothing was noticed: %+v", sum)
		})
	}
}

// disturb does something to the fleet, most often nothing.
func (f *fleet) disturb() {
	p := f.ports[f.rnd.IntN(len(f.ports))]
	switch f.rnd.IntN(40) {
	case 0, 1, 2:
		f.sever(f.rnd.IntN(2), 2+f.rnd.IntN(2))
	case 3:
		f.isolate(p, !p.cut)
	case 4:
		for _, p := range f.ports {
			if p.cut {
				f.isolate(p, false)
			}
		}
	case 5:
		if r := p.store.Raft(0); r != nil {
			go r.LeadershipTransfer()
		}
	case 6, 7, 8, 9:
		f.move(f.clients[f.rnd.IntN(len(f.clients))], p)
	}
}
