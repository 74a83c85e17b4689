package raftstore

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"dunlin/session"
)

func TestSessionLimit(t *testing.T) {
	o := DefaultOptions()
	o.Limits.Sessions = 2
	sh := newManual(o)
	first := sh.do(Claim{ClientID: "a", Expiry: 60})
	sh.do(Claim{ClientID: "b"})
	expect(t, "a third", sh.do(Claim{ClientID: "c"}).Err, ErrQuota)
	expect(t, "one of the two", sh.do(Claim{ClientID: "a", Expiry: 60}).Claim.Present, true)
	expect(t, "fenced", sh.do(Detach{ClientID: "a", Epoch: first.Claim.Epoch}).Err, ErrFenced)
	sh.do(Delete{ClientID: "b"})
	expect(t, "after another left", sh.do(Claim{ClientID: "c"}).Err, nil)
}

// Case 32: beyond a limit old topics may be replaced, and deletion always works.
func TestRetainedLimit(t *testing.T) {
	for name, limit := range map[string]func(*Limits){
		"count": func(l *Limits) { l.Retained = 1 },
		"bytes": func(l *Limits) { l.RetainedBytes = 1 + overhead },
	} {
		t.Run(name, func(t *testing.T) {
			o := DefaultOptions()
			limit(&o.Limits)
			sh := newManual(o)
			if name == "bytes" {
				expect(t, "too large", sh.do(Retain{Message: publish("a", "1", 1)}).Err, ErrQuota)
				return
			}
			expect(t, "first", sh.do(Retain{Message: publish("a", "1", 1)}).Err, nil)
			expect(t, "second", sh.do(Retain{Message: publish("b", "1", 1)}).Err, ErrQuota)
			expect(t, "replaced", sh.do(Retain{Message: publish("a", "a longer one", 1)}).Err, nil)
			expect(t, "deleted", sh.do(Retain{Message: publish("a", "", 1)}).Err, nil)
			expect(t, "second", sh.do(Retain{Message: publish("b", "1", 1)}).Err, nil)
		})
	}
}

// Case 30: offline sessions and endless publishes stay within the shard's bound,
// and what is dropped is counted.
func TestShardMemoryLimit(t *testing.T) {
	o := DefaultOptions()
	o.Limits.QueuedBytes, o.Limits.QueueBytes = 10_000, 1<<30
	sh := newManual(o)
	for i, oldest := range []bool{false, true} {
		id := fmt.Sprint(i)
		e := sh.do(Claim{ClientID: id, Expiry: 60, DropOldest: oldest, MaxQueueMessages: 1 << 20}).Claim.Epoch
		sh.do(Subscribe{ClientID: id, Epoch: e, Filters: []Subscription{subscription("#", 1)}})
		sh.do(Detach{ClientID: id, Epoch: e})
	}
	dropped := 0
	for range 1000 {
		dropped += sh.do(Enqueue{Message: publish("a", "0123456789", 1)}).Dropped
		if sh.st.messages.bytes > 10_000 {
			t.Fatalf("%d bytes queued", sh.st.messages.bytes)
		}
	}
	stored := sh.st.messages.stored()
	expect(t, "every message is queued or counted, twice", 2*stored+dropped, 2000)
}

// S5: the bound in bytes, both policies.
func TestQueueByteLimit(t *testing.T) {
	for _, oldest := range []bool{false, true} {
		sh := newManual(DefaultOptions())
		c := Claim{ClientID: "c", Conn: 1, Expiry: 60, Inflight: 100, DropOldest: oldest, MaxQueueBytes: 1000}
		e := sh.do(c).Claim.Epoch
		sh.do(Subscribe{ClientID: "c", Epoch: e, Filters: []Subscription{subscription("#", 1)}})
		sh.do(Detach{ClientID: "c", Epoch: e})
		for i := range 50 {
			sh.do(Enqueue{Message: publish("a", fmt.Sprint(i), 1)})
		}
		_, rec := sh.st.sessions.find([]byte("c"))
		_, waiting, bytes := rec.Backlog()
		if bytes > 1000 || waiting < 5 {
			t.Fatalf("%d messages of %d bytes wait", waiting, bytes)
		}
		first := 0
		if oldest {
			first = 50 - waiting
		}
		sh.owner.log = nil
		sh.do(c)
		expect(t, "pushed", len(sh.owner.log), waiting)
		expect(t, "first", sh.owner.log[0], "push to 1: "+describe(1, fmt.Sprint(first), 1, false, nil))
	}
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	o := DefaultOptions()
	o.Shards, o.Registerer = 2, reg
	s, err := Open(o, &logger{}, &logger{})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan Result)
	s.Submit(1, Claim{ClientID: "c", Expiry: 60}, func(r Result) { done <- r })
	<-done
	s.Submit(1, Retain{Message: publish("a", "1", 1)}, nil)
	s.Close()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	gauges := map[string]float64{}
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "dunlin_store_") || f.GetHelp() == "" {
			t.Errorf("metric %s: %q", f.GetName(), f.GetHelp())
		}
		gauges[f.GetName()] = f.GetMetric()[0].GetGauge().GetValue()
	}
	expect(t, "sessions", gauges["dunlin_store_sessions"], 1)
	expect(t, "retained", gauges["dunlin_store_retained_messages"], 1)
}

func TestSessionListing(t *testing.T) {
	inBubble(t, func(b *bench) {
		for i := range 25 {
			id := fmt.Sprintf("c%02d", i)
			e := b.ok(Claim{ClientID: id, User: "u", Conn: 7, Expiry: 60}).Claim.Epoch
			b.ok(Subscribe{ClientID: id, Epoch: e, Filters: []Subscription{subscription("a", 1)}})
		}
		b.ok(Delete{ClientID: "c03"})
		var got []string
		cursor, more := uint32(0), true
		for more {
			var page []SessionInfo
			page, cursor, more = b.Sessions(0, cursor, 10)
			for _, s := range page {
				got = append(got, s.ClientID)
				expect(t, "subscriptions", s.Subscriptions, 1)
				expect(t, "attached", s.Attached && s.Stored && s.Conn == 7, true)
			}
			if len(got) == 10 { // sessions come and go while pages are read
				b.ok(Delete{ClientID: "c01"})
				b.ok(Claim{ClientID: "d", Expiry: 60})
			}
		}
		expect(t, "listed", len(got), 24)
		b.Close()
		if page, _, more := b.Sessions(0, 0, 10); page != nil || more {
			t.Error("listed after Close")
		}
	})
}

// R2: what is remembered of a publisher is bounded by its low-water mark, and
// goes some time after its session.
func TestPublisherMemory(t *testing.T) {
	sh := newManual(DefaultOptions())
	c := sh.do(Claim{ClientID: "p", Expiry: 60}).Claim
	for i := range 1000 {
		r := sh.do(Receive{ClientID: "p", Epoch: c.Epoch, PacketID: uint16(1 + i%10)})
		m := publish("a", "1", 2)
		m.Origin, m.Seq, m.Low = c.Origin, r.Seq, r.Low
		expect(t, "known", sh.do(Enqueue{Message: m}).Known, false)
		if i >= 5 {
			sh.do(Release{ClientID: "p", Epoch: c.Epoch, PacketID: uint16(1 + (i-5)%10)})
		}
		if n := len(sh.st.publishers.seen[c.Origin].above); n > 10 {
			t.Fatalf("%d numbers remembered", n)
		}
	}
	sh.do(Delete{ClientID: "p"})
	sh.now += lingering - session.Seconds(1)
	sh.settle()
	expect(t, "still remembered", len(sh.st.publishers.seen), 1)
	sh.now += session.Seconds(1)
	sh.settle()
	expect(t, "not worth an entry yet", len(sh.st.publishers.seen), 1)
	sh.now += forgetPatience
	sh.settle()
	expect(t, "forgotten", len(sh.st.publishers.seen), 0)
	expect(t, "forgotten by the replica", len(sh.replica.publishers.seen), 0)
}

// E5: as long as a will may be sent again, everybody knows it by its publisher.
func TestPublisherOfAWillUnderWay(t *testing.T) {
	sh := newManual(DefaultOptions())
	var done []func()
	sh.shard.world.Messenger = slowMessenger{sh.owner, &done}
	c := sh.do(Claim{ClientID: "p", Conn: 1, Expiry: 60, Will: &Will{Message: publish("w", "x", 1)}}).Claim
	sh.do(Delete{ClientID: "p"})
	m := publish("w", "x", 1)
	m.Origin, m.Seq = c.Origin, 1
	sh.do(Enqueue{Message: m})
	for range 5 {
		sh.now += lingering
		sh.settle()
		expect(t, "remembered", len(sh.st.publishers.seen), 1)
	}
	expect(t, "published", len(done), 1)
	done[0]()
	sh.settle()
	sh.now += lingering
	sh.settle()
	expect(t, "forgotten", len(sh.st.publishers.seen), 0)
	expect(t, "forgotten by the replica", len(sh.replica.publishers.seen), 0)
}

// slowMessenger keeps back what is to be told when a will is published.
type slowMessenger struct {
	Messenger
	done *[]func()
}

func (m slowMessenger) Publish(_ *session.Message, _, _ string, done func()) bool {
	*m.done = append(*m.done, done)
	return true
}

// fullMessenger has room for some wills.
type fullMessenger struct {
	Messenger
	room int
	took []uint64
}

func (m *fullMessenger) Publish(w *session.Message, _, _ string, _ func()) bool {
	if m.room == 0 {
		return false
	}
	m.room--
	m.took = append(m.took, w.Origin)
	return true
}

// P10, P6: wills for which the messenger has no room wait in the store and follow in
// their order.
func TestWillsWaitForRoom(t *testing.T) {
	sh := newManual(DefaultOptions())
	full := &fullMessenger{Messenger: sh.world.Messenger, room: 2}
	sh.world.Messenger = full
	var want []uint64
	for i := range 7 {
		id := fmt.Sprint(i)
		e := sh.do(Claim{ClientID: id, Conn: 1, Will: &Will{Message: publish("w", id, 1)}, Inflight: 1}).Claim.Epoch
		_, rec := sh.st.sessions.find([]byte(id))
		want = append(want, rec.Origin())
		sh.do(Detach{ClientID: id, Epoch: e, Fire: true})
		if i == 4 {
			full.room = 2
			sh.publishFrom(sh.unsent)
		}
	}
	expect(t, "taken before there is room", len(full.took), 4)
	full.room = 100
	sh.publishFrom(sh.unsent)
	if !slices.Equal(full.took, want) {
		t.Errorf("taken %v, not %v", full.took, want)
	}
	expect(t, "waiting", sh.unsent, 0)
}

// E5: a will of QoS 0 that is published again, under the same id, is passed on once.
func TestWillOfQoS0IsPassedOnOnce(t *testing.T) {
	sh := newManual(DefaultOptions())
	e := sh.do(Claim{ClientID: "c", Conn: 1, Expiry: 60, Inflight: 9}).Claim.Epoch
	sh.do(Subscribe{ClientID: "c", Epoch: e, Filters: []Subscription{subscription("#", 1)}})
	send := func(seq uint64, payload string) {
		m := publish("w", payload, 0)
		m.Origin, m.Seq = 1<<40|7, seq
		sh.submit(Transient{Message: m}, nil)
		sh.settle()
	}
	before := len(sh.owner.log)
	for _, seq := range []uint64{1, 1, 2, 1, 2} {
		send(seq, fmt.Sprint(seq))
	}
	expect(t, "passed on", len(sh.owner.log)-before, 2)
	for seq := range uint64(3 * maxOnce) {
		send(10+seq, "")
	}
	expect(t, "remembered", len(sh.st.fx.once.seen), maxOnce)
}

// P10: QoS 0 that comes faster than the shard works is dropped and counted, in
// bounded memory; the rest of what was submitted is not.
func TestInboxLimit(t *testing.T) {
	sh := newManual(DefaultOptions())
	e := sh.do(Claim{ClientID: "c", Conn: 1, Expiry: 60, Inflight: 9}).Claim.Epoch
	sh.do(Subscribe{ClientID: "c", Epoch: e, Filters: []Subscription{subscription("#", 1)}})
	dropped, payload := 0, string(make([]byte, 64<<10))
	for range 300 {
		sh.submit(Transient{Message: publish("a", payload, 0)}, func(r Result) { dropped += r.Dropped })
	}
	sh.submit(Enqueue{Message: publish("a", payload, 1)}, nil)
	if n := len(sh.inbox.bodies); n > maxInboxBytes+128<<10 {
		t.Fatalf("%d bytes wait", n)
	}
	sh.settle()
	expect(t, "pushed or dropped", len(sh.owner.log)+dropped, 301)
	if dropped < 100 || dropped > 200 {
		t.Errorf("%d dropped", dropped)
	}
}
