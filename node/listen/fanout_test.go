package listen

import (
	"bytes"
	"syscall"
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

// goneDriver has one connection whose peer has sent a lot and is gone.
type goneDriver struct {
	sinkDriver
	input []byte
}

const goneSock = 7

func (d *goneDriver) read(_ int32, b []byte) (int, error) {
	n := copy(b, d.input)
	d.input = d.input[n:]
	return n, nil
}

func (d *goneDriver) write(sock int32, b []byte) (int, error) {
	if sock == goneSock {
		return 0, syscall.ECONNRESET
	}
	return d.sinkDriver.write(sock, b)
}

func (*goneDriver) hangUp(int32) {}

// The output of a fan-out is flushed in between, and then the connection that all of it
// comes from may turn out to be gone: what it has said stays as it is for the others.
func TestFanOutOutlivesItsPublisher(t *testing.T) {
	o, err := Options{}.withDefaults()
	must(t, err)
	d := &goneDriver{input: bytes.Repeat([]byte("message."), o.ReadBuffer/4)}
	want := bytes.Clone(d.input)
	l := newLoop(0, o, d)
	index, from := l.conns.take()
	from.sock, from.flags = goneSock, connOpen
	var others []ID
	for range maxDirty + 100 {
		index, c := l.conns.take()
		c.flags = connOpen
		c.setClass(classOf(len(want))) // as if it had had such a message before
		others = append(others, l.id(index, c))
	}
	handed := 0
	l.handler = &funcs{receive: func(id ID, b []byte) (int, int) {
		if len(b) < len(want) {
			return 0, len(want)
		}
		handed++
		l.End(id, append(l.Begin(id), 'x'))
		for _, to := range others {
			l.End(to, append(l.Begin(to), "a"...))
			if !bytes.Equal(b, want) {
				t.Fatal("what was received has changed")
			}
		}
		return len(b), 0
	}}
	for len(d.input) > 0 {
		l.receive(index, from)
	}
	if handed != 1 || !from.is(connGone) {
		t.Errorf("handed over %d times, the publisher is gone: %v", handed, from.is(connGone))
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
