package listen

import (
	"testing"
)

// sinkDriver takes all output at once.
type sinkDriver struct {
	stillDriver
	taken, writes int
}

func (d *sinkDriver) write(_ int32, b []byte) (int, error) {
	d.taken += len(b)
	d.writes++
	return len(b), nil
}

// A message to very many connections takes no more buffers than some (case 31),
// and still one write for each.
func TestFanOutIsBounded(t *testing.T) {
	o, err := Options{}.withDefaults()
	must(t, err)
	d := &sinkDriver{}
	l := newLoop(0, o, d)
	l.handler = &funcs{}
	const n = 4*maxDirty + 100
	for range n {
		index, c := l.conns.take()
		c.flags = connOpen
		id := l.id(index, c)
		l.End(id, append(l.Begin(id), "hello"...))
	}
	l.flush()
	if len(l.outputs.items) > maxDirty {
		t.Errorf("%d buffers at a time", len(l.outputs.items))
	}
	if d.taken != 5*n || d.writes != n {
		t.Errorf("%d bytes in %d writes", d.taken, d.writes)
	}
}

// One tick's look at every connection of a loop that has many.
func BenchmarkSweepIdle(b *testing.B) {
	o, err := Options{}.withDefaults()
	must(b, err)
	l := newLoop(0, o, stillDriver{})
	for range sweepChunks * tableChunk {
		_, c := l.conns.take()
		c.flags, c.idle = connOpen, 1<<20
	}
	for b.Loop() {
		l.sweepIdle()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/(sweepChunks*tableChunk), "ns/conn")
}
