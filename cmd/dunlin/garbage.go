package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// minGarbage is how many bytes of garbage a node gathers before it collects, at
// least. A node whose sessions are few has a heap of a few megabytes; Go would
// collect each time that it doubles, many times a second under load.
const minGarbage = 64 << 20

// paceGarbage has the collector run when there is as much garbage as there is in
// use, or minGarbage if that is more. Who sets GOGC decides instead; GOMEMLIMIT
// has collections come earlier.
func paceGarbage() {
	if os.Getenv("GOGC") != "" {
		return
	}
	p := &pacer{}
	p.set(4 << 20) // Go's least heap, of which GOGC counts before the first collection
	p.await()
}

// limitMemory has collections come the more often the nearer the process comes to nine
// tenths of what it may take, in bytes; the rest is for what is not Go's. Who sets GOMEMLIMIT
// decides instead.
func limitMemory(whole int64) {
	if os.Getenv("GOMEMLIMIT") == "" && whole > 0 {
		debug.SetMemoryLimit(whole / 10 * 9)
	}
}

// pacer adapts GOGC to what each collection leaves.
type pacer struct{ percent int }

// cycle is garbage that the next collection finds.
type cycle struct{ p *pacer }

func (p *pacer) await() {
	runtime.SetFinalizer(&cycle{p}, func(c *cycle) {
		live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		metrics.Read(live)
		c.p.set(live[0].Value.Uint64())
		c.p.await()
	})
}

func (p *pacer) set(live uint64) {
	percent := garbagePercent(live)
	if percent < p.percent*9/10 || percent > p.percent*11/10 {
		p.percent = percent
		debug.SetGCPercent(percent)
	}
}

// garbagePercent is GOGC for a heap with that much in use.
func garbagePercent(live uint64) int { return int(max(100, minGarbage*100/max(live, 1<<20))) }
