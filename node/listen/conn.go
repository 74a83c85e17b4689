package listen

// conn is one connection: all that an idle one costs. It holds no pointer, so that
// a million of them are nothing to the garbage collector.
//
// A conn is free (no state), or in one of four states: connOpening, while its Layers
// are not ready and the Handler knows nothing of it; connOpen; connClosing, after
// Close, while its last output goes out; connGone, when its socket is closed and
// Handler.Closed is owed.
type conn struct {
	sock  int32  // the driver's; in a free one the next free index, -1 for none
	gen   uint32 // of the connection, or of the next one
	flags connFlags
	in    uint32 // 1 + place in loop.partials; 0: no bytes kept
	out   uint32 // 1 + place in loop.outputs; 0: nothing unsent
	heard uint32 // tick in which Receive last consumed something
	idle  uint32 // ticks until Handler.Idle; 0: never

	strata uint32 // 1 + place in loop.strata; 0: no Layers
}

type connFlags uint32

const (
	connOpen    connFlags = 1 << iota
	connClosing           // Close was called: output is flushed, input discarded
	connGone              // the socket is closed, Handler.Closed comes next
	connReady             // on the list of connections to read from
	connMore              // bytes came while it was paused
	connPaused
	connAgain   // Resume was called: what is kept is handed over again
	connEnding  // the end of the stream is near: read until it comes
	connEnded   // the end of the stream has come
	connDirty   // on the list of connections to flush
	connBlocked // the kernel refused output: wait for canWrite
	connArmed   // the driver reports canWrite
	connDrain   // closing, output is out, the rest of the input is discarded
	connAwaited // Await was called
	connOpening // the fourth state
	connUnknown // the Handler has not been told of it, or has refused it: it hears of no end

	// The size class of the connection's last output, a hint for the next.
	connClassShift = 24
	connClassMask  = 0xf << connClassShift
)

func (c *conn) is(f connFlags) bool { return c.flags&f != 0 }

func (c *conn) class() int { return int(c.flags & connClassMask >> connClassShift) }

func (c *conn) setClass(k int) {
	c.flags = c.flags&^connClassMask | connFlags(k)<<connClassShift
}

// table holds a loop's conns in chunks, which never move.
type table struct {
	chunks []*[tableChunk]conn
	used   uint32 // indexes handed out so far
	free   int32  // first free index; -1: none
}

const tableChunk = 1 << 10

func (t *table) at(i uint32) *conn { return &t.chunks[i/tableChunk][i%tableChunk] }

// take returns a free conn, its flags clear.
func (t *table) take() (uint32, *conn) {
	if t.free >= 0 {
		i := uint32(t.free)
		c := t.at(i)
		t.free = c.sock
		*c = conn{gen: c.gen}
		return i, c
	}
	if t.used%tableChunk == 0 {
		t.chunks = append(t.chunks, new([tableChunk]conn))
	}
	i := t.used
	t.used++
	c := t.at(i)
	c.gen = 1 // 0 would make the zero ID a name
	return i, c
}

// put makes a conn free under a new generation. One whose generations are used up
// is left out for good: 32 bytes for 16 million connections.
func (t *table) put(i uint32) {
	c := t.at(i)
	c.flags = 0
	if c.gen == maxGeneration {
		return
	}
	c.gen++
	c.sock = t.free
	t.free = int32(i)
}

// find returns the conn of an ID in one of the given states, or nil.
func (t *table) find(generation, index uint32, states connFlags) *conn {
	if index >= t.used {
		return nil
	}
	if c := t.at(index); c.gen == generation && c.is(states) {
		return c
	}
	return nil
}
