package broker

import (
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"runtime/metrics"
	"testing"
	"time"

	"dunlin/node/auth"
	"dunlin/node/listen"
	"dunlin/proto/mqtt"
	"dunlin/raftstore"
	"dunlin/router"
	"dunlin/session"
)

var idleSessions = flag.Int("idle", 100_000, "sessions of BenchmarkCollect")

// BenchmarkCollect measures what a garbage collection costs with so many connections
// that do nothing, each with a client identifier and a subscription: -idle=1000000 is
// the case that the slabs are for. One operation is one collection.
func BenchmarkCollect(b *testing.B) {
	l := newDeafLoop(b)
	w := l.worker
	before := heapNow()
	info := listen.Info{Listener: "mqtt", Remote: netip.MustParseAddrPort("127.0.0.1:9"), Loopback: true}
	var packets []byte
	for i := range *idleSessions {
		id := listen.ID(1<<32 | uint64(i))
		packets = (&mqtt.Connect{Version: mqtt.V5, CleanStart: true, ClientID: fmt.Appendf(nil, "idle-%07d", i)}).Append(packets[:0], mqtt.V5)
		packets = (&mqtt.Subscribe{PacketID: 1, Filters: []mqtt.Subscription{{
			Filter: fmt.Appendf(nil, "idle/%07d/down", i), RetainHandling: 2,
		}}}).Append(packets, mqtt.V5)
		w.Open(id, info)
		for rest := packets; len(rest) > 0; {
			n, _ := w.Receive(id, rest)
			rest = rest[n:]
		}
		if w.Turn(); i%256 == 0 {
			l.take(w)
		}
	}
	l.take(w)
	if n := w.counters.Connected; int(n) != *idleSessions || w.subscriptions != *idleSessions {
		b.Fatalf("%d connected, %d subscriptions", n, w.subscriptions)
	}
	after := heapNow()
	marking := cpuMarking()
	b.ResetTimer()
	for range b.N {
		runtime.GC()
	}
	b.StopTimer()
	n := float64(*idleSessions)
	b.ReportMetric(1e3*(cpuMarking()-marking)/float64(b.N), "cpu-ms/op")
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "B/session")
	b.ReportMetric(float64(after.HeapObjects-before.HeapObjects)/n, "objects/session")
	b.ReportMetric(float64(after.PauseNs[(after.NumGC+255)%256])/1e3, "pause-us")
	runtime.KeepAlive(w)
}

func heapNow() (m runtime.MemStats) {
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m
}

// cpuMarking is the processor time of all marking so far, in seconds.
func cpuMarking() (sum float64) {
	s := []metrics.Sample{
		{Name: "/cpu/classes/gc/mark/assist:cpu-seconds"}, {Name: "/cpu/classes/gc/mark/dedicated:cpu-seconds"},
		{Name: "/cpu/classes/gc/mark/idle:cpu-seconds"},
	}
	metrics.Read(s)
	for i := range s {
		sum += s[i].Value.Float64()
	}
	return sum
}

// What a message costs makes no garbage, on its way from one connection of a loop to
// another and with its answer.
func TestPublishMakesNoGarbage(t *testing.T) {
	l := newDeafLoop(t)
	w := l.worker
	const sub, pub = listen.ID(1 << 32), listen.ID(1<<32 | 1)
	give := func(id listen.ID, p interface {
		Append([]byte, mqtt.Version) []byte
	}) {
		w.Receive(id, p.Append(nil, mqtt.V5))
		w.Turn()
		l.take(w)
	}
	for _, id := range []listen.ID{sub, pub} {
		w.Open(id, listen.Info{Listener: "mqtt", Remote: netip.MustParseAddrPort("127.0.0.1:9"), Loopback: true})
		give(id, &mqtt.Connect{Version: mqtt.V5, CleanStart: true, ClientID: fmt.Append(nil, id)})
	}
	give(sub, &mqtt.Subscribe{PacketID: 1, Filters: []mqtt.Subscription{{Filter: []byte("t"), RetainHandling: 2}}})
	for _, qos := range []mqtt.QoS{0, 1} {
		p := mqtt.Publish{Topic: []byte("t"), Payload: make([]byte, 128), QoS: qos}
		if qos > 0 {
			p.PacketID = 7
		}
		packet := p.Append(nil, mqtt.V5)
		sent := w.counters.Sent[0]
		if n := testing.AllocsPerRun(1000, func() {
			w.Receive(pub, packet)
			w.Turn()
		}); n >= 1 {
			t.Errorf("QoS %d: %.0f allocations a message", qos, n)
		}
		if n := w.counters.Sent[0] - sent; n != 1001 {
			t.Errorf("QoS %d: %d messages sent", qos, n)
		}
	}
}

// deafLoop is a listen.Loop whose connections hold nothing.
type deafLoop struct {
	worker *worker
	start  time.Time
	out    []byte
	posted chan any
}

func (l *deafLoop) take(w *worker) {
	for {
		select {
		case m := <-l.posted:
			w.Mail(m)
		default:
			return
		}
	}
}

func (l *deafLoop) Index() int                       { return 0 }
func (l *deafLoop) Now() time.Duration               { return time.Since(l.start) }
func (l *deafLoop) Begin(listen.ID) []byte           { return l.out[:0] }
func (l *deafLoop) End(_ listen.ID, b []byte)        { l.out = b }
func (l *deafLoop) Unsent(listen.ID) int             { return 0 }
func (l *deafLoop) Await(listen.ID)                  {}
func (l *deafLoop) Close(listen.ID)                  {}
func (l *deafLoop) SetIdle(listen.ID, time.Duration) {}
func (l *deafLoop) Pause(listen.ID)                  {}
func (l *deafLoop) Resume(listen.ID)                 {}
func (l *deafLoop) Post(m any)                       { l.posted <- m }

// newDeafLoop makes a broker with one worker.
func newDeafLoop(t testing.TB) *deafLoop {
	t.Helper()
	start := time.Now()
	node := &testNode{table: router.NewTable()}
	node.cell = &cell{nodes: []*testNode{node}}
	node.b = New(Options{
		Session: session.Limits{ReceiveMaximum: 20, MaximumPacketSize: 1 << 20, MaxInflight: 20, MaxQueueMessages: 1000, MaxQueueBytes: 1 << 20},
		Policy:  session.Policy{MaxSessionExpiry: 3600}, ConnectTimeout: time.Minute, MaxSubscriptions: 100, MaxUnsent: 1 << 20,
		Auth: auth.Anonymous{}, Access: auth.Denied{},
		Clock: func() session.Time { return session.Time(time.Since(start)) }, Log: slog.New(slog.DiscardHandler),
	}, node.table)
	o := raftstore.DefaultOptions()
	o.Routes, o.Logger = node.table, node.b.Log
	store, err := raftstore.Open(o, node.b, node.b)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	node.b.Attach(store, store, store, node, node)
	l := &deafLoop{start: start, posted: make(chan any, 1<<16)}
	l.worker = node.b.Worker(l).(*worker)
	node.b.Accept(true)
	return l
}
