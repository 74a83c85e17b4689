// Package listen owns sockets: it accepts connections and moves their bytes
// between the kernel and a Handler on event loops.
//
// A Loops is a fixed number of loops. Each owns its connections outright: no
// other loop, and no other goroutine, touches them, so that a Handler needs no
// lock. What goes from one loop to another, or from elsewhere to a loop, is mail
// (Loop.Post).
//
// A loop lives in turns. A turn waits for news, takes the mail, reads at most one
// read buffer from each connection that has bytes (a connection that has more is
// taken up again in the next turn, so that a flooder does not starve the others),
// runs the timers that are due, reports closed connections, calls Handler.Turn, and
// then writes once to each connection that has output. That single write is where
// the throughput comes from: whatever a turn has to say to a peer goes in one
// system call.
//
// An idle connection costs one entry of a table without pointers (conn) and
// nothing else. A buffer for input exists only while a part of a packet waits for
// the rest, one for output only while bytes are unsent.
//
// Below a loop is a driver. The epoll driver (Linux) uses non-blocking sockets and
// edge-triggered readiness; the goroutine driver (Options.Portable, and every other
// system) imitates the same with a reader goroutine for each connection and a
// writer for each with bytes under way. The tests hold one against the other.
//
// # Layers
//
// A Layer is a protocol between the bytes of the socket and those of the Handler:
// TLS, WebSocket, the PROXY protocol, one upon another. A listener's connections have
// those that Loops.Listen names (Protocol); a connection without any pays nothing
// for them. A Layer is a state machine without I/O (layer.go); the loop gives it what
// has come and sends what it makes of what the Handler writes (strata.go):
//
//   - Input. At most one read from the socket goes through all Layers of a connection
//     in a turn. What a Layer leaves, such as half a record, the loop keeps, in a buffer
//     that exists only as long. Few bytes for the Handler do not mean that no more are
//     there: recv tells by itself whether to come again without an event.
//   - Output. The Handler's output is gathered as ever, and goes down through the
//     Layers in the flush at the end of the turn; so do their own replies, at once. Hence
//     what is unsent is always bytes of the socket: MaxUnsent, SendTimeout and the
//     waiting for the kernel are the same for all connections.
//   - Opening. A connection whose Layers are not ready is unknown to the Handler:
//     Handler.Open is called when they are, and so has an Info with all that they found
//     out. Until then it has OpenTimeout, and is one of at most MaxOpening, counted by
//     Stats.Opening and Stats.Unopened. What needs a processor for long, as a TLS
//     handshake does, a Layer does in a goroutine that wakes the loop.
//   - End. Layers say goodbye after the Handler's last output, from the top down. If
//     one returns an error its replies are still sent, and Handler.Closed is told.
package listen
