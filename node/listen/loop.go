package listen

import (
	"net/netip"
	"time"
)

// ID names a connection: loop, generation and index, never reused with the same
// generation. Zero is none. All calls with the ID of a connection that is gone do
// nothing.
type ID uint64

// Loop is the loop's index.
func (id ID) Loop() int { return int(id >> 56) }

// Index is the connection's place in its loop's table: dense, reused.
func (id ID) Index() uint32 { return uint32(id) }

// Info is what is known of a connection when it opens.
type Info struct {
	Listener string // name of the listener
	Remote   netip.AddrPort
	Local    netip.AddrPort
	Loopback bool // the listener is bound to a loopback address
}

// Loop is one event loop as its Handler sees it. All methods but Post are for
// the loop's own goroutine.
type Loop interface {
	// Index is the loop's number, from 0.
	Index() int

	// Now is the monotonic time taken once per turn, since an arbitrary start
	// common to all loops.
	Now() time.Duration

	// Begin lends the connection's output buffer to append to, End gives it
	// back. Nothing is written before the end of the turn, when each connection
	// with output is flushed once. No other call on the loop may stand between.
	Begin(id ID) []byte
	End(id ID, b []byte)

	// Unsent is the number of output bytes the kernel has not taken yet.
	Unsent(id ID) int

	// Close closes the connection, after flushing what it can without waiting
	// longer than a second. Handler.Closed follows, within this turn or later.
	Close(id ID)

	// SetIdle has Handler.Idle called when Receive consumed nothing for d
	// (rounded up to a quarter of a second); 0 turns it off.
	SetIdle(id ID, d time.Duration)

	// Pause stops reading from the connection until Resume: back-pressure.
	Pause(id ID)
	Resume(id ID)

	// Post hands m to Handler.Mail on the loop, in order per caller, from any
	// goroutine; it wakes the loop and never blocks.
	Post(m any)
}

// Handler is what a loop drives. All calls come from the loop's goroutine; it may
// not block.
type Handler interface {
	// Open announces an accepted connection. False refuses it.
	Open(id ID, info Info) bool
	// Receive is given bytes that have come and returns how many it consumed;
	// the rest comes again with more behind it, and at least want bytes in all
	// (0: any). It is called again only when there is news.
	Receive(id ID, b []byte) (n int, want int)
	// Writable tells that output which the kernel had refused has all been taken.
	Writable(id ID)
	// Idle: see Loop.SetIdle.
	Idle(id ID)
	// Closed ends the connection; err is nil if the peer closed in order.
	Closed(id ID, err error)
	// Mail is a posted value.
	Mail(m any)
	// Turn runs once per turn, after events and mail and before the flush: the
	// place to send what the turn has gathered.
	Turn()
	// Tick runs about every 250 ms.
	Tick()
}

// Options are a set of loops' settings.
type Options struct {
	Loops       int           // 0: one per CPU
	Portable    bool          // goroutines instead of epoll
	ReadBuffer  int           // bytes read at a time and loop; default 128 KiB
	SendTimeout time.Duration // a peer that takes nothing for so long is closed
	MaxUnsent   int           // bytes of output held for one connection before it is closed
}
