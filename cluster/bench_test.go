package cluster_test

import (
	"log/slog"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"dunlin/cluster"
	"dunlin/router"
)

// counter is a Receiver that counts records and is done with them at once.
type counter struct {
	records, confirmed atomic.Int64
}

func (c *counter) Forwarded(_ router.NodeID, body []byte, done func()) {
	n := int64(0)
	for len(body) > 0 {
		var err error
		if _, body, err = cluster.ReadRecord(body); err != nil {
			panic(err)
		}
		n++
	}
	c.records.Add(n)
	if done != nil {
		done()
	}
}
func (c *counter) Confirmed(router.NodeID, cluster.Token, cluster.Fate) { c.confirmed.Add(1) }
func (c *counter) Forgotten(router.NodeID)                              {}
func (c *counter) Joined(cluster.Node)                                  {}
func (c *counter) Left(cluster.Node)                                    {}

// BenchmarkForward is one message of 128 bytes from node to node over loopback,
// both nodes in this process, with so many messages in a frame. cpu-ns/op is
// what the process takes for it, system included.
func BenchmarkForward(b *testing.B) {
	for _, bc := range []struct {
		name     string
		batch    int
		reliable bool
	}{
		{"unreliable/1", 1, false},
		{"unreliable/32", 32, false},
		{"reliable/1", 1, true},
		{"reliable/32", 32, true},
	} {
		b.Run(bc.name, func(b *testing.B) { benchmarkForward(b, bc.batch, bc.reliable) })
	}
}

func benchmarkForward(b *testing.B, batch int, reliable bool) {
	var ends [2]*cluster.Cluster
	var counters [2]counter
	for i := range ends {
		o := cluster.DefaultOptions()
		o.Name, o.Identity, o.Start = string(rune('a'+i)), string(rune('a'+i)), 1
		o.Cluster = "ours"
		o.GossipAddr, o.ClusterAddr = "127.0.0.1:0", "127.0.0.1:0"
		o.Logger = slog.New(slog.DiscardHandler)
		if i == 1 {
			o.Join = []string{ends[0].GossipAddr()}
		}
		c, err := cluster.New(o, router.NewTable(), &counters[i])
		if err != nil {
			b.Fatal(err)
		}
		if err := c.Start(b.Context()); err != nil {
			b.Fatal(err)
		}
		defer func() { _ = c.Shutdown(b.Context()) }()
		ends[i] = c
	}
	for !met(ends[0], 2) || !met(ends[1], 2) {
		time.Sleep(time.Millisecond)
	}
	to := ends[0].Nodes()[1].ID
	message := make([]byte, 128)
	got := &counters[1].records
	const ahead = 1 << 14 // messages on their way

	b.ReportAllocs()
	b.SetBytes(128)
	b.ResetTimer()
	before := cpu()
	sent := int64(0)
	for sent < int64(b.N) {
		body := ends[0].Buffer()
		n := min(batch, b.N-int(sent))
		for range n {
			body = cluster.AppendMessage(body, message)
		}
		if !ends[0].Forward(to, cluster.Frame{Body: body, Reliable: reliable}) {
			b.Fatal("forward refused")
		}
		sent += int64(n)
		for sent-got.Load() > ahead {
			time.Sleep(10 * time.Microsecond)
		}
	}
	for got.Load() < int64(b.N) {
		time.Sleep(10 * time.Microsecond)
		if ends[0].Nodes()[1].ID != to {
			b.Fatal("the peer was declared gone")
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(cpu()-before)/float64(b.N), "cpu-ns/op")
}

// cpu is what this process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
