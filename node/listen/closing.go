package listen

import "time"

// maxLinger bounds the wait for a peer to take its last output, with a tick to
// spare: Loop.Close promises a second.
const maxLinger = time.Second - tick

// linger is a closing connection that waits for its peer.
type linger struct {
	index, generation uint32
	until             time.Duration
}

func (l *loop) Close(id ID) {
	if index, c := l.find(id); c != nil {
		l.closeOpen(index, c)
	}
}

// closeOpen begins the end of an open connection: what was sent in this turn goes
// out with the flush, and then the connection is hung up.
func (l *loop) closeOpen(index uint32, c *conn) {
	opening := c.is(connOpening)
	c.flags = c.flags&^(connOpen|connOpening) | connClosing
	if c.in != 0 {
		l.dropPartial(c)
	}
	l.closing = append(l.closing, index)
	if opening {
		l.failedOpening()
	} else if c.strata != 0 {
		l.goodbye(index, c)
	}
}

// hangUpClosing runs after the flush.
func (l *loop) hangUpClosing() {
	for _, index := range l.closing {
		c := l.conns.at(index)
		if !c.is(connClosing) {
			continue // failed in the flush
		}
		if c.out == 0 {
			l.hangUp(index, c)
		}
		if c.is(connClosing) {
			l.lingering = append(l.lingering, linger{index, c.gen, l.now + maxLinger})
		}
	}
	l.closing = l.closing[:0]
}

// hangUp ends the stream of a connection whose output is out, and then waits for the
// peer to end its own. What it sends meanwhile must be read: the kernel would answer
// it with a reset, which may destroy our last packet before the peer has seen it.
func (l *loop) hangUp(index uint32, c *conn) {
	if c.is(connEnded) {
		l.end(index, c, nil)
		return
	}
	c.flags |= connDrain
	l.driver.closeWrite(c.sock)
	l.discard(index, c)
}

// discard reads once from a closing connection, and ends it with its peer's stream.
// Layers have no part in it.
func (l *loop) discard(index uint32, c *conn) {
	n, err := l.recvRaw(c, l.readBuf)
	switch {
	case n > 0:
		if n == len(l.readBuf) || c.is(connEnding) {
			l.markReady(index, c)
		}
	case err == errAgain:
		// It waits for the peer to take the output, or to end its stream.
	case c.out != 0 && err == nil:
		// The peer has said all, and may still listen.
		c.flags = c.flags&^connEnding | connEnded
	default:
		l.end(index, c, nil)
	}
}

// fail ends a connection at once.
func (l *loop) fail(index uint32, c *conn, err error) {
	if c.is(connClosing) {
		err = nil // the Handler has closed it, how it went matters no more
	}
	l.end(index, c, err)
}

// end closes the socket and has Handler.Closed called.
func (l *loop) end(index uint32, c *conn, err error) {
	if err == nil && l.stopping {
		err = ErrShutdown
	}
	if c.in != 0 {
		l.dropPartial(c)
	}
	if c.out != 0 {
		l.dropOutput(c)
	}
	if c.strata != 0 {
		if cause := l.dropStrata(c); err == nil {
			err = cause
		}
	}
	if c.is(connOpening) {
		l.failedOpening()
	}
	l.driver.hangUp(c.sock)
	c.flags = connGone | c.flags&connUnknown
	l.gone = append(l.gone, ending{index, err})
}

// sweepLingering ends the closing connections whose time is over.
func (l *loop) sweepLingering() {
	for len(l.lingering) > 0 && l.lingering[0].until <= l.now {
		g := l.lingering[0]
		l.lingering = l.lingering[1:]
		if c := l.conns.find(g.generation, g.index, connClosing); c != nil {
			l.end(g.index, c, nil)
		}
	}
	if len(l.lingering) == 0 {
		l.lingering = nil
	}
}

// closeAll closes every connection, in order or at once.
func (l *loop) closeAll(atOnce bool) {
	for index := range l.conns.used {
		switch c := l.conns.at(index); {
		case atOnce && c.is(connOpening|connOpen|connClosing):
			l.end(index, c, nil)
		case c.is(connOpening | connOpen):
			l.closeOpen(index, c)
		}
	}
}
