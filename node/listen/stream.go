package listen

// recv reads from the connection's byte stream; as driver.read.
func (l *loop) recv(c *conn, b []byte) (int, error) {
	n, err := l.driver.read(c.sock, b)
	l.count.reads.Add(1)
	if n > 0 {
		l.count.bytesIn.Add(uint64(n))
	}
	return n, err
}

// send writes to the connection's byte stream; as driver.write.
func (l *loop) send(c *conn, b []byte) (int, error) {
	n, err := l.driver.write(c.sock, b)
	l.count.flushes.Add(1)
	if n > 0 {
		l.count.bytesOut.Add(uint64(n))
	}
	return n, err
}
