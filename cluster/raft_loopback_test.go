package cluster_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"

	"dunlin/cluster"
	"dunlin/router"
)

// threeNodes is three nodes of this process that meet over real sockets, with n
// groups each.
type threeNodes struct {
	nodes   [3]*cluster.Cluster
	groups  [3]*groups
	sockets [3]sockets
	reg     *prometheus.Registry
}

// sockets are those of a node's cluster port and of its calls to others'. To kill
// them is what a kernel does for a process that is killed.
type sockets struct {
	mu     sync.Mutex
	killed bool
	open   []io.Closer
}

func (s *sockets) add(c io.Closer) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.killed {
		_ = c.Close()
		return net.ErrClosed
	}
	s.open = append(s.open, c)
	return nil
}

func (s *sockets) kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.killed = true
	for _, c := range s.open {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = c.Close()
	}
}

func (s *sockets) listen(addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	return tracked{l, s}, s.add(l)
}

func (s *sockets) dial(ctx context.Context, addr string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return c, s.add(c)
}

type tracked struct {
	net.Listener
	s *sockets
}

func (l tracked) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return c, l.s.add(c)
}

func newThreeNodes(t testing.TB, n int) *threeNodes {
	t.Helper()
	l := &threeNodes{reg: prometheus.NewRegistry()}
	for i := range l.nodes {
		o := cluster.DefaultOptions()
		o.Name, o.Identity, o.Start = string(rune('a'+i)), "id-"+string(rune('a'+i)), 1
		o.Cluster = "ours"
		o.GossipAddr, o.ClusterAddr = "127.0.0.1:0", "127.0.0.1:0"
		o.Logger = slog.New(slog.DiscardHandler)
		o.Dial, o.Listen = l.sockets[i].dial, l.sockets[i].listen
		o.Registerer = prometheus.WrapRegistererWith(prometheus.Labels{"on": o.Name}, l.reg)
		if i > 0 {
			o.Join = []string{l.nodes[0].GossipAddr()}
		}
		c, err := cluster.New(o, router.NewTable(), &counter{})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		l.nodes[i] = c
	}
	for _, c := range l.nodes {
		for !met(c, 3) {
			time.Sleep(time.Millisecond)
		}
	}
	for i, c := range l.nodes {
		l.groups[i] = startGroups(t, c, n, "id-a", "id-b", "id-c")
	}
	led(t, 20*time.Second, l.groups[:]...)
	return l
}

func (l *threeNodes) stop(t testing.TB) {
	t.Helper()
	for _, g := range l.groups {
		if g != nil {
			g.stop()
		}
	}
	for i := range l.nodes {
		if err := l.nodes[i].Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// bytesOut is what all nodes have sent in batches.
func (l *threeNodes) bytesOut(t testing.TB) (n float64) {
	t.Helper()
	fams, err := l.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range fams {
		if strings.HasSuffix(f.GetName(), "cluster_bytes_out_total") {
			for _, m := range f.GetMetric() {
				n += m.GetCounter().GetValue()
			}
		}
	}
	return n
}

func TestGroupsOverLoopback(t *testing.T) {
	before := runtime.NumGoroutine()
	l := newThreeNodes(t, shards)
	for id := range shards {
		for k := range 20 {
			if err := commit(id, fmt.Sprint(id, k), l.groups[:]...); err != nil {
				t.Fatal(err)
			}
		}
	}
	same(t, l.groups[:]...)

	// What a led goes to the others at once; without the detector that would take
	// seconds.
	had := l.groups[0].leads()
	l.sockets[0].kill()
	began := time.Now()
	led(t, 20*time.Second, l.groups[1:]...)
	t.Logf("%d groups followed after %v", had, time.Since(began))
	if stood := l.groups[1].net.Stood() + l.groups[2].net.Stood(); had > 0 && stood == 0 {
		t.Errorf("a led %d groups, and nobody stood for one", had)
	}
	l.groups[0].stop()
	l.groups[0] = nil
	same(t, l.groups[1:]...)
	l.stop(t)
	for try := 0; runtime.NumGoroutine() > before; try++ {
		if try == 500 {
			all := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d before\n%s", runtime.NumGoroutine(), before, all[:runtime.Stack(all, true)])
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// BenchmarkIdleGroups is a second in which nothing is committed, for the three
// replicas of a group together: bytes of batches and CPU time.
func BenchmarkIdleGroups(b *testing.B) {
	l := newThreeNodes(b, shards)
	defer l.stop(b)
	time.Sleep(time.Second)
	from, used := l.bytesOut(b), cpu()
	b.ResetTimer()
	for range b.N {
		time.Sleep(time.Second)
	}
	b.StopTimer()
	per := float64(b.N) * shards
	b.ReportMetric((l.bytesOut(b)-from)/per, "B/group/s")
	b.ReportMetric(float64((cpu()-used).Microseconds())/per, "cpu-us/group/s")
}

// BenchmarkCommit is an entry of 1 KB, committed on three nodes in this process
// without a disk, so many under way at a time: bytes sent and CPU time of all
// three.
func BenchmarkCommit(b *testing.B) {
	for _, ahead := range []int{1, 32} {
		b.Run(fmt.Sprint(ahead), func(b *testing.B) {
			l := newThreeNodes(b, 1)
			defer l.stop(b)
			var leader *raft.Raft
			for _, g := range l.groups {
				if g.rafts[0].State() == raft.Leader {
					leader = g.rafts[0]
				}
			}
			data := make([]byte, 1<<10)
			var futures []raft.ApplyFuture
			from, used := l.bytesOut(b), cpu()
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				futures = append(futures, leader.Apply(data, 0))
				for len(futures) == ahead || i == b.N-1 && len(futures) > 0 {
					if err := futures[0].Error(); err != nil {
						b.Fatal(err)
					}
					futures = futures[1:]
				}
			}
			b.StopTimer()
			b.ReportMetric((l.bytesOut(b)-from)/float64(b.N), "B-sent/op")
			b.ReportMetric(float64(cpu()-used)/float64(b.N), "cpu-ns/op")
		})
	}
}
