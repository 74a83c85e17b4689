package broker

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"dunlin/proto/mqtt"
	"dunlin/raftstore"
)

// testLease is a lease that the test holds.
type testLease struct{ lost atomic.Bool }

func (l *testLease) Held() bool { return !l.lost.Load() }

// isolate has the node isolated while its loops turn.
func (c *cell) isolate(n int) {
	c.t.Helper()
	done := make(chan error)
	go func() { done <- c.nodes[n].b.Isolate(context.Background()) }()
	c.settle()
	if err := <-done; err != nil {
		c.t.Fatal(err)
	}
}

// E4: without the lease no PUBACK, PUBREC or SUBACK leaves, and in order when it is
// back; what concerns this node alone, or was committed, goes on.
func TestAnswersWaitForTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCell(t, 1, 2, nil)
		lease := &testLease{}
		b := c.nodes[0].b
		b.Lease(lease)
		kept := c.persistent(0, 0, "kept")
		kept.subscribe("t", 2)
		pub := c.connect(0, 1, "pub")

		lease.lost.Store(true)
		pub.publish("t", "1", 1, 1)
		pub.publish("nobody", "", 1, 2)
		pub.publish("t", "2", 2, 3)
		pub.send(&mqtt.Subscribe{PacketID: 4, Filters: []mqtt.Subscription{{Filter: []byte("s")}}})
		pub.send(&mqtt.Unsubscribe{PacketID: 5, Filters: [][]byte{[]byte("none")}})
		if got := kinds(pub.recv()); !slices.Equal(got, []mqtt.Kind{mqtt.UNSUBACK}) {
			t.Fatalf("without the lease the client got %v", got)
		}
		if got := payloads(kept.recv()); !slices.Equal(got, []string{"1", "2"}) {
			t.Fatalf("the subscriber got %q", got)
		}
		c.sleep(time.Second)
		pub.none()

		lease.lost.Store(false)
		b.LeaseBack()
		c.settle()
		ps := pub.recv()
		if got := kinds(ps); !slices.Equal(got, []mqtt.Kind{mqtt.PUBACK, mqtt.PUBACK, mqtt.PUBREC, mqtt.SUBACK}) {
			t.Fatalf("with the lease back the client got %v", got)
		}
		if ps[0].Ack.PacketID != 1 || ps[1].Ack.PacketID != 2 {
			t.Errorf("PUBACKs of %d, %d", ps[0].Ack.PacketID, ps[1].Ack.PacketID)
		}
		pub.publish("t", "3", 1, 6)
		pub.one(mqtt.PUBACK)
	})
}

// E4: what was held back when the lease was revoked is never said. The clients
// are closed, and told to go elsewhere until the node is back.
func TestIsolationClosesClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCell(t, 2, 1, nil)
		lease := &testLease{}
		b := c.nodes[0].b
		b.Lease(lease)
		watcher := c.connect(1, 0, "watcher")
		watcher.subscribe("will", 1)
		held := c.dial(0, 0)
		held.send(&mqtt.Connect{
			Version: mqtt.V5, CleanStart: true, ClientID: []byte("held"),
			HasWill: true, Will: mqtt.Will{Topic: []byte("will"), QoS: 1},
		})
		held.one(mqtt.CONNACK)
		lease.lost.Store(true)
		held.publish("t", "", 1, 1)
		held.send(&mqtt.Subscribe{PacketID: 2, Filters: []mqtt.Subscription{{Filter: []byte("s")}}})
		c.isolate(0)
		if p := held.one(mqtt.DISCONNECT); p.Disconnect.Reason != mqtt.ServerBusy {
			t.Errorf("DISCONNECT %v", p.Disconnect.Reason)
		}
		c.sleep(time.Second)
		watcher.none() // no will without a lease

		for _, v := range []mqtt.Version{mqtt.V5, mqtt.V311} {
			late := c.dial(0, 0)
			late.version = v
			late.send(&mqtt.Connect{Version: v, CleanStart: true, ClientID: []byte("late")})
			if p := late.one(mqtt.CONNACK); p.Connack.Reason != mqtt.ServerUnavailable {
				t.Errorf("CONNACK %v", p.Connack.Reason)
			}
		}
		lease.lost.Store(false)
		b.Accept(true)
		c.sleep(time.Second)
		watcher.one(mqtt.PUBLISH)
		if got := held.recv(); len(got) != 0 {
			t.Errorf("a closed client got %v", kinds(got))
		}
		c.connect(0, 0, "back").publish("t", "", 1, 1)
	})
}

// A client that says goodbye right after its last publish is answered first.
func TestGoodbyeAfterPublish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCell(t, 1, 1, nil)
		pub := c.connect(0, 0, "pub")
		pub.queue(&mqtt.Publish{Topic: []byte("t"), QoS: 1, PacketID: 1})
		pub.send(&mqtt.Disconnect{})
		pub.one(mqtt.PUBACK)
	})
}

// A client that is being let in when the node is isolated is told to go elsewhere, and
// leaves neither a claim nor a will.
func TestIsolationDuringConnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCell(t, 1, 2, nil)
		watcher := c.connect(0, 1, "watcher")
		watcher.subscribe("will", 1)
		g := c.nodes[0].grip()
		g.hold = is[raftstore.Claim]
		late := c.dial(0, 0)
		late.send(&mqtt.Connect{
			Version: mqtt.V5, CleanStart: true, ClientID: []byte("late"), SessionExpiry: 100,
			HasWill: true, Will: mqtt.Will{Topic: []byte("will"), QoS: 1},
		})
		c.isolate(0)
		if p := late.one(mqtt.CONNACK); p.Connack.Reason != mqtt.ServerUnavailable {
			t.Errorf("CONNACK %v", p.Connack.Reason)
		}
		g.release()
		c.settle()
		c.nodes[0].b.Accept(true)
		back := c.resume(0, 0, mqtt.Connect{ClientID: []byte("late")})
		if p := back.one(mqtt.CONNACK); !p.Connack.SessionPresent {
			t.Error("the session that was made is not there") // it lives for its expiry
		}
		if got := payloads(watcher.recv()); len(got) != 0 {
			t.Errorf("will %v", got)
		}
	})
}

// P6: a node that stops has the shards know of goodbyes before others may take its
// clients for lost.
func TestSettle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCell(t, 1, 1, nil)
		client := c.persistent(0, 0, "c")
		if err := c.nodes[0].b.Settle(t.Context()); err != nil {
			t.Errorf("nothing is under way: %v", err)
		}
		g := c.nodes[0].grip()
		g.late = is[raftstore.Detach]
		client.send(&mqtt.Disconnect{})
		c.settle()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := c.nodes[0].b.Settle(ctx); err == nil {
			t.Error("settled before the goodbye was committed")
		}
		g.release()
		if err := c.nodes[0].b.Settle(t.Context()); err != nil {
			t.Errorf("it is committed: %v", err)
		}
	})
}
