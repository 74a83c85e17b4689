package listen

import (
	"crypto/tls"
	"errors"
	"net/netip"
	"time"
)

// Why a connection was closed, as Handler.Closed is told; otherwise the error of
// the socket.
var (
	ErrUnsent      = errors.New("listen: more output waits than MaxUnsent allows")
	ErrSendTimeout = errors.New("listen: peer took nothing for SendTimeout")
	ErrHeld        = errors.New("listen: all connections hold more than MaxHeld allows, and this one much of it")
	ErrPanic       = errors.New("listen: panic while handling the connection")
	ErrShutdown    = errors.New("listen: shutting down")
)

// ID names a connection: loop, generation and index, never reused with the same
// generation. Zero is none. All calls with the ID of a connection that is gone do
// nothing. A connection is gone from the moment of Loop.Close or of its failure,
// though Handler.Closed follows only later.
type ID uint64

// Loop is the loop's index.
func (id ID) Loop() int { return int(id >> 56) }

// Index is the connection's place in its loop's table: dense, reused.
func (id ID) Index() uint32 { return uint32(id) }

const maxGeneration = 1<<24 - 1

func (id ID) generation() uint32 { return uint32(id>>32) & maxGeneration }

func makeID(loop int, generation, index uint32) ID {
	return ID(loop)<<56 | ID(generation)<<32 | ID(index)
}

// Info is what is known of a connection when it opens.
type Info struct {
	Listener string // name of the listener
	Remote   netip.AddrPort
	Local    netip.AddrPort
	Loopback bool  // the listener is bound to a loopback address
	Note     uint8 // what the Gate has to say of it to the Handler

	// TLS is what a handshake has agreed on, the peer's verified certificates
	// included; nil without TLS.
	TLS *tls.ConnectionState
}

// Loop is one event loop as its Handler sees it. All methods but Post are for
// the loop's own goroutine, within a call of the Handler.
type Loop interface {
	// Index is the loop's number, from 0.
	Index() int

	// Now is the monotonic time taken once per turn, since an arbitrary start
	// common to all loops.
	Now() time.Duration

	// Begin lends the connection's output buffer to append to, End gives it back;
	// what it holds already is not the caller's. No other call on the loop may
	// stand between. Each connection with output is flushed once, at the end of the
	// turn (earlier only when thousands have some).
	Begin(id ID) []byte
	End(id ID, b []byte)

	// Unsent is the number of output bytes the kernel has not taken yet, those
	// of this turn included.
	Unsent(id ID) int

	// Await has Handler.Writable called in a later turn, as soon as the kernel has
	// taken all of the connection's output, be it in the flush of this turn.
	Await(id ID)

	// Close closes the connection, after flushing what it can without waiting
	// longer than a second. Handler.Closed follows, within this turn or later,
	// and no other call for the connection does.
	Close(id ID)

	// SetIdle has Handler.Idle called when Receive consumed nothing for d from
	// now on (rounded up to a quarter of a second; a little later on a loop with
	// very many connections), and again after each further d; 0 turns it off. The
	// time while the connection is paused does not count.
	SetIdle(id ID, d time.Duration)

	// Probe has the kernel ask, after minutes of silence, whether the peer is there yet,
	// and end the connection if it is not: for those without an idle limit.
	Probe(id ID)

	// Pause stops reading from the connection until Resume: back-pressure. What
	// Receive left unconsumed is handed to it again after Resume, with or without
	// more behind it.
	Pause(id ID)
	Resume(id ID)

	// Post hands m to Handler.Mail on the loop, in order per caller, from any
	// goroutine; it wakes the loop and never blocks. After the end of the loop
	// mail is dropped.
	Post(m any)
}

// Gate decides which connections come in, before anything is spent on them, a TLS
// handshake for one. It is asked on the loops' goroutines and must not block.
type Gate interface {
	// Arrive judges a connection whose address is known: from the socket, or behind a
	// proxy from the PROXY header. False: it is closed at once. Info.Note may be written.
	Arrive(info *Info) bool
	// Depart takes back what was let in and Handler.Open has not taken. Of what that has
	// taken, the Handler knows the end.
	Depart(info *Info)
}

// Handler is what a loop drives. All calls come from the loop's goroutine; it may
// not block.
type Handler interface {
	// Open announces an accepted connection, one with Layers when they are ready.
	// False refuses it: it is closed without Closed.
	Open(id ID, info Info) bool
	// Receive is given bytes that have come and returns how many it consumed;
	// the rest comes again with more behind it, and at least want bytes in all
	// (0: any). It is called again only when there is news. b is lent for the
	// call. Memory for want bytes is taken only as they come.
	Receive(id ID, b []byte) (n int, want int)
	// Writable tells that all output has been taken, after the kernel had refused
	// some or after Loop.Await.
	Writable(id ID)
	// Idle: see Loop.SetIdle.
	Idle(id ID)
	// Closed ends the connection; err is nil if the peer or the Handler closed in
	// order. Calls with id do nothing any more.
	Closed(id ID, err error)
	// Mail is a posted value.
	Mail(m any)
	// Turn runs once per turn, after events and mail and before the flush: the
	// place to send what the turn has gathered.
	Turn()
	// Tick runs about every 250 ms.
	Tick()
}
