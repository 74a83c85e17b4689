package broker

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"dunlin/proto/mqtt"
	"dunlin/raftstore"
	"dunlin/router"
)

// slowPages is a node's retained messages under the test's hand: pages are read at
// once and come when the test says so, or are as old as the query allows.
type slowPages struct {
	RetainedMessages
	late func(raftstore.RetainedQuery) bool
	old  func() bool
	fail func(raftstore.RetainedQuery) error

	mu   sync.Mutex
	kept []func()
	read map[string]raftstore.RetainedPage // the first page of each kind
}

func (n *testNode) slowPages() *slowPages {
	s := &slowPages{RetainedMessages: n.b.retained}
	n.b.retained = s
	return s
}

func (s *slowPages) ReadRetained(sh router.ShardID, q raftstore.RetainedQuery, done func(raftstore.RetainedPage, error)) {
	late, old := s.late != nil && s.late(q), s.old != nil && s.old()
	s.RetainedMessages.ReadRetained(sh, q, func(p raftstore.RetainedPage, err error) {
		p = s.page(fmt.Sprint(sh, q.Filter, q.Cursor, q.MaxMessages), p, old && q.AsOf > 0, q.AsOf)
		if s.fail != nil && s.fail(q) != nil {
			done(raftstore.RetainedPage{}, s.fail(q))
			return
		}
		if !late {
			done(p, err)
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.kept = append(s.kept, func() { done(p, err) })
	})
}

// page is p, or the page that was read first, if it is wanted and new enough: a
// replica that is behind gives it.
func (s *slowPages) page(kind string, p raftstore.RetainedPage, old bool, asOf uint64) raftstore.RetainedPage {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.read == nil {
		s.read = map[string]raftstore.RetainedPage{}
	}
	first, ok := s.read[kind]
	if ok && old && first.Index >= asOf {
		p = first
	} else if !ok || first.Index < asOf {
		s.read[kind] = p
	}
	p.Messages = slices.Clone(p.Messages)
	return p
}

func (s *slowPages) release() {
	s.late = nil
	s.mu.Lock()
	kept := s.kept
	s.kept = nil
	s.mu.Unlock()
	for _, f := range kept {
		f()
	}
}

// isPage says that a query is for messages, not for a cut.
func isPage(q raftstore.RetainedQuery) bool { return q.Filter != nothing }

// retain publishes a retained message of QoS 1.
func (c *testConn) retain(topic, payload string) {
	c.send(&mqtt.Publish{Topic: []byte(topic), Payload: []byte(payload), QoS: 1, PacketID: 1, Retain: true})
}

// want subscribes to one filter of QoS 1 and takes nothing.
func (c *testConn) want(filter string) {
	c.send(&mqtt.Subscribe{PacketID: 1, Filters: []mqtt.Subscription{{Filter: []byte(filter), QoS: 1}}})
}

// retainedAndLive lists payloads, those of retained messages in brackets.
func retainedAndLive(ps []*mqtt.Packet) (out []string) {
	for _, p := range ps {
		switch {
		case p.Kind != mqtt.PUBLISH:
		case p.Publish.Retain:
			out = append(out, "["+string(p.Publish.Payload)+"]")
		default:
			out = append(out, string(p.Publish.Payload))
		}
	}
	return out
}

// kindOfClient connects a client of some kind.
type kindOfClient func(c *cell, node, loop int, id string) *testConn

// eachKind runs a test with ephemeral and with persistent subscribers.
func eachKind(t *testing.T, name string, test func(t *testing.T, connect kindOfClient)) {
	t.Run(name+"/ephemeral", func(t *testing.T) { test(t, (*cell).connect) })
	t.Run(name+"/persistent", func(t *testing.T) { test(t, (*cell).persistent) })
}

// P8: a retained message that was replaced after the SUBACK does not come after its
// successor.
func TestReplayOmitsWhatIsOlderThanTheLiveFlow(t *testing.T) {
	for _, filter := range []string{"r/1", "r/#"} {
		eachKind(t, filter, func(t *testing.T, connect kindOfClient) {
			synctest.Test(t, func(t *testing.T) {
				c := newCell(t, 1, 2, nil)
				pages := c.nodes[0].slowPages()
				pub, sub := c.connect(0, 0, "pub"), connect(c, 0, 1, "sub")
				pub.retain("r/1", "old")
				pages.late = isPage
				sub.want(filter)
				sub.one(mqtt.SUBACK)
				pub.retain("r/1", "new")
				pages.release()
				c.settle()
				if got := retainedAndLive(sub.recv()); !slices.Equal(got, []string{"new"}) {
					t.Errorf("got %v", got)
				}
			})
		})
	}
}

// P8: a retained publish that was under way when the client subscribed comes once: as the
// topic's retained message, or live.
func TestReplayAndLiveFlowMeet(t *testing.T) {
	for _, tt := range []struct {
		name   string
		before []string // subscriptions that were there
		filter string
		want   []string
	}{
		{"exact", nil, "r/1", []string{"[1]"}},
		{"wildcard", nil, "r/+", []string{"[1]"}},
		{"two", []string{"other", "r/2"}, "r/+", []string{"[1]"}},
		{"older subscription", []string{"#"}, "r/1", []string{"[1]", "1"}},
		{"again", []string{"r/+"}, "r/+", []string{"[1]", "1"}},
	} {
		eachKind(t, tt.name, func(t *testing.T, connect kindOfClient) {
			synctest.Test(t, func(t *testing.T) {
				c := newCell(t, 1, 2, nil)
				g := c.nodes[0].grip()
				pub, sub := c.connect(0, 0, "pub"), connect(c, 0, 1, "sub")
				for _, f := range tt.before {
					sub.want(f)
				}
				g.late = is[raftstore.Retain] // committed, and the publisher's node does not know
				pub.retain("r/1", "1")
				sub.recv()
				sub.want(tt.filter)
				got := retainedAndLive(sub.recv())
				g.release()
				c.settle()
				pub.one(mqtt.PUBACK)
				got = append(got, retainedAndLive(sub.recv())...)
				if !slices.Equal(got, tt.want) {
					t.Errorf("got %v, want %v", got, tt.want)
				}
				pub.retain("r/1", "2")
				if got := retainedAndLive(sub.recv()); !slices.Equal(got, []string{"2"}) {
					t.Errorf("then got %v", got)
				}
			})
		})
	}
}

// P10, P8: what is remembered of the live flow is bounded; beyond it the replay
// reads again, and still nothing older comes after.
func TestReplayWithABusyLiveFlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCell(t, 1, 2, func(o *Options) { o.Session.ReceiveMaximum = 1000 })
		pages := c.nodes[0].slowPages()
		pub, sub := c.connect(0, 0, "pub"), c.connect(0, 1, "sub")
		const n = maxSentLive + 100
		publish := func(payload string) {
			for i := range n {
				pub.queue(&mqtt.Publish{Topic: fmt.Appendf(nil, "r/%d", i), Payload: []byte(payload), QoS: 1, PacketID: uint16(i) + 1, Retain: true})
				if i%50 == 0 {
					c.settle()
				}
			}
			c.settle()
			pub.recv()
		}
		publish("old")
		pages.late = isPage
		sub.send(&mqtt.Subscribe{PacketID: 1, Filters: []mqtt.Subscription{{Filter: []byte("r/#")}}})
		publish("new")
		cl := &sub.loop.worker().conn(sub.id).client
		if len(cl.live) > maxSentLive {
			t.Errorf("%d topics are remembered", len(cl.live))
		}
		pages.release()
		c.settle()
		last := map[string]string{}
		for _, p := range sub.recv() {
			if p.Kind == mqtt.PUBLISH {
				last[string(p.Publish.Topic)] = string(p.Publish.Payload)
			}
		}
		for topic, payload := range last {
			if payload != "new" {
				t.Fatalf("%s: the last that came is %s", topic, payload)
			}
		}
		if len(last) != n {
			t.Errorf("%d topics of %d", len(last), n)
		}
		if cl.live != nil || cl.replays != nil {
			t.Error("something is left of the replay")
		}
	})
}

// R6: nobody is granted a subscription whose cut is not known.
func TestSubscribeWithoutACut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCell(t, 1, 1, nil)
		pages := c.nodes[0].slowPages()
		pages.fail = func(raftstore.RetainedQuery) error { return raftstore.ErrUnknown }
		sub, other := c.connect(0, 0, "sub"), c.connect(0, 0, "other")
		sub.want("r/1")
		sub.none()
		if !sub.closed {
			t.Error("the connection stays")
		}
		other.send(&mqtt.Subscribe{PacketID: 1, Filters: []mqtt.Subscription{{Filter: []byte("r/1"), RetainHandling: 2}}})
		other.one(mqtt.SUBACK)
	})
}

// P8, P3: a replay to a persistent session goes on where it was, through whichever
// connection, and brings each message once.
func TestReplayOutlivesItsConnection(t *testing.T) {
	for _, hold := range []string{"nothing", "cuts", "pages"} {
		t.Run(hold, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCell(t, 1, 2, nil)
				pages := c.nodes[0].slowPages()
				pub := c.connect(0, 0, "pub")
				const n = 300
				for i := range n {
					pub.retain(fmt.Sprint("r/", i), fmt.Sprint(i))
				}
				got := map[string]int{}
				take := func(sub *testConn, some int) {
					for ps := sub.recv(); len(ps) > 0 && some > 0; ps = sub.recv() {
						for _, p := range ps {
							if p.Kind == mqtt.PUBLISH {
								got[string(p.Publish.Payload)]++
								some--
								sub.queue(&mqtt.Ack{Kind: mqtt.PUBACK, PacketID: p.Publish.PacketID})
							}
						}
						c.settle()
					}
				}
				sub := c.persistent(0, 1, "sub")
				switch hold {
				case "cuts":
					pages.late = func(q raftstore.RetainedQuery) bool { return !isPage(q) }
				case "pages":
					pages.late = isPage
				}
				sub.want("r/#")
				take(sub, 100)
				for i := range 2 {
					sub.hangUp()
					pages.release()
					sub = c.resume(0, i, mqtt.Connect{ClientID: []byte("sub")})
					take(sub, 50)
				}
				sub = c.resume(0, 0, mqtt.Connect{ClientID: []byte("sub")}) // takes over
				take(sub, n)
				for payload, times := range got {
					if times != 1 {
						t.Errorf("%s came %d times", payload, times)
					}
				}
				if len(got) != n {
					t.Errorf("got %d of %d", len(got), n)
				}
				sub.hangUp()
				if ps := c.resume(0, 1, mqtt.Connect{ClientID: []byte("sub")}).recv(); len(ps) != 1 || !ps[0].Connack.SessionPresent {
					t.Errorf("after its end came %v", kinds(ps))
				}
			})
		})
	}
}

// What a replay has left in the shard's queue comes to a connection that has no part
// in any replay.
func TestReplayLeftToTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCell(t, 1, 2, nil)
		pub := c.connect(0, 0, "pub")
		const n = 20
		last := router.ShardID(c.nodes[0].store.Shards() - 1) // which the replay reads last
		for i, retained := 0, 0; retained < n; i++ {
			name := fmt.Sprint("r/", i)
			topic, err := router.ParseTopic([]byte(name))
			if err != nil {
				t.Fatal(err)
			}
			if c.nodes[0].store.TopicShard(topic) == last {
				pub.retain(name, fmt.Sprint(i))
				retained++
			}
		}
		connect := mqtt.Connect{Version: mqtt.V5, ClientID: []byte("sub"), SessionExpiry: 100, ReceiveMaximum: 2}
		sub := c.resume(0, 0, connect)
		sub.recv()
		sub.want("r/#")
		c.settle()
		sub.hangUp()
		sub = c.resume(0, 1, connect)
		if sub.loop.worker().conn(sub.id).client.catchUp != nil {
			t.Fatal("the replay is not over")
		}
		if got := sub.take(); len(got) != n {
			t.Errorf("got %d of %d", len(got), n)
		}
	})
}

// What the client does not want any more is not brought by the next connection.
func TestReplayEndsWithItsSubscription(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCell(t, 1, 1, nil)
		pages := c.nodes[0].slowPages()
		c.connect(0, 0, "pub").retain("r/1", "x")
		pages.late = isPage
		sub := c.persistent(0, 0, "sub")
		sub.want("r/#")
		sub.send(&mqtt.Unsubscribe{PacketID: 2, Filters: [][]byte{[]byte("r/#")}})
		pages.release()
		c.settle()
		sub.hangUp()
		if got := payloads(c.resume(0, 0, mqtt.Connect{ClientID: []byte("sub")}).recv()); len(got) != 0 {
			t.Errorf("got %v", got)
		}
	})
}

// P10: a shard whose pages do not come holds up nobody who reads from another.
func TestReplaysFromOtherShardsGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCell(t, 1, 1, nil)
		pages := c.nodes[0].slowPages()
		stuck, other := "r/0", ""
		shard := func(topic string) router.ShardID {
			name, err := router.ParseTopic([]byte(topic))
			if err != nil {
				t.Fatal(err)
			}
			return c.nodes[0].store.TopicShard(name)
		}
		for i := 1; other == ""; i++ {
			if topic := fmt.Sprint("r/", i); shard(topic) != shard(stuck) {
				other = topic
			}
		}
		pub := c.connect(0, 0, "pub")
		pub.retain(stuck, "x")
		pub.retain(other, "x")
		pages.late = func(q raftstore.RetainedQuery) bool { return q.Filter.String() == stuck }
		var wait []*testConn
		for i := range 3 * maxReading {
			sub := c.connect(0, 0, fmt.Sprint("s", i))
			sub.want(stuck)
			wait = append(wait, sub)
		}
		if n := len(pages.kept); n != maxReading {
			t.Errorf("%d pages are being read, %d are allowed", n, maxReading)
		}
		sub := c.connect(0, 0, "sub")
		sub.want(other)
		if got := payloads(sub.recv()); len(got) != 1 {
			t.Errorf("got %v", got)
		}
		pages.release()
		c.settle()
		for _, sub := range wait {
			if got := payloads(sub.recv()); len(got) != 1 {
				t.Errorf("who waited got %v", got)
			}
		}
	})
}
