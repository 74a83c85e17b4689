package listen

import (
	"math/rand/v2"
	"time"
)

// sweepChunks bounds the work of one tick: up to 131,072 connections a loop is exact
// to a tick, beyond that as much later as it has more.
const sweepChunks = 128

func (l *loop) SetIdle(id ID, d time.Duration) {
	_, c := l.find(id)
	if c == nil {
		return
	}
	c.heard, c.idle = l.tickNow, 0
	if d > 0 {
		// One more, because the tick that runs has partly passed.
		c.idle = uint32(min((d+tick-1)/tick, 1<<31)) + 1
	}
}

func (l *loop) Probe(id ID) {
	if _, c := l.find(id); c != nil {
		l.driver.probe(c.sock, keepAliveIdle+rand.N(keepAliveIdle))
	}
}

// sweepIdle looks at each connection in turn. A flat sweep over packed entries costs
// three nanoseconds each; a timer for each would cost memory, and work for every packet
// that comes.
func (l *loop) sweepIdle() {
	for range min(len(l.conns.chunks), sweepChunks) {
		l.swept = (l.swept + 1) % len(l.conns.chunks)
		chunk := l.conns.chunks[l.swept]
		for k := range chunk {
			c := &chunk[k]
			if c.idle == 0 || l.tickNow-c.heard < c.idle || !c.is(connOpen) || c.is(connPaused) {
				continue
			}
			c.heard = l.tickNow
			l.callIdle(l.id(uint32(l.swept*tableChunk+k), c))
		}
	}
}
