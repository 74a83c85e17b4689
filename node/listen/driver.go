package listen

import (
	"net"
	"net/netip"
	"syscall"
	"time"
)

// A driver is the system's side of one loop: sockets that never block and report
// readiness by edges. A socket is named by a number of the driver's. All methods
// but wake are for the loop's goroutine.
type driver interface {
	// wait appends what has happened to events: at once if something has, else
	// after at most d, or wake. It may append nothing.
	wait(d time.Duration, events []event) []event
	// wake ends the wait that is under way, or the next one. From any goroutine.
	wake()

	// watch reports a new connection's readiness to read under key, beginning
	// with what is ready now; watchWrite also its readiness to write.
	watch(sock int32, key uint64) error
	watchWrite(sock int32, key uint64) error

	// read and write move what can be moved now. A read of fewer bytes than asked
	// for, or a write of fewer, means that there are no more for now, and that an
	// event will tell when there are. errAgain: none at all. A read of 0 bytes
	// without an error is the end of the stream.
	read(sock int32, b []byte) (int, error)
	write(sock int32, b []byte) (int, error)
	// probe begins TCP keepalive, after so many seconds of silence.
	probe(sock int32, after int)
	// closeWrite ends the stream to the peer after what was written.
	closeWrite(sock int32)
	// hangUp closes the socket; what was written still goes out.
	hangUp(sock int32)

	// close ends the driver; no call follows, and nothing of it is left.
	close()
}

// An acceptor is one loop's share of a bound address.
type acceptor interface {
	// watch reports waiting connections under key, as long as there are any.
	watch(key uint64) error
	// unwatch stops the reports until the next watch.
	unwatch()
	// accept takes one waiting connection; errAgain if none is left, errShed if it
	// had to be closed for want of a descriptor.
	accept() (sock int32, remote, local netip.AddrPort, err error)
	close()
}

// A backend makes drivers and binds addresses for them.
type backend interface {
	driver() (driver, error)
	// processors adds to, or takes from, the Go scheduler's processors those that n
	// running drivers hold.
	processors(n int)
	// bind returns an acceptor for each of the drivers, and the address with the
	// port that was chosen if addr had none.
	bind(addr *net.TCPAddr, drivers []driver) ([]acceptor, *net.TCPAddr, error)
}

const errAgain = syscall.EAGAIN

type shedError struct{}

func (shedError) Error() string { return "no descriptor left" }

var errShed error = shedError{}

// event is what a driver reports. A key's upper byte tells what it belongs to.
type event struct {
	key  uint64
	what uint8
}

const (
	canRead  uint8 = 1 << iota
	canWrite       // the socket takes output again
	peerDone       // the end of the stream, or an error, is there to be read
)

const (
	keyConn     = uint64(0) << 56 // generation and index as in an ID
	keyListener = uint64(1) << 56 // index of the listener
	keyKind     = uint64(0xff) << 56
)
