package log_test

import (
	"testing"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"

	"dunlin/raftstore/log"
	"dunlin/raftstore/log/logtest"
)

// P10: what is kept of entries in memory is bounded by what it takes there, with room that its bytes
// have and do not use; it is told, and goes with the entries.
func TestMemoryBounded(t *testing.T) {
	reg := prometheus.NewRegistry()
	o := log.DefaultOptions()
	o.FS, o.CacheBytes, o.Registerer = logtest.NewDisk(nil), 64<<10, reg
	g := open(t, o).Group(1)
	told := func(name string) (v float64) {
		all, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range all {
			if f.GetName() == "dunlin_raft_log_"+name {
				m := f.GetMetric()[0]
				v = m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
		return v
	}
	const entries, together = 5000, 100
	for first := uint64(1); first <= entries; first += together {
		var logs []*raft.Log
		for i := range uint64(together) {
			logs = append(logs, &raft.Log{Index: first + i, Term: 1, Data: make([]byte, 10, 1000)})
		}
		if err := g.StoreLogs(logs); err != nil {
			t.Fatal(err)
		}
	}
	// 12 bytes each to find them, and what is kept of them.
	if v := told("memory_bytes"); v < entries*12 || v > 2*entries*12+2*64<<10 {
		t.Errorf("%d entries take %v bytes", entries, v)
	}
	for i := range uint64(entries) {
		if err := g.GetLog(1+i, new(raft.Log)); err != nil {
			t.Fatal(err)
		}
	}
	if kept := told("cache_hits_total"); kept < 50 || kept > 64 {
		t.Errorf("%v entries with 1000 bytes each are kept in 64 KB", kept)
	}
	if err := g.DeleteRange(1, entries); err != nil {
		t.Fatal(err)
	}
	if v := told("memory_bytes"); v > 2*1024*12 {
		t.Errorf("%v bytes are taken where no entry is", v)
	}
}
