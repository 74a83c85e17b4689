package log_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"

	"dunlin/raftstore/log"
)

// BenchmarkStore has groups store entries of 1 KB at once, each its next when
// the last one is stored. An operation is one entry of one group.
func BenchmarkStore(b *testing.B) {
	for _, groups := range []int{1, 4, 17} {
		b.Run(fmt.Sprintf("groups=%d", groups), func(b *testing.B) {
			o := log.DefaultOptions()
			o.SegmentBytes = 2 << 20 // soon into segments that were used before
			registry := prometheus.NewRegistry()
			o.Registerer = registry
			l, err := log.Open(b.TempDir(), o)
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			data := make([]byte, 1<<10)
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			syncs, written := counter(b, registry, "syncs_total"), counter(b, registry, "written_bytes_total")
			var wg sync.WaitGroup
			b.ResetTimer()
			for id := range groups {
				wg.Go(func() {
					g := l.Group(uint16(id))
					for i := uint64(1); i <= uint64(b.N/groups+1); i++ {
						if err := g.StoreLog(&raft.Log{Index: i, Term: 1, Data: data}); err != nil {
							b.Error(err)
							return
						}
						if i%4096 == 0 {
							if err := g.DeleteRange(0, i-1024); err != nil {
								b.Error(err)
								return
							}
						}
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			b.ReportMetric((counter(b, registry, "syncs_total")-syncs)/float64(b.N), "syncs/op")
			b.ReportMetric((counter(b, registry, "written_bytes_total")-written)/float64(b.N), "written-B/op")
		})
	}
}

// BenchmarkSet has groups store a stable value at once, as when all vote.
func BenchmarkSet(b *testing.B) {
	for _, groups := range []int{1, 17} {
		b.Run(fmt.Sprintf("groups=%d", groups), func(b *testing.B) {
			o := log.DefaultOptions()
			l, err := log.Open(b.TempDir(), o)
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			var wg sync.WaitGroup
			b.ResetTimer()
			for id := range groups {
				wg.Go(func() {
					for i := range b.N/groups + 1 {
						if err := l.Group(uint16(id)).SetUint64([]byte("term"), uint64(i)); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

// BenchmarkGet reads entries of 1 KB from memory and from the page cache.
func BenchmarkGet(b *testing.B) {
	for name, cache := range map[string]int{"cached": 8 << 20, "disk": 0} {
		b.Run(name, func(b *testing.B) {
			o := log.DefaultOptions()
			o.CacheBytes = cache
			l, err := log.Open(b.TempDir(), o)
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			g := l.Group(1)
			var logs []*raft.Log
			for i := range uint64(1024) {
				logs = append(logs, &raft.Log{Index: i + 1, Term: 1, Data: make([]byte, 1<<10)})
			}
			store(b, g, logs)
			b.ReportAllocs()
			var entry raft.Log
			for i := 0; b.Loop(); i++ {
				if err := g.GetLog(uint64(i%1024+1), &entry); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// counter reads one of the log's counters.
func counter(b *testing.B, registry *prometheus.Registry, name string) float64 {
	b.Helper()
	families, err := registry.Gather()
	if err != nil {
		b.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "dunlin_raft_log_"+name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	b.Fatalf("no counter %s", name)
	return 0
}
