package listen

import (
	"log/slog"
	"runtime"
	"time"
)

const (
	tick = 250 * time.Millisecond

	// turnReads bounds what a turn reads in all, in read buffers: what is read must
	// be written before it leaves the cache, and before it fills the memory.
	turnReads = 4

	eventsPerTurn = 512
)

// loop implements Loop on a driver.
//
// The order within a turn matters: mail and input first, then what is due, then
// the ends of connections (all Closed calls, so that Handler methods never nest),
// then Turn and the flush.
type loop struct {
	// Constant after construction.
	index   int
	opts    Options
	start   time.Time
	maxHeld int // this loop's part; 0: no bound
	driver  driver
	handler Handler
	log     *slog.Logger
	done    chan struct{} // closed when run has returned

	box   mailbox
	count counters

	// Owned by the loop's goroutine.
	now       time.Duration // since start
	tickNow   uint32        // now in ticks
	nextTick  time.Duration
	nextPace  time.Duration // of the first listener that is held; 0: none is
	listeners []*listener   // by index; nil: closed
	conns     table
	open      int // conns that are not free
	opening   int // of these connOpening
	partials  slab[partial]
	handed    uint32 // as conn.in, of the connection whose bytes Receive has now
	outputs   slab[output]
	fresh     int  // bytes of output since the last flush
	gathered  int  // bytes flushed since it was last summed up what connections hold
	summing   bool // it is to be summed up at the end of the turn
	strata    slab[strata]
	buffers   buffers
	readBuf   []byte   // lent to Receive
	levelBufs [][]byte // where bytes come to each level of Layers, from the bottom up
	budget    int      // bytes that are still to be read in this turn
	events    []event
	ready     []uint32 // connections to read from; those of the next turn
	reading   []uint32 // those of this turn
	dirty     []uint32 // connections to flush
	closing   []uint32 // connections closed in this turn, to be hung up after the flush
	openings  []linger // connections whose Layers are not ready, by deadline; some are, by now
	lingering []linger // closing connections that could not be hung up at once, by deadline
	gone      []ending // connections whose Handler.Closed is owed
	reaping   []ending // those being told
	swept     int      // chunk of conns that the idle sweep looked at last
	awaited   []ID     // connections whose output is out, of which Handler.Writable is owed
	telling   []ID     // those being told
	scratch   []byte   // lent by Begin for connections that are gone
	lent      ID       // connection whose output buffer is lent
	stopping  bool
}

// ending is a connection that is gone, and why.
type ending struct {
	index uint32
	err   error
}

func newLoop(index int, o Options, d driver) *loop {
	l := &loop{
		index: index, opts: o, start: o.Start, maxHeld: o.MaxHeld / max(o.Loops, 1), driver: d, log: o.Logger,
		done:    make(chan struct{}),
		readBuf: make([]byte, o.ReadBuffer),
		events:  make([]event, 0, eventsPerTurn),
	}
	l.conns.free = -1
	return l
}

func (l *loop) Index() int         { return l.index }
func (l *loop) Now() time.Duration { return l.now }

// run is the life of the loop.
func (l *loop) run() {
	// The loop sleeps in epoll_wait on a thread of its own: to wake up is then a
	// matter between the kernel and that thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(l.done)
	l.clock()
	l.nextTick = l.now + tick
	for !l.stopping || l.open > 0 {
		l.turn()
	}
	l.box.close()
	l.driver.close()
}

func (l *loop) turn() {
	l.wait()
	l.clock()
	l.count.turns.Add(1)
	if l.nextPace != 0 && l.now >= l.nextPace {
		l.letOn()
	}
	l.mail()
	for _, e := range l.events {
		l.event(e)
	}
	l.tellAwaited()
	l.readAll()
	if l.now >= l.nextTick {
		l.nextTick = l.now + tick
		l.onTick()
	}
	l.reap()
	l.callTurn()
	l.flush()
	if l.summing {
		l.relieve()
	}
	l.hangUpClosing()
}

// wait gathers events; it sleeps only if nothing is left to do.
func (l *loop) wait() {
	var d time.Duration
	if len(l.ready) == 0 && len(l.gone) == 0 && len(l.awaited) == 0 {
		until := l.nextTick
		if l.nextPace != 0 {
			until = min(until, l.nextPace)
		}
		d = max(until-time.Since(l.start), 0)
	}
	if d > 0 && !l.box.sleep() {
		d = 0
	}
	l.events = l.driver.wait(d, l.events[:0])
	l.box.awake()
}

func (l *loop) clock() {
	l.now = time.Since(l.start)
	l.tickNow = uint32(l.now / tick)
}

func (l *loop) event(e event) {
	if e.key&keyKind == keyListener {
		l.acceptFrom(int(uint32(e.key)))
		return
	}
	index := uint32(e.key)
	c := l.conns.find(ID(e.key).generation(), index, connOpening|connOpen|connClosing)
	if c == nil {
		return
	}
	if e.what&canWrite != 0 && c.is(connBlocked) {
		if l.unblock(index, c); !c.is(connOpening | connOpen | connClosing) {
			return
		}
	}
	if e.what&(canRead|peerDone) == 0 {
		return
	}
	if e.what&peerDone != 0 {
		c.flags |= connEnding
	}
	if c.is(connPaused) && c.is(connOpen) {
		c.flags |= connMore
		return
	}
	l.markReady(index, c)
}

func (l *loop) onTick() {
	l.sweepIdle()
	l.sweepOutputs()
	l.summing = true
	l.sweepLingering()
	l.sweepOpenings()
	l.rearmListeners()
	l.buffers.trim()
	l.callTick()
}

// reap reports the connections that are gone and frees their places.
func (l *loop) reap() {
	l.gone, l.reaping = l.reaping[:0], l.gone
	for k, e := range l.reaping {
		c := l.conns.at(e.index)
		if !c.is(connUnknown) {
			l.callClosed(l.id(e.index, c), e.err)
			l.count.open.Add(^uint64(0))
		}
		l.conns.put(e.index)
		l.open--
		l.reaping[k] = ending{}
	}
}

func (l *loop) id(index uint32, c *conn) ID { return makeID(l.index, c.gen, index) }

// find returns the open connection of id, or nil.
func (l *loop) find(id ID) (uint32, *conn) {
	if id.Loop() != l.index {
		return 0, nil
	}
	return id.Index(), l.conns.find(id.generation(), id.Index(), connOpen)
}
