package limit

import (
	"sync/atomic"
	"time"
)

// Level is how hard pressed the node is.
type Level uint8

const (
	None Level = iota
	Shed       // new clients are refused, before they cost anything; those who are there go on
)

// Cause is what a node can be short of.
type Cause uint8

// The causes of pressure.
const (
	Loops  Cause = iota // an event loop is behind
	Memory              // beyond the high-water mark
	Disk                // too little is left for the data directory
	causes
)

// Causes is the number of values of Cause.
const Causes = int(causes)

// String is the cause's name in metrics.
func (c Cause) String() string { return [...]string{"loops", "memory", "disk"}[c] }

// Pressure is what the node is short of at this moment. Whoever watches a thing calls Set
// when that changes; whoever could take on more work asks for the Level first, which costs
// two loads. The zero value is of a node that lacks nothing. All methods may be called
// from any goroutine.
type Pressure struct {
	short  atomic.Uint32 // bits 1<<Cause
	behind atomic.Int32  // loops that are
}

// Set says how short the node is of what c stands for. Loops are told of by their
// LoopWatches instead.
func (p *Pressure) Set(c Cause, l Level) {
	if l == None {
		p.short.And(^(uint32(1) << c))
		return
	}
	p.short.Or(1 << c)
}

// Level is Shed while the node is short of anything.
func (p *Pressure) Level() Level {
	if p.short.Load() == 0 && p.behind.Load() == 0 {
		return None
	}
	return Shed
}

// Of is the Level for the sake of one cause.
func (p *Pressure) Of(c Cause) Level {
	if p.short.Load()&(1<<c) == 0 && (c != Loops || p.behind.Load() == 0) {
		return None
	}
	return Shed
}

const (
	// tick is how often a loop is to call LoopWatch.Tick.
	tick = 250 * time.Millisecond
	// lateTicks in a row make a loop one that is behind. One alone may be the whole
	// process having been stopped for a while, after which there is no lack of anything.
	lateTicks = 4
)

// LoopWatch watches one event loop, to which it belongs.
type LoopWatch struct {
	p    *Pressure
	most time.Duration // that a tick may be late; 0: any time
	last time.Duration // when it was called
	late int           // ticks in a row
}

// WatchLoop returns the watch of a loop whose ticks may be so late, if that is not 0.
func (p *Pressure) WatchLoop(most time.Duration) LoopWatch { return LoopWatch{p: p, most: most} }

// Tick is called by the loop every quarter of a second, or as soon after as the loop can:
// what it is late by is what every event of the loop has to wait.
func (w *LoopWatch) Tick(now time.Duration) {
	late := w.last > 0 && now-w.last-tick > w.most
	w.last = now
	switch {
	case w.most == 0:
	case late:
		if w.late++; w.late == lateTicks {
			w.p.behind.Add(1)
		}
	default:
		if w.late >= lateTicks {
			w.p.behind.Add(-1)
		}
		w.late = 0
	}
}
