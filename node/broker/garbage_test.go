package broker

import (
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"syscall"
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
	cpu := cpuTime()
	b.ResetTimer()
	for range b.N {
		runtime.GC()
	}
	b.StopTimer()
	n := float64(*idleSessions)
	b.ReportMetric(1e3*(cpuTime()-cpu)/float64(b.N), "cpu-ms/op")
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

// cpuTime is what the process has used of the processors, in seconds.
func cpuTime() float64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// BenchmarkConnect is the life of a connection: it comes, subscribes and goes, beside
// others in its chunk.
func BenchmarkConnect(b *testing.B) {
	l := newDeafLoop(b)
	w := l.worker
	info := listen.Info{Listener: "mqtt", Remote: netip.MustParseAddrPort("127.0.0.1:9"), Loopback: true}
	subscribe := (&mqtt.Subscribe{PacketID: 1, Filters: []mqtt.Subscription{{Filter: []byte("some/filter/of/its/own"), RetainHandling: 2}}}).Append(nil, mqtt.V5)
	var connects [slabChunk][]byte
	for i := range connects {
		connects[i] = (&mqtt.Connect{Version: mqtt.V5, CleanStart: true, ClientID: fmt.Append(nil, "client-", i)}).Append(nil, mqtt.V5)
	}
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		place, generation := n%slabChunk, n/slabChunk+1
		id := listen.ID(generation<<32 | place)
		if generation > 1 {
			w.Closed(id-1<<32, nil)
		}
		w.Open(id, info)
		w.Receive(id, connects[place])
		w.Receive(id, subscribe)
		w.Turn()
		l.take(w)
	}
}

// BenchmarkPublish is one message from one connection of a loop to another.
func BenchmarkPublish(b *testing.B) {
	for _, qos := range []mqtt.QoS{0, 1} {
		b.Run(fmt.Sprintf("QoS%d", qos), func(b *testing.B) {
			publish := newPublishing(b, qos)
			b.ReportAllocs()
			for b.Loop() {
				publish()
			}
		})
	}
}

// What a message costs makes no garbage, on its way from one connection of a loop to
// another and with its answer.
func TestPublishMakesNoGarbage(t *testing.T) {
	for _, qos := range []mqtt.QoS{0, 1} {
		if n := testing.AllocsPerRun(1000, newPublishing(t, qos)); n >= 1 {
			t.Errorf("QoS %d: %.0f allocations a message", qos, n)
		}
	}
}

// newPublishing returns what publishes a message to a connection of the same loop, which
// has it sent.
func newPublishing(t testing.TB, qos mqtt.QoS) (publish func()) {
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
	p := mqtt.Publish{Topic: []byte("t"), Payload: make([]byte, 128), QoS: qos}
	if qos > 0 {
		p.PacketID = 7
	}
	packet := p.Append(nil, mqtt.V5)
	sent := w.counters.Sent[0]
	return func() {
		w.Receive(pub, packet)
		w.Turn()
		if sent++; w.counters.Sent[0] != sent {
			t.Fatalf("QoS %d: %d messages sent, want %d", qos, w.counters.Sent[0], sent)
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
func (l *deafLoop) Probe(listen.ID)                  {}
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
