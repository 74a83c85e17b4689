package shardnet

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"dunlin/proto/mqtt"
	"dunlin/raftstore"
	"dunlin/router"
	"dunlin/session"
)

func same(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

func delivery(t testing.TB, index uint64, qos mqtt.QoS, payload string) raftstore.Delivery {
	return raftstore.Delivery{Index: index, QoS: qos, Message: session.Message{Topic: topic(t, "x"), Payload: []byte(payload)}}
}

// What a leader has for an owner comes to the owner's node, in order, wherever
// that is.
func TestOwnersAreReached(t *testing.T) {
	inMesh(t, 2, func(t *testing.T, m *mesh) {
		a := m.nodes[0]
		for _, at := range m.nodes {
			d := delivery(t, 7, 1, "seven")
			d.IDs = []uint32{3}
			a.Push(at.number, 1<<56|5, 9, []raftstore.Delivery{d, delivery(t, 0, 0, "none")})
			a.Ended(at.number, 6, 10, mqtt.SessionTakenOver)
			handed := false
			began := time.Now()
			a.Evict(at.number, 8, "client", 11, func() { handed = true })
			synctest.Wait()
			time.Sleep(5 * time.Millisecond)
			synctest.Wait()
			if !handed || time.Since(began) > 5*time.Millisecond {
				t.Errorf("node %d handed over: %v", at.number, handed)
			}
			same(t, name(at.number), at.broker.said(), fmt.Sprintf("push %d 9: 7 seven [3]", 1<<56|5),
				fmt.Sprintf("push %d 9: 0 none []", 1<<56|5), "ended 6 10 0x8e", "evict 8 client 11")
		}
	})
}

func TestEvictionsEnd(t *testing.T) {
	inMesh(t, 2, func(t *testing.T, m *mesh) {
		a, b := m.nodes[0], m.nodes[1]
		b.broker.hold = true
		handed := 0
		for range 100 {
			a.Evict(2, 8, "client", 11, func() { handed++ })
		}
		time.Sleep(2 * time.Second)
		a.Evict(2, 8, "client", 11, func() { handed++ })
		if n := len(a.evictions.waiting); n != 1 || len(a.evictions.asked) != 1 || handed != 0 {
			t.Errorf("%d evictions are remembered, %d were answered", n, handed)
		}
		// A node that cannot be reached hands nothing over: nobody waits for it.
		m.part(0, 1, true)
		time.Sleep(time.Millisecond)
		a.Evict(2, 8, "client", 11, func() { handed++ })
		a.Evict(9, 8, "client", 11, func() { handed++ })
		if handed != 2 {
			t.Errorf("%d of 2 were given up", handed)
		}
		// A number of nobody's is nobody's.
		a.evictions.close(1)
	})
}

// P10: however many owners are asked within the time that an answer counts, no more
// than so many are remembered. The latest are, and each answer counts once.
func TestEvictionsAreBounded(t *testing.T) {
	synctest.Test(t, testEvictionsAreBounded)
}

func testEvictionsAreBounded(t *testing.T) {
	var e evictions
	forgotten := prometheus.NewCounter(prometheus.CounterOpts{Name: "forgotten"})
	e.init(forgotten)
	handed := make(map[int]int)
	var numbers []uint64
	const extra = 10
	for i := range maxEvictions + extra {
		number := e.open(func() { handed[i]++ })
		if numbers = append(numbers, number); i == 0 {
			e.close(number) // answered: it is not one of those forgotten
		}
	}
	if len(e.waiting) != maxEvictions || len(e.asked) != maxEvictions {
		t.Errorf("%d wait, of %d asked", len(e.waiting), len(e.asked))
	}
	for range 2 {
		for _, number := range numbers {
			e.close(number)
		}
	}
	for i := range numbers {
		want := 1
		if i > 0 && i < extra {
			want = 0
		}
		if handed[i] != want {
			t.Errorf("eviction %d was answered %d times", i, handed[i])
		}
	}
	var counted dto.Metric
	if err := forgotten.Write(&counted); err != nil || counted.Counter.GetValue() != extra-1 {
		t.Errorf("%v forgotten, %v", counted.Counter, err)
	}
}

// A node that does not take what comes loses QoS 0, and nothing else.
func TestBacklogCostsQoS0(t *testing.T) {
	inMesh(t, 2, func(t *testing.T, m *mesh) {
		a, b := m.nodes[0], m.nodes[1]
		var ds []raftstore.Delivery
		for i := range uint64(30) {
			ds = append(ds, delivery(t, i+1, 1, string(make([]byte, 1<<20))), delivery(t, 0, 0, "passing"))
		}
		a.Push(2, 5, 1, ds[:20])
		a.Push(2, 5, 1, ds[20:])
		a.Push(2, 6, 1, ds[1:2])
		time.Sleep(time.Second)
		passing, kept := 0, 0
		for _, line := range b.broker.said() {
			if len(line) < 100 {
				passing++
			} else {
				kept++
			}
		}
		if kept != 30 || passing != 10 {
			t.Errorf("%d of 30 and %d of 10 came", kept, passing)
		}
		a.Push(2, 6, 1, ds[1:2])
		time.Sleep(time.Millisecond)
		if n := len(b.broker.said()); n != 41 {
			t.Errorf("%d lines after the backlog is gone", n)
		}
	})
}

// After each loss the store is told to push again, also where the node could not
// be named at first.
func TestLossesAreToldOf(t *testing.T) {
	inMesh(t, 3, func(t *testing.T, m *mesh) {
		a := m.nodes[0]
		s := &shards{}
		a.Attach(s)
		m.sever(0, 1)
		time.Sleep(time.Second)
		same(t, "a stream broke", s.said(), "again 2")

		m.mu.Lock()
		a.hidden = map[string]bool{"n2": true}
		m.mu.Unlock()
		a.Push(2, 5, 1, []raftstore.Delivery{delivery(t, 1, 1, "x")})
		time.Sleep(time.Second)
		same(t, "a node without a name", s.said())
		m.mu.Lock()
		a.hidden = nil
		m.mu.Unlock()
		time.Sleep(time.Second)
		same(t, "a name", s.said(), "again 2")

		m.mu.Lock()
		a.hidden = map[string]bool{"n3": true}
		m.mu.Unlock()
		m.sever(0, 2)
		time.Sleep(time.Second)
		same(t, "a stream of a node without a number", s.said())
		m.mu.Lock()
		a.hidden = nil
		m.mu.Unlock()
		time.Sleep(time.Second)
		same(t, "a number", s.said(), "again 3")

		m.mu.Lock()
		a.hidden = map[string]bool{"n3": true}
		m.mu.Unlock()
		a.Push(3, 5, 1, []raftstore.Delivery{delivery(t, 1, 1, "x")})
		time.Sleep(2 * lookFor)
		if a.again.mu.looking {
			t.Error("still looks for a node that never was")
		}
	})
}

// Who led a shard and has left the cluster since is not named for its leader: who
// asks one of the replicas hears who is.
func TestALeaderThatLeftIsForgotten(t *testing.T) {
	inMesh(t, 3, func(t *testing.T, m *mesh) {
		a := m.nodes[0]
		a.hints.Lock()
		a.hints.of[0].at = 3
		a.hints.Unlock()
		m.mu.Lock()
		a.hidden = map[string]bool{"n3": true}
		m.mu.Unlock()
		if at, ok := a.Leader(0); !ok || at != 2 {
			t.Errorf("node %d, %v", at, ok)
		}
	})
}

// Asks find the leader by what nodes say, and then stay with it.
func TestLeadersAreFound(t *testing.T) {
	inMesh(t, 3, func(t *testing.T, m *mesh) {
		leader := "n3"
		stores := make([]*shards, 3)
		for i, n := range m.nodes {
			stores[i] = &shards{serve: func(sh router.ShardID, frame []byte, reply func([]byte)) {
				reply(append([]byte(n.raft.Self()+" got "), frame...))
			}}
			if i > 0 {
				n.leader = func(router.ShardID) (string, bool) { return leader, leader != "" }
			}
			n.Attach(stores[i])
		}
		a := m.nodes[0]
		ask := func() (answer string, at raftstore.Node) {
			at, ok := a.Leader(5)
			if !ok {
				t.Fatal("nobody to ask")
			}
			done := make(chan struct{})
			a.Ask(at, 5, []byte("frame"), func(b []byte, err error) {
				answer = string(b)
				if err != nil {
					answer = "failed"
				}
				close(done)
			})
			<-done
			synctest.Wait()
			return answer, at
		}
		if answer, at := ask(); at != 2 || answer != "n2 got frame" {
			t.Errorf("first: %d, %s", at, answer)
		}
		same(t, "moved", stores[0].said(), "moved 5")
		for range 3 {
			if answer, at := ask(); at != 3 || answer != "n3 got frame" {
				t.Errorf("then: %d, %s", at, answer)
			}
		}
		same(t, "moved", stores[0].said())

		// Nobody leads: the others in turn, without a word to the store.
		leader = ""
		var order []raftstore.Node
		for range 4 {
			_, at := ask()
			order = append(order, at)
		}
		if fmt.Sprint(order) != "[3 2 3 2]" {
			t.Errorf("asked %v", order)
		}
		same(t, "moved", stores[0].said())

		// The leader's node is gone: the next one.
		leader = "n3"
		ask()
		m.part(0, 2, true)
		time.Sleep(time.Millisecond)
		leader = "n2"
		if answer, at := ask(); at != 3 || answer != "failed" {
			t.Errorf("parted: %d, %s", at, answer)
		}
		if answer, at := ask(); at != 2 || answer != "n2 got frame" {
			t.Errorf("after that: %d, %s", at, answer)
		}

		// What its own replica knows comes first, unless that node says another.
		a.leader = func(router.ShardID) (string, bool) { return "n2", true }
		leader = "n3"
		m.part(0, 2, false)
		time.Sleep(100 * time.Millisecond)
		if _, at := ask(); at != 2 {
			t.Errorf("asked %d", at)
		}
		for range 3 {
			if _, at := ask(); at != 3 {
				t.Errorf("asked %d", at)
			}
		}
		a.leader = func(router.ShardID) (string, bool) { return "n1", true }
		if at, ok := a.Leader(5); !ok || at != 1 {
			t.Errorf("leads itself: %d, %v", at, ok)
		}
	})
}

// A node that fell silent, on streams that are whole, is not thought to lead for
// long where no replica knows better.
func TestSilentNodeIsNotAsked(t *testing.T) {
	inMesh(t, 3, func(t *testing.T, m *mesh) {
		a := m.nodes[0]
		if at, ok := a.Leader(5); !ok || at != 2 {
			t.Fatalf("first: %d, %v", at, ok)
		}
		silence := a.raft.Silence()
		time.Sleep(2 * silence)
		if at, ok := a.Leader(5); !ok || at != 2 {
			t.Fatalf("not silent: %d, %v", at, ok)
		}
		m.part(0, 1, true)
		time.Sleep(silence - time.Second)
		if at, ok := a.Leader(5); !ok || at != 2 {
			t.Errorf("too early: %d, %v", at, ok)
		}
		time.Sleep(time.Second)
		for range 3 {
			if at, ok := a.Leader(5); !ok || at != 3 {
				t.Errorf("silent: %d, %v", at, ok)
			}
		}
	})
}

// An ask never waits, and ends once whatever happens.
func TestAsksEnd(t *testing.T) {
	inMesh(t, 2, func(t *testing.T, m *mesh) {
		a, b := m.nodes[0], m.nodes[1]
		var ends atomic.Int32
		end := func(_ []byte, err error) {
			if err == nil {
				t.Error("answered")
			}
			ends.Add(1)
		}
		wait := func(what string, want int32) {
			t.Helper()
			time.Sleep(time.Millisecond)
			if n := ends.Swap(0); n != want {
				t.Errorf("%s: %d of %d ended", what, n, want)
			}
		}
		a.Ask(2, 5, nil, end)
		wait("nothing attached", 1)
		a.Ask(7, 5, nil, end)
		wait("no such node", 1)
		b.Attach(&shards{serve: func(router.ShardID, []byte, func([]byte)) {}})
		began := time.Now()
		for range 100 {
			a.Ask(2, 5, make([]byte, 1<<20), end)
		}
		if time.Since(began) > 0 {
			t.Error("waited for room")
		}
		time.Sleep(time.Millisecond)
		if n := ends.Load(); n == 0 || n == 100 {
			t.Errorf("%d of 100 ended at once", n)
		}
		m.sever(0, 1)
		wait("the stream broke", 100)
	})
}

// What does not parse costs the peer its stream, and nothing else (case 53).
func TestDamagedRecordsEndTheStream(t *testing.T) {
	inMesh(t, 2, func(t *testing.T, m *mesh) {
		a, b := m.nodes[0], m.nodes[1]
		if err := b.owned("n1", 0, []byte("damaged")); err == nil {
			t.Error("a damaged push was taken")
		}
		var why error
		b.handedOver("n1", 0, []byte{recordVersion}, func(_ []byte, err error) { why = err })
		if why == nil {
			t.Error("a damaged handover was taken")
		}
		a.Push(2, 5, 1, []raftstore.Delivery{delivery(t, 1, 1, "x")})
		time.Sleep(time.Millisecond)
		same(t, "afterwards", b.broker.said(), "push 5 1: 1 x []")
	})
}
