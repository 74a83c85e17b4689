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
// A byte-stream layer (TLS, WebSocket, the PROXY protocol) belongs between driver
// and loop: input.go and output.go reach a peer through loop.recv and loop.send
// (stream.go) and through nothing else.
package listen
