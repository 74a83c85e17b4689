package node

import (
	"context"
	"time"

	"dunlin/node/limit"
	"dunlin/node/metrics"
)

// marks watches what the node must not run out of.
type marks struct{ memory, disk limit.Mark }

func (n *Node) newMarks() *marks {
	l := n.cfg.Limits
	mark := func(c limit.Cause, read func() (limit.Reading, error)) limit.Mark {
		return limit.Mark{Cause: c, Read: read, Pressure: &n.pressure, Log: n.log}
	}
	return &marks{
		memory: mark(limit.Memory, limit.MemoryMark(l.Memory, l.MemoryHighWater)),
		disk:   mark(limit.Disk, limit.DiskMark(n.cfg.DataDir, l.DiskReserve)),
	}
}

// watch looks at the marks until ctx ends.
func (m *marks) watch(ctx context.Context) {
	t := time.NewTicker(limit.LookEvery)
	defer t.Stop()
	for {
		m.look()
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

func (m *marks) look() {
	m.memory.Look()
	m.disk.Look()
}

func (m *marks) observe(emit metrics.Emit) {
	for _, x := range []struct {
		m  *limit.Mark
		of string
	}{{&m.memory, "memory"}, {&m.disk, "disk"}} {
		used, high, crossings := x.m.Stats()
		emit(metrics.InUse, float64(used), x.of)
		emit(metrics.HighWater, float64(high), x.of)
		emit(metrics.HighWaterCrossings, float64(crossings), x.of)
	}
}
