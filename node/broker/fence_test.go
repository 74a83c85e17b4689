package broker

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dunlin/proto/mqtt"
	"dunlin/raftstore"
	"dunlin/router"
)

// grip is a node's store under the test's hand: commands may be kept back, or come
// to an error without being done.
type grip struct {
	underlying
	hold func(raftstore.Command) bool
	fail func(raftstore.Command) error
	late func(raftstore.Command) bool // their results are kept back

	mu    sync.Mutex
	kept  []func()
	lates map[router.ShardID]bool // there are results among them
}

type underlying = Shards

func (n *testNode) grip() *grip {
	g := &grip{underlying: n.b.shards, lates: map[router.ShardID]bool{}}
	n.b.shards = g
	return g
}

func (g *grip) Submit(sh router.ShardID, cmd raftstore.Command, done func(raftstore.Result)) {
	if a, ok := cmd.(raftstore.Acks); ok {
		cmd = raftstore.Acks{Items: slices.Clone(a.Items), Late: a.Late}
	}
	if g.fail != nil {
		if err := g.fail(cmd); err != nil {
			go done(raftstore.Result{Err: err})
			return
		}
	}
	if told := done; g.late != nil {
		late := g.late(cmd)
		done = func(r raftstore.Result) {
			g.mu.Lock()
			defer g.mu.Unlock()
			if late || g.lates[sh] { // results of a shard stay in order
				g.lates[sh] = true
				g.kept = append(g.kept, func() { told(r) })
				return
			}
			told(r)
		}
	}
	if g.hold != nil && g.hold(cmd) {
		g.keep(func() { g.underlying.Submit(sh, cmd, done) })
		return
	}
	g.underlying.Submit(sh, cmd, done)
}

func (g *grip) keep(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.kept = append(g.kept, f)
}

// release lets go on what was kept back.
func (g *grip) release() {
	g.hold, g.late = nil, nil
	g.mu.Lock()
	kept := g.kept
	g.kept, g.lates = nil, map[router.ShardID]bool{}
	g.mu.Unlock()
	for _, f := range kept {
		f()
	}
}

func is[C raftstore.Command](cmd raftstore.Command) bool {
	_, ok := cmd.(C)
	return ok
}

// E2: a connection that is evicted hands over when the acknowledgements that it had
// sent are committed, and at once when there are none.
func TestEvictionWaitsForAcknowledgements(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCell(t, 1, 1, nil)
		g := c.nodes[0].grip()
		sub := c.persistent(0, 0, "sub")
		sub.subscribe("t", 1)
		w := c.nodes[0].loops[0].worker()
		conn := w.conn(sub.id)
		other := c.persistent(0, 0, "other")

		handed := 0
		c.nodes[0].b.Evict(router.Subscriber(other.id), "other", w.conn(other.id).epoch, func() { handed++ })
		c.settle()
		if handed != 1 {
			t.Fatal("nothing to hand over, and yet it waits")
		}
		c.connect(0, 0, "pub").publish("t", "1", 1, 1)
		p := sub.one(mqtt.PUBLISH)
		g.hold = is[raftstore.Acks]
		sub.ack(p.Publish.PacketID)
		c.nodes[0].b.Evict(router.Subscriber(sub.id), "sub", conn.epoch, func() { handed++ })
		c.settle()
		if p := sub.one(mqtt.DISCONNECT); p.Disconnect.Reason != mqtt.SessionTakenOver {
			t.Errorf("DISCONNECT %v", p.Disconnect.Reason)
		}
		if handed != 1 {
			t.Fatal("handed over before the acknowledgement is committed")
		}
		g.release()
		c.settle()
		if handed != 2 {
			t.Fatal("not handed over")
		}
	})
}

// E1: a connection whose write comes back fenced has lost its session, whoever
// forgot to tell it: it is closed as taken over, and detaches nothing.
func TestFencedWriteClosesConnection(t *testing.T) {
	for name, write := range map[string]func(*cell, *testConn){
		"subscribe": func(_ *cell, c *testConn) {
			c.send(&mqtt.Subscribe{PacketID: 9, Filters: []mqtt.Subscription{{Filter: []byte("x")}}})
		},
		"unsubscribe": func(_ *cell, c *testConn) { c.send(&mqtt.Unsubscribe{PacketID: 9, Filters: [][]byte{[]byte("x")}}) },
		"publish":     func(_ *cell, c *testConn) { c.publish("x", "", 2, 9) },
		"acknowledge": func(_ *cell, c *testConn) { c.ack(1) },
		"receive":     func(_ *cell, c *testConn) { c.send(&mqtt.Ack{Kind: mqtt.PUBREC, PacketID: 2}) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCell(t, 1, 1, nil)
				sub := c.persistent(0, 0, "sub")
				sub.subscribe("t/+", 2)
				other := c.persistent(0, 0, "other")
				pub := c.connect(0, 0, "pub")
				pub.publish("t/1", "1", 1, 1)
				pub.publish("t/2", "2", 2, 2)
				pub.recv()
				sub.recv()
				g := c.nodes[0].grip()
				detached := 0
				g.fail = func(cmd raftstore.Command) error {
					if is[raftstore.Detach](cmd) {
						detached++
					}
					if a, ok := cmd.(raftstore.Acks); ok && (len(a.Items) == 0 || a.Items[0].ClientID != "sub") {
						return nil
					}
					return raftstore.ErrFenced
				}
				write(c, sub)
				if p := sub.one(mqtt.DISCONNECT); p.Disconnect.Reason != mqtt.SessionTakenOver {
					t.Errorf("DISCONNECT %v", p.Disconnect.Reason)
				}
				if detached != 0 {
					t.Error("it was detached")
				}
				other.none()
			})
		})
	}
}

// R6: what nobody knows the outcome of is not answered; the connection closes.
func TestUnknownWriteIsNotAnswered(t *testing.T) {
	for _, qos := range []mqtt.QoS{1, 2} {
		synctest.Test(t, func(t *testing.T) {
			c := newCell(t, 1, 1, nil)
			c.persistent(0, 0, "sub").subscribe("t", 2)
			pub := c.persistent(0, 0, "pub")
			g := c.nodes[0].grip()
			g.fail = func(cmd raftstore.Command) error {
				if is[raftstore.Enqueue](cmd) || is[raftstore.Release](cmd) {
					return raftstore.ErrUnknown
				}
				return nil
			}
			pub.publish("t", "", qos, 1)
			pub.none()
			if !pub.closed {
				t.Errorf("QoS %d: the connection stays", qos)
			}
		})
	}
}

// A claim that succeeds when its client is gone is given back; the will of a client
// that was told no is not published. P10: a shard without a leader gathers no more
// claims than it may.
func TestClaimWithoutLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCell(t, 1, 1, nil)
		n := c.nodes[0]
		watcher := c.connect(0, 0, "watcher")
		watcher.subscribe("will/+", 0)
		g := n.grip()
		g.hold = is[raftstore.Claim]
		dial := func(id string) *testConn {
			conn := c.dial(0, 0)
			conn.send(&mqtt.Connect{
				Version: mqtt.V5, CleanStart: true, ClientID: []byte(id),
				HasWill: true, Will: mqtt.Will{Topic: []byte("will/" + id)},
			})
			return conn
		}
		dial("gone").hangUp()
		waits := dial("waits")
		waits.none()
		c.sleep(25 * time.Second)
		if p := waits.one(mqtt.CONNACK); p.Connack.Reason != mqtt.ServerUnavailable {
			t.Errorf("after a long time: %v", p.Connack.Reason)
		}
		g.release()
		c.settle()
		if p := watcher.one(mqtt.PUBLISH); string(p.Publish.Topic) != "will/gone" {
			t.Errorf("will on %s", p.Publish.Topic)
		}

		for sh := range n.b.claimsAt {
			if used := n.b.claimsAt[sh].mu.bytes; used != 0 {
				t.Errorf("shard %d: %d bytes of claims are left", sh, used)
			}
			n.b.claimsAt[sh].mu.bytes = maxClaiming
		}
		if p := dial("many").one(mqtt.CONNACK); p.Connack.Reason != mqtt.ServerBusy {
			t.Errorf("with too many under way: %v", p.Connack.Reason)
		}
	})
}

// P6, E2: the goodbye of a client that is back already counts, though a claim does not
// wait for what else its node has for the shard.
func TestGoodbyeBeforeTheNextClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCell(t, 1, 2, nil)
		watcher := c.connect(0, 0, "watcher")
		watcher.subscribe("will", 0)
		dial := func(loop int) *testConn {
			return c.resume(0, loop, mqtt.Connect{
				ClientID: []byte("c"), HasWill: true, Will: mqtt.Will{Topic: []byte("will")},
			})
		}
		g := c.nodes[0].grip()
		first := dial(0)
		g.hold = func(cmd raftstore.Command) bool { return !is[raftstore.Claim](cmd) }
		first.send(&mqtt.Disconnect{})
		second := dial(1)
		second.none()
		g.release()
		c.settle()
		if p := second.one(mqtt.CONNACK); !p.Connack.SessionPresent {
			t.Error("the session is not there")
		}
		watcher.none()

		// Said before the turn in which the eviction comes: it has ended by itself.
		conn := second.loop.worker().conn(second.id)
		done := false
		c.nodes[0].b.Evict(router.Subscriber(second.id), "c", conn.epoch, func() { done = true })
		second.send(&mqtt.Disconnect{})
		second.none()
		if !done {
			t.Error("not handed over")
		}
	})
}

// P5: a connection that has lost its session is not acknowledged any more, not even
// for what it had said before.
func TestFencedConnectionIsNotAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCell(t, 1, 1, nil)
		pub := c.persistent(0, 0, "pub")
		g := c.nodes[0].grip()
		g.fail = func(cmd raftstore.Command) error {
			if is[raftstore.Subscribe](cmd) {
				return raftstore.ErrFenced
			}
			return nil
		}
		w := pub.loop.worker()
		conn := w.conn(pub.id)
		pub.queue(&mqtt.Publish{Topic: []byte("t"), QoS: 1, PacketID: 1})
		pub.queue(&mqtt.Subscribe{PacketID: 2, Filters: []mqtt.Subscription{{Filter: []byte("t")}}})
		pub.loop.handler.Receive(pub.id, pub.in)
		pub.in = nil
		synctest.Wait()
		if !conn.answering {
			t.Fatal("there is nothing to acknowledge")
		}
		c.settle() // the result is mail, taken before the turn ends
		if p := pub.one(mqtt.DISCONNECT); p.Disconnect.Reason != mqtt.SessionTakenOver {
			t.Errorf("DISCONNECT %v", p.Disconnect.Reason)
		}
	})
}

// An ephemeral client that was given its identifier needs no shard's commit.
func TestAnonymousClientsStayOffTheShards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCell(t, 1, 2, nil)
		g := c.nodes[0].grip()
		g.fail = func(cmd raftstore.Command) error {
			t.Errorf("submitted %T", cmd)
			return raftstore.ErrUnknown
		}
		var conns []*testConn
		for loop := range 2 {
			conn := c.dial(0, loop)
			conn.send(&mqtt.Connect{Version: mqtt.V5, CleanStart: true})
			conn.one(mqtt.CONNACK)
			conn.subscribe("t", 2)
			conns = append(conns, conn)
		}
		for qos := range mqtt.QoS(3) {
			conns[0].publish("t", "x", qos, uint16(qos)+1)
		}
		if got := payloads(conns[1].recv()); len(got) != 3 {
			t.Errorf("got %v", got)
		}
		conns[0].send(&mqtt.Unsubscribe{PacketID: 9, Filters: [][]byte{[]byte("t")}})
		conns[0].send(&mqtt.Disconnect{})
		conns[1].hangUp()
	})
}

// Acknowledgements may come late to the store, but not so many of one session that
// its window stands still for them.
func TestAcknowledgementsHurryForTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCell(t, 1, 1, nil)
		sub := c.persistent(0, 0, "sub")
		sub.subscribe("t", 1)
		pub := c.connect(0, 0, "pub")
		may := int(c.nodes[0].loops[0].worker().conn(sub.id).client.mayBeLate())
		var late []bool
		c.nodes[0].grip().hold = func(cmd raftstore.Command) bool {
			if a, ok := cmd.(raftstore.Acks); ok {
				late = append(late, a.Late)
			}
			return false
		}
		for i := range 3 * (may + 1) {
			pub.publish("t", "x", 1, uint16(i+1))
			sub.ack(sub.one(mqtt.PUBLISH).Publish.PacketID)
			c.settle()
			if want := (i+1)%(may+1) != 0; late[i] != want {
				t.Fatalf("late %t for acknowledgement %d, of %d that may be", late[i], i+1, may)
			}
		}
	})
}

// That a connection was lost its shard may hear with other commands, unless a will
// hangs on it. A client that said goodbye may wait for its shard to know.
func TestOnlyLossWithoutWillComesLate(t *testing.T) {
	for name, test := range map[string]struct {
		will bool
		end  func(*testConn)
		late bool
	}{
		"lost":             {false, (*testConn).hangUp, true},
		"lost with a will": {true, (*testConn).hangUp, false},
		"goodbye":          {false, func(conn *testConn) { conn.send(&mqtt.Disconnect{}) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCell(t, 1, 1, nil)
				conn := c.dial(0, 0)
				connect := mqtt.Connect{Version: mqtt.V5, CleanStart: true, ClientID: []byte("c"), SessionExpiry: 100, HasWill: test.will}
				connect.Will.Topic = []byte("w")
				conn.send(&connect)
				conn.one(mqtt.CONNACK)
				var ends []bool
				c.nodes[0].grip().hold = func(cmd raftstore.Command) bool {
					if d, ok := cmd.(raftstore.Detach); ok {
						ends = append(ends, d.Late)
					}
					return false
				}
				test.end(conn)
				if want := []bool{test.late}; !slices.Equal(ends, want) {
					t.Errorf("ends that may come late: %v, want %v", ends, want)
				}
			})
		})
	}
}
