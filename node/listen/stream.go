package listen

// recv reads from the connection's byte stream; as driver.read, except that more
// tells whether it is to be called again without news.
func (l *loop) recv(index uint32, c *conn, b []byte) (n int, more bool, err error) {
	if c.strata != 0 {
		return l.recvThrough(index, c, b)
	}
	n, err = l.recvRaw(c, b)
	return n, n == len(b) || n > 0 && c.is(connEnding), err
}

// recvRaw reads from the socket; as driver.read.
func (l *loop) recvRaw(c *conn, b []byte) (int, error) {
	n, err := l.driver.read(c.sock, b)
	l.count.reads.Add(1)
	if n > 0 {
		l.count.bytesIn.Add(uint64(n))
		l.budget -= n
	}
	return n, err
}

// send writes to the socket; as driver.write. What a connection with Layers sends
// has gone through them already, see loop.encode.
func (l *loop) send(c *conn, b []byte) (int, error) {
	n, err := l.driver.write(c.sock, b)
	l.count.flushes.Add(1)
	if n > 0 {
		l.count.bytesOut.Add(uint64(n))
	}
	return n, err
}
