package broker

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"dunlin/cluster"
	"dunlin/node/auth"
	"dunlin/proto/mqtt"
	"dunlin/router"
	"dunlin/session"
)

// will gives a node a will of the store's to publish and says when it is done.
func (n *testNode) will(topic, payload string, retain bool) (done *bool) {
	n.cell.t.Helper()
	name, err := router.ParseTopic([]byte(topic))
	if err != nil {
		n.cell.t.Fatal(err)
	}
	m := session.Message{
		Topic: name, Payload: []byte(payload), QoS: 1, Retain: retain,
		Received: n.b.Clock(), Origin: 1<<40 | 7, Seq: 1, Low: 1,
	}
	done = new(bool)
	n.b.Publish(&m, "dead", "", func() { *done = true })
	n.cell.settle()
	return done
}

// E5, P6: a will counts as published when everyone who wants it has it. Until that is
// known it is published again under the same id, and reaches nobody twice.
func TestWillIsRunUntilItsOutcomeIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCell(t, 2, 2, nil)
		n := c.nodes[0]
		subs := []*testConn{c.connect(0, 0, "here"), c.connect(1, 1, "there"), c.persistent(0, 1, "kept")}
		for _, sub := range subs {
			sub.subscribe("w", 1)
		}
		n.silent, n.fate = true, cluster.Unknown
		done := n.will("w", "x", false)
		if *done {
			t.Fatal("done before the peer has confirmed")
		}
		n.confirm()
		if *done {
			t.Fatal("done though nobody knows whether the peer has it")
		}
		n.silent, n.fate = false, cluster.Gone
		c.sleep(time.Second)
		if !*done {
			t.Fatal("not done in the end")
		}
		for i, sub := range subs {
			if got := payloads(sub.recv()); !slices.Equal(got, []string{"x"}) {
				t.Errorf("subscriber %d got %q", i, got)
			}
		}
		if w := n.loops[0].worker(); w.abroad != 0 || len(w.unfinished) != 0 {
			t.Errorf("%d errands abroad, %d unfinished", w.abroad, len(w.unfinished))
		}
	})
}

// A will whose client may not publish is done with, and so is one that nobody wants.
func TestWillThatNobodyGets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCell(t, 1, 1, nil)
		n := c.nodes[0]
		if !*n.will("nobody", "", false) {
			t.Error("a will without subscribers is not done")
		}
		n.b.Access = denyAll{}
		if !*n.will("secret", "", true) {
			t.Error("a denied will is not done")
		}
	})
}

// E4: a node without a lease publishes no will.
func TestWillWaitsForTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCell(t, 1, 1, nil)
		lease := &testLease{}
		c.nodes[0].b.Lease(lease)
		sub := c.connect(0, 0, "sub")
		sub.subscribe("w", 1)
		lease.lost.Store(true)
		done := c.nodes[0].will("w", "x", true)
		sub.none()
		lease.lost.Store(false)
		c.nodes[0].b.LeaseBack()
		c.settle()
		sub.one(mqtt.PUBLISH)
		if !*done {
			t.Error("not done")
		}
	})
}

// E5: a will that the store gives again while it is here is one errand, run once; so
// one of QoS 0 comes once.
func TestWillGivenTwiceIsRunOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCell(t, 1, 1, nil)
		lease := &testLease{}
		n := c.nodes[0]
		n.b.Lease(lease)
		sub := c.connect(0, 0, "sub")
		sub.subscribe("w", 1)
		lease.lost.Store(true)
		m := session.Message{Topic: topic(t, "w"), Payload: []byte("x"), Received: n.b.Clock(), Origin: 1<<40 | 7, Seq: 1}
		done := [3]int{}
		for i := range done {
			n.b.Publish(&m, "dead", "", func() { done[i]++ })
		}
		c.settle()
		w := n.loops[0].worker()
		if len(w.errands) != 1 {
			t.Errorf("%d errands are queued", len(w.errands))
		}
		lease.lost.Store(false)
		n.b.LeaseBack()
		c.settle()
		sub.one(mqtt.PUBLISH)
		sub.none()
		if done != [3]int{0, 0, 1} {
			t.Errorf("done %v", done)
		}
		if count, _ := w.errandRoom.held(); count != 0 || len(w.errandOf) != 0 {
			t.Errorf("%d errands held, %d named", count, len(w.errandOf))
		}
	})
}

// P10: a worker holds so many errands, in number and bytes; those that find no room
// are counted, and asked for when there is some.
func TestErrandsAreBounded(t *testing.T) {
	for name, size := range map[string]int{"count": 10, "bytes": 64 << 10} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCell(t, 1, 1, nil)
				lease := &testLease{}
				n := c.nodes[0]
				n.b.Lease(lease)
				asked := &moreWills{theStore: n.b.shards}
				n.b.shards = asked
				lease.lost.Store(true)
				m := session.Message{Topic: topic(t, "w"), Payload: make([]byte, size), Received: n.b.Clock(), Origin: 1<<40 | 7}
				taken := 0
				for n.b.Publish(&m, "dead", "", func() {}) {
					taken++
					m.Seq++
				}
				c.settle()
				if taken > maxErrands || taken*size > maxErrandBytes || taken < 200 {
					t.Errorf("%d taken", taken)
				}
				lease.lost.Store(false)
				n.b.LeaseBack()
				c.sleep(time.Second)
				if asked.times != 1 {
					t.Errorf("asked for more %d times", asked.times)
				}
				if got := n.b.Stats(); got.Wills != 0 || got.WillsDeferred != 1 {
					t.Errorf("%d wills, %d deferred", got.Wills, got.WillsDeferred)
				}
				if !n.b.Publish(&m, "dead", "", func() {}) {
					t.Error("no room when all are gone")
				}
			})
		})
	}
}

// moreWills counts how often it is asked for more.
type moreWills struct {
	theStore
	times int
}

type theStore = Shards

func (m *moreWills) PublishMore() { m.times++ }

func topic(t *testing.T, name string) router.Topic {
	t.Helper()
	parsed, err := router.ParseTopic([]byte(name))
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// denyAll is an Authorizer that allows nothing.
type denyAll struct{}

func (denyAll) MayPublish(*auth.Identity, router.Topic, uint8, bool) bool { return false }
func (denyAll) MaySubscribe(*auth.Identity, router.Filter, uint8) bool    { return false }
func (denyAll) MayReceive(*auth.Identity, router.Topic, uint8) bool       { return false }
func (denyAll) Unrestricted() bool                                        { return false }

// E5: what was under way when the node was isolated is given up: when it is back,
// others may have published the will, and forgotten its id.
func TestIsolationGivesUpWills(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCell(t, 2, 1, nil)
		n := c.nodes[0]
		sub := c.connect(1, 0, "sub")
		sub.subscribe("w", 1)
		n.silent, n.fate = true, cluster.Unknown
		done := n.will("w", "x", false)
		sub.recv()
		c.isolate(0)
		n.confirm()
		n.silent, n.fate = false, cluster.Accepted
		c.nodes[1].b.forget(1<<40 | 7)
		n.b.Accept(true)
		c.sleep(20 * time.Second)
		sub.none()
		if *done {
			t.Error("counts as published")
		}
		if w := n.loops[0].worker(); w.abroad != 0 || len(w.errands)+len(w.unfinished) != 0 {
			t.Errorf("%d errands abroad, %d to run", w.abroad, len(w.errands)+len(w.unfinished))
		}
	})
}
