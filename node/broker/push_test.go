package broker

import (
	"slices"
	"testing"

	"dunlin/proto/mqtt"
	"dunlin/raftstore"
	"dunlin/router"
	"dunlin/session"
)

// push has a shard push deliveries with these indexes, each one's payload its
// letter, and says what the connection was sent.
func (c *testConn) push(epoch session.Epoch, indexes ...uint64) []string {
	topic, _ := router.ParseTopic([]byte("x"))
	var ds []raftstore.Delivery
	for _, i := range indexes {
		d := raftstore.Delivery{Index: i, QoS: 1, Message: session.Message{Topic: topic, QoS: 1, Payload: []byte{'a' + byte(i)}}}
		if i == 0 {
			d.QoS, d.Message.QoS = 0, 0
		}
		ds = append(ds, d)
	}
	c.loop.node.b.Push(router.Subscriber(c.id), epoch, ds)
	c.cell.settle()
	return payloads(c.recv())
}

// A shard pushes again what may be lost: a new leader everything, one whose way
// here broke perhaps the latest first. Each delivery is sent once, in order.
func TestPushedAgainIsSentOnce(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCell(t, 1, 1, nil)
		s := c.persistent(0, 0, "s")
		epoch := s.loop.handler.(*worker).conn(s.id).epoch
		for _, step := range []struct {
			what  string
			later session.Epoch // than the connection's
			push  []uint64
			want  []string
		}{
			{"first", 0, []uint64{1, 2}, []string{"b", "c"}},
			{"again, and one more", 0, []uint64{1, 2, 3}, []string{"d"}},
			{"again", 0, []uint64{3}, nil},
			{"without one that was lost", 0, []uint64{5, 6}, nil},
			{"QoS 0 follows on nothing", 0, []uint64{0, 0}, []string{"a", "a"}},
			{"what was lost, and what came too early", 0, []uint64{2, 3, 4, 5, 6}, []string{"e", "f", "g"}},
			{"under another epoch", 1, []uint64{7}, nil},
			{"next", 0, []uint64{7}, []string{"h"}},
		} {
			if got := s.push(epoch+step.later, step.push...); !slices.Equal(got, step.want) {
				t.Errorf("%s: %q, want %q", step.what, got, step.want)
			}
		}
		// A connection of an earlier start, which had more loops.
		n := c.nodes[0]
		gone := router.Subscriber(9 << 56)
		n.b.Push(gone, 1, nil)
		n.b.Ended(gone, 1, mqtt.SessionTakenOver)
		done := false
		if n.b.Evict(gone, "s", 1, func() { done = true }); !done {
			t.Error("who is not here did not hand over")
		}
	})
}

// claims is a store whose answers to claims are given later.
type claims struct {
	*raftstore.Store
	answer func()
	epoch  session.Epoch
	change func(*raftstore.Result)
}

func (s *claims) Submit(sh router.ShardID, cmd raftstore.Command, done func(raftstore.Result)) {
	if _, ok := cmd.(raftstore.Claim); ok {
		s.Store.Submit(sh, cmd, func(r raftstore.Result) {
			s.change(&r)
			s.epoch, s.answer = r.Claim.Epoch, func() { done(r) }
		})
		return
	}
	s.Store.Submit(sh, cmd, done)
}

// Pushes that come before a claim's answer are in its window, or else the answer
// is of a leader of the past: then the client must connect again, for they do not
// come again (P1).
func TestPushesBeforeTheClaimsAnswer(t *testing.T) {
	for name, test := range map[string]struct {
		next uint64
		push []uint64
		want mqtt.Reason
	}{
		"none":            {8, nil, mqtt.Success},
		"in the window":   {8, []uint64{6, 7}, mqtt.Success},
		"made afterwards": {8, []uint64{7, 8}, mqtt.ServerUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				c := newCell(t, 1, 1, nil)
				n := c.nodes[0]
				s := &claims{Store: n.store, change: func(r *raftstore.Result) { r.Claim.Next = test.next }}
				n.b.Attach(s, n.store, n.store, n, n)
				conn := c.dial(0, 0)
				conn.send(&mqtt.Connect{Version: mqtt.V5, ClientID: []byte("s"), SessionExpiry: 100})
				conn.none()
				conn.push(s.epoch, test.push...)
				s.answer()
				c.settle()
				if ack := conn.one(mqtt.CONNACK).Connack; ack.Reason != test.want {
					t.Fatalf("CONNACK %#x, want %#x", byte(ack.Reason), byte(test.want))
				}
				if test.want == mqtt.Success {
					if got := conn.push(s.epoch, 7, 8, 9); !slices.Equal(got, []string{"i", "j"}) {
						t.Errorf("delivered %q", got)
					}
				} else if !conn.closed {
					t.Error("the connection stays")
				}
			})
		})
	}
}

// What a claim has won may be another's before the answer to the claim comes: then its
// client is not connected (P5).
func TestSessionIsLostBeforeTheClaimsAnswer(t *testing.T) {
	for name, lose := range map[string]func(b *Broker, conn router.Subscriber, e session.Epoch){
		"evicted": func(b *Broker, conn router.Subscriber, e session.Epoch) { b.Evict(conn, "s", e, func() {}) },
		"ended": func(b *Broker, conn router.Subscriber, e session.Epoch) {
			b.Ended(conn, e, mqtt.SessionTakenOver)
		},
		"of an earlier claim": func(b *Broker, conn router.Subscriber, e session.Epoch) { b.Evict(conn, "s", e-1, func() {}) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				c := newCell(t, 1, 1, nil)
				n := c.nodes[0]
				s := &claims{Store: n.store, change: func(*raftstore.Result) {}}
				n.b.Attach(s, n.store, n.store, n, n)
				conn := c.dial(0, 0)
				conn.send(&mqtt.Connect{Version: mqtt.V5, ClientID: []byte("s"), SessionExpiry: 100})
				lose(n.b, router.Subscriber(conn.id), s.epoch)
				c.settle()
				s.answer()
				c.settle()
				connected := conn.one(mqtt.CONNACK).Connack.Reason == mqtt.Success
				if want := name == "of an earlier claim"; connected != want || conn.closed == want {
					t.Errorf("connected: %v, closed: %v", connected, conn.closed)
				}
			})
		})
	}
}
