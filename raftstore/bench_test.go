package raftstore

import (
	"fmt"
	"runtime"
	"testing"

	"dunlin/proto/mqtt"
	"dunlin/router"
	"dunlin/session"
)

// deaf is an Owner that does nothing.
type deaf struct{ pushed int }

func (o *deaf) Evict(_ router.Subscriber, _ string, _ session.Epoch, done func()) { done() }
func (o *deaf) Push(_ router.Subscriber, _ session.Epoch, ds []Delivery)          { o.pushed += len(ds) }
func (o *deaf) Publish(*session.Message, string, string, func()) bool             { return true }
func (o *deaf) Forget(uint64)                                                     {}
func (o *deaf) Ended(router.Subscriber, session.Epoch, mqtt.Reason)               {}

// loaded is a shard with n attached sessions that subscribe to "t/1".
func loaded(b *testing.B, n int) (*manual, []session.Epoch) {
	b.Helper()
	o := DefaultOptions()
	o.Limits.QueuedBytes = 1 << 40
	m := newManual(o)
	m.solo.commit = nil
	m.shard.world = world{alone{&deaf{}}, &deaf{}}
	epochs := make([]session.Epoch, n)
	for i := range epochs {
		id := fmt.Sprint("client-", i)
		epochs[i] = m.do(Claim{ClientID: id, Conn: router.Subscriber(i + 1), Expiry: 3600, Inflight: 60000}).Claim.Epoch
		m.do(Subscribe{ClientID: id, Epoch: epochs[i], Filters: []Subscription{subscription("t/1", 1)}})
	}
	return m, epochs
}

// BenchmarkEnqueueAck is a message to each of n sessions and its acknowledgement,
// from Submit to the result, in batches of 64.
func BenchmarkEnqueueAck(b *testing.B) {
	for _, n := range []int{1, 100} {
		b.Run(fmt.Sprint("sessions=", n), func(b *testing.B) {
			m, epochs := loaded(b, n)
			msg := publish("t/1", string(make([]byte, 128)), 1)
			ids := make([]string, n)
			for i := range ids {
				ids[i] = fmt.Sprint("client-", i)
			}
			var acks Acks
			b.ReportAllocs()
			index := uint64(1)
			for b.Loop() {
				for range 64 {
					m.submit(Enqueue{From: "p", Message: msg}, nil)
				}
				m.settle()
				for i := range epochs {
					acks.Items = acks.Items[:0]
					for k := range uint64(64) {
						acks.Items = append(acks.Items, Ack{ClientID: ids[i], Epoch: epochs[i], Index: index + k})
					}
					m.submit(acks, nil)
				}
				m.settle()
				index += 64
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/64/float64(n), "ns/delivery")
		})
	}
}

func BenchmarkTransient(b *testing.B) {
	m, _ := loaded(b, 1)
	msg := publish("t/1", string(make([]byte, 128)), 0)
	b.ReportAllocs()
	for b.Loop() {
		for range 64 {
			m.submit(Transient{From: "p", Message: msg}, nil)
		}
		m.settle()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/64, "ns/msg")
}

// BenchmarkClaim is a new claim and its end.
func BenchmarkClaim(b *testing.B) {
	m, _ := loaded(b, 0)
	b.ReportAllocs()
	for b.Loop() {
		e := m.do(Claim{ClientID: "client", Conn: 1}).Claim.Epoch
		m.do(Detach{ClientID: "client", Epoch: e})
	}
}

// BenchmarkQueuedMessage reports what a message of 128 bytes costs in memory
// while one session waits for it, and while 100 do; and what an idle claim and a
// session with one subscription cost.
func BenchmarkMemory(b *testing.B) {
	heap := func() float64 {
		runtime.GC()
		runtime.GC()
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return float64(s.HeapAlloc)
	}
	for _, n := range []int{1, 100} {
		b.Run(fmt.Sprint("queued/sessions=", n), func(b *testing.B) {
			for range b.N {
				m, epochs := loaded(b, 0)
				for i := range n {
					id := fmt.Sprint(i)
					e := m.do(Claim{ClientID: id, Expiry: 3600, MaxQueueMessages: 1 << 20, MaxQueueBytes: 1 << 30}).Claim.Epoch
					m.do(Subscribe{ClientID: id, Epoch: e, Filters: []Subscription{subscription("t/1", 1)}})
					m.do(Detach{ClientID: id, Epoch: e})
				}
				_ = epochs
				msg := publish("t/1", string(make([]byte, 128)), 1)
				before := heap()
				const messages = 60000
				for range messages {
					m.do(Enqueue{Message: msg})
				}
				b.ReportMetric((heap()-before)/messages, "B/message")
				runtime.KeepAlive(m)
			}
		})
	}
	for name, expiry := range map[string]uint32{"claim": 0, "session": 3600} {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				m, _ := loaded(b, 0)
				const sessions = 50000
				before := heap()
				for i := range sessions {
					id := fmt.Sprintf("client-%06d", i)
					e := m.do(Claim{ClientID: id, Conn: 5, Expiry: expiry}).Claim.Epoch
					if expiry > 0 {
						m.do(Subscribe{ClientID: id, Epoch: e, Filters: []Subscription{subscription(fmt.Sprint("t/", i), 1)}})
					}
				}
				b.ReportMetric((heap()-before)/sessions, "B/session")
				runtime.KeepAlive(m)
			}
		})
	}
}
