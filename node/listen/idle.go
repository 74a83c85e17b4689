package listen

import "time"

// sweepSlots bounds the work of one tick. Up to so many connections a loop is exact
// to a tick, beyond that as much later as it has more.
const sweepSlots = 1 << 17

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

// sweepIdle looks at each connection in turn. A flat sweep over packed entries
// costs a nanosecond each; a timer for each would cost memory, and work for every
// packet that comes.
func (l *loop) sweepIdle() {
	n := min(l.conns.used, sweepSlots)
	for range n {
		if l.swept >= l.conns.used {
			l.swept = 0
		}
		index := l.swept
		l.swept++
		c := l.conns.at(index)
		if c.idle == 0 || l.tickNow-c.heard < c.idle || !c.is(connOpen) || c.is(connPaused) {
			continue
		}
		c.heard = l.tickNow
		l.callIdle(l.id(index, c))
	}
}
