package cluster

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// limitUnacknowledged has conn break when what was sent is not acknowledged for
// so long. gRPC does so itself, but only for a bare TCP connection.
func limitUnacknowledged(conn net.Conn, d time.Duration) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return // it is closed, as the next write will tell
	}
	_ = raw.Control(func(fd uintptr) {
		// Without it a ping tells a little later.
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(d.Milliseconds()))
	})
}
