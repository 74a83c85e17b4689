package broker

import (
	"fmt"
	"strings"
	"testing"

	"dunlin/node/limit"
	"dunlin/proto/mqtt"
	"dunlin/raftstore"
	"dunlin/session"
)

// limited is what the only loop has counted.
func (c *cell) limited(l Limit) uint64 { return c.nodes[0].loops[0].worker().counters.Limited[l] }

// Case 56: a node that is short refuses what would be stored, and nothing else.
func TestNothingMoreIsStoredByAShortNode(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var p limit.Pressure
		c := newCell(t, 1, 1, func(o *Options) { o.Pressure = &p })
		keeper := c.persistent(0, 0, "keeper")
		keeper.subscribe("kept", 2)
		live := c.connect(0, 0, "live")
		live.subscribe("live", 1)
		pub, safe := c.connect(0, 0, "pub"), c.persistent(0, 0, "safe")
		pub.publish("kept", "before", 1, 1)
		pub.one(mqtt.PUBACK)
		before := keeper.one(mqtt.PUBLISH).Publish
		pub.send(&mqtt.Publish{Topic: []byte("r"), Payload: []byte("1"), QoS: 1, PacketID: 1, Retain: true})
		pub.one(mqtt.PUBACK)

		for _, cause := range []limit.Cause{limit.Memory, limit.Disk} {
			old := c.dial(0, 0)
			old.version = mqtt.V311
			old.send(&mqtt.Connect{Version: mqtt.V311, CleanStart: true, ClientID: []byte("old")})
			old.one(mqtt.CONNACK)
			p.Set(cause, limit.Shed)
			answer := func(from *testConn, q mqtt.Publish) mqtt.Reason {
				t.Helper()
				from.send(&q)
				ps := from.recv()
				if len(ps) != 1 {
					t.Fatalf("%v: %+v: got %v", cause, q, kinds(ps))
				}
				return ps[0].Ack.Reason
			}
			message := func(topic string, qos mqtt.QoS) mqtt.Publish {
				return mqtt.Publish{Topic: []byte(topic), Payload: []byte("x"), QoS: qos, PacketID: 7}
			}
			retained := message("r", 1)
			retained.Retain = true
			for name, q := range map[string]mqtt.Publish{"queued": message("kept", 1), "retained": retained} {
				if r := answer(pub, q); r != mqtt.QuotaExceeded {
					t.Errorf("%v: %s: %v", cause, name, r)
				}
			}
			for _, from := range []*testConn{pub, safe} { // whose identifier is committed first
				if r := answer(from, message("kept", 2)); r != mqtt.QuotaExceeded {
					t.Errorf("%v: queued at QoS 2: %v", cause, r)
				}
			}
			if c.holdsID(safe, 7) {
				t.Errorf("%v: the shard keeps the identifier of what was refused (R1)", cause)
			}
			keeper.none()
			if r := answer(pub, message("live", 1)); r != mqtt.Success {
				t.Errorf("%v: not stored: %v", cause, r)
			}
			live.ack(live.one(mqtt.PUBLISH).Publish.PacketID)
			pub.publish("kept", "in passing", 0, 0)
			keeper.one(mqtt.PUBLISH)
			retained.QoS, retained.PacketID = 0, 0
			pub.send(&retained)
			pub.none()
			reasons := subscribeAll(keeper, "kept", "more")
			if reasons[0] != mqtt.GrantedQoS2 || reasons[1] != mqtt.QuotaExceeded {
				t.Errorf("%v: SUBACK %v", cause, reasons)
			}
			if reasons = subscribeAll(live, "live", "r"); reasons[0] != mqtt.GrantedQoS2 || reasons[1] != mqtt.QuotaExceeded {
				t.Errorf("%v: SUBACK %v", cause, reasons)
			}
			q := message("kept", 1)
			old.send(&q)
			if old.none(); !old.closed {
				t.Errorf("%v: a client of version 3 that cannot be told is not closed", cause)
			}
			p.Set(cause, limit.None)
			for _, from := range []*testConn{pub, safe} { // the identifier is free
				if r := answer(from, message("kept", 2)); r != mqtt.Success {
					t.Errorf("%v is over: %v", cause, r)
				}
				from.send(&mqtt.Ack{Kind: mqtt.PUBREL, PacketID: 7})
				from.one(mqtt.PUBCOMP)
				m := keeper.one(mqtt.PUBLISH).Publish
				keeper.send(&mqtt.Ack{Kind: mqtt.PUBREC, PacketID: m.PacketID})
				keeper.send(&mqtt.Ack{Kind: mqtt.PUBCOMP, PacketID: m.PacketID})
				keeper.recv()
			}
		}

		p.Set(limit.Memory, limit.Shed)
		keeper.ack(before.PacketID)
		if n := c.nodes[0].loops[0].worker().conn(keeper.id).live.Inflight(); n != 0 {
			t.Errorf("%d in flight after the acknowledgement", n)
		}
		pub.send(&mqtt.Publish{Topic: []byte("r"), QoS: 1, PacketID: 1, Retain: true})
		if r := pub.one(mqtt.PUBACK).Ack.Reason; r >= 0x80 {
			t.Errorf("deletion: %v", r)
		}
		p.Set(limit.Memory, limit.None)
		if reasons := subscribeAll(live, "r"); reasons[0] != mqtt.GrantedQoS2 {
			t.Errorf("SUBACK %v", reasons)
		}
		live.none() // it is deleted
		if n := c.limited(LimitStorage); n != 2*(2+2+1+2+1) {
			t.Errorf("%d counted", n)
		}
	})
}

// holdsID says whether the shard of a persistent client holds the packet identifier of one
// of its publishes; then no more.
func (c *cell) holdsID(conn *testConn, id uint16) (held bool) {
	w := conn.loop.worker()
	of := w.conn(conn.id)
	w.shards.Submit(of.shard, raftstore.Release{ClientID: w.clientID(of), Epoch: of.epoch, PacketID: id}, func(r raftstore.Result) { held = r.Known })
	c.settle()
	return held
}

// subscribeAll asks for QoS 2 and gives the answer.
func subscribeAll(c *testConn, filters ...string) []mqtt.Reason {
	c.cell.t.Helper()
	s := mqtt.Subscribe{PacketID: 9}
	for _, f := range filters {
		s.Filters = append(s.Filters, mqtt.Subscription{Filter: []byte(f), QoS: 2, RetainHandling: 2})
	}
	c.send(&s)
	return c.one(mqtt.SUBACK).Suback.Reasons
}

// Case 23: the subscriptions of all that are connected are bounded, whosever they are.
func TestSubscriptionsOfTheNode(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCell(t, 1, 1, func(o *Options) { o.MaxNodeSubscriptions = 3 })
		a, b := c.connect(0, 0, "a"), c.persistent(0, 0, "b")
		for _, step := range []struct {
			conn    *testConn
			filters []string
			want    []mqtt.Reason
		}{
			{a, []string{"1", "2"}, []mqtt.Reason{2, 2}},
			{b, []string{"1"}, []mqtt.Reason{2}},
			{b, []string{"2", "1"}, []mqtt.Reason{mqtt.QuotaExceeded, 2}},
			{a, []string{"3", "2"}, []mqtt.Reason{mqtt.QuotaExceeded, 2}},
		} {
			if got := subscribeAll(step.conn, step.filters...); fmt.Sprint(got) != fmt.Sprint(step.want) {
				t.Errorf("%v: SUBACK %v, want %v", step.filters, got, step.want)
			}
		}
		if n := c.limited(LimitNodeSubscriptions); n != 2 {
			t.Errorf("%d counted", n)
		}
		a.send(&mqtt.Unsubscribe{PacketID: 1, Filters: [][]byte{[]byte("1")}})
		a.recv()
		if got := subscribeAll(b, "2"); got[0] != 2 {
			t.Errorf("SUBACK %v after one was given up", got)
		}
		a.hangUp()
		if got := subscribeAll(b, "3"); got[0] != 2 {
			t.Errorf("SUBACK %v after who had another left", got)
		}
		if n := c.nodes[0].b.allSubscribed.Load(); n != 3 {
			t.Errorf("%d subscriptions", n)
		}
	})
}

// Case 15, with limits below those of MQTT.
func TestTopicsMayBeLimited(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCell(t, 1, 1, func(o *Options) { o.MaxTopicBytes, o.MaxTopicLevels = 10, 3 })
		for _, topic := range []string{"a/b/c/d", strings.Repeat("a", 11), "///"} {
			pub := c.connect(0, 0, "pub")
			for _, good := range []string{"a/b/c", strings.Repeat("a", 10), "//"} {
				pub.publish(good, "", 1, 1)
				pub.one(mqtt.PUBACK)
			}
			pub.publish(topic, "", 1, 1)
			if r := pub.one(mqtt.DISCONNECT).Disconnect.Reason; r != mqtt.TopicNameInvalid {
				t.Errorf("%q: DISCONNECT %v", topic, r)
			}
			sub := c.connect(0, 0, "sub")
			if got := subscribeAll(sub, "a/+/#", topic, "b"); got[0] != 2 || got[1] != mqtt.TopicFilterInvalid || got[2] != 2 {
				t.Errorf("%q: SUBACK %v", topic, got)
			}
			conn := c.dial(0, 0)
			conn.send(&mqtt.Connect{Version: mqtt.V5, CleanStart: true, ClientID: []byte("will"), HasWill: true, Will: mqtt.Will{Topic: []byte(topic)}})
			if r := conn.one(mqtt.CONNACK).Connack.Reason; r != mqtt.TopicNameInvalid {
				t.Errorf("%q in a will: CONNACK %v", topic, r)
			}
		}
		if n := c.limited(LimitTopic); n != 9 {
			t.Errorf("%d counted", n)
		}
	})
}

// Cases 29, 56: clients that do not read have queues within their bounds each; what all of
// them hold together is bounded too, and who reads gets everything.
func TestQueuesAreBoundedTogether(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		const most, size, n = 20_000, 1000, 15
		c := newCell(t, 1, 1, func(o *Options) { o.MaxWaiting = most })
		w := c.nodes[0].loops[0].worker()
		var deaf []*testConn
		for i := range 10 {
			conn := c.connect(0, 0, fmt.Sprint("deaf", i))
			conn.subscribe("t", 1)
			conn.unsent = 2 << 20
			deaf = append(deaf, conn)
		}
		reader, pub := c.connect(0, 0, "reader"), c.connect(0, 0, "pub")
		reader.subscribe("t", 1)
		for i := range n {
			pub.publish("t", strings.Repeat("x", size), 1, uint16(i)+1)
			pub.one(mqtt.PUBACK)
			reader.ack(reader.one(mqtt.PUBLISH).Publish.PacketID)
			if w.waiting > most+size+200 {
				t.Fatalf("%d bytes wait", w.waiting)
			}
			w.countsWhatWaits(t)
		}
		dropped := c.limited(LimitBuffers)
		if dropped == 0 || w.counters.Dropped[session.QueueFull] != dropped {
			t.Errorf("%d dropped, %d as of a full queue", dropped, w.counters.Dropped[session.QueueFull])
		}
		got := 0
		for _, conn := range deaf[1:] {
			conn.unsent = 0
			c.settle()
			for _, p := range conn.recv() {
				got++
				conn.queue(&mqtt.Ack{Kind: mqtt.PUBACK, PacketID: p.Publish.PacketID})
			}
			c.settle()
			w.countsWhatWaits(t)
		}
		lost, _ := w.conn(deaf[0].id).live.Backlog()
		deaf[0].hangUp()
		if w.waiting != 0 {
			t.Errorf("%d bytes wait in the end", w.waiting)
		}
		if got+lost+int(dropped) != 10*n {
			t.Errorf("%d messages came, %d were dropped, %d lost with their connection, of %d", got, dropped, lost, 10*n)
		}
		deaf[1].unsent = 2 << 20
		pub.publish("t", "", 1, 1)
		deaf[1].unsent = 0
		c.settle()
		deaf[1].one(mqtt.PUBLISH) // there is room again
	})
}

// countsWhatWaits checks the worker's sum.
func (w *worker) countsWhatWaits(t *testing.T) {
	t.Helper()
	sum := 0
	w.conns.all(func(c *conn) { sum += c.live.Held() })
	if sum != w.waiting {
		t.Fatalf("%d bytes are counted, %d wait", w.waiting, sum)
	}
}

// Case 24: filters that overlap are one match and one delivery, and what they cost is
// their publisher's.
func TestOverlappingFiltersCostTheirPublisher(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCell(t, 1, 1, func(o *Options) { o.MaxSubscriptions = 1 << 10 })
		sub, pub := c.connect(0, 0, "sub"), c.connect(0, 0, "pub")
		var filters []string
		for i := range 1 << 10 {
			levels := make([]string, 10)
			for k := range levels {
				levels[k] = []string{"a", "+"}[i>>k&1]
			}
			filters = append(filters, strings.Join(levels, "/"))
		}
		for k := 0; k < len(filters); k += 64 {
			subscribeAll(sub, filters[k:k+64]...)
		}
		w := c.nodes[0].loops[0].worker()
		work := func(topic string) int {
			pub.queue(&mqtt.Publish{Topic: []byte(topic)})
			before := w.work
			pub.loop.handler.Receive(pub.id, pub.in)
			pub.in = nil
			return w.work - before
		}
		deep := work("a/a/a/a/a/a/a/a/a/a")
		if shallow := work("b"); deep < 20*shallow {
			t.Errorf("%d of a turn's work for a topic with many filters, %d for one without", deep, shallow)
		}
		sub.one(mqtt.PUBLISH)
	})
}
