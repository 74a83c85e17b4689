package listen

import "io"

// partial is what a connection has received and Receive has not consumed.
type partial struct {
	b    []byte
	want int // Receive is not called with less
}

// markReady puts a connection on the list of those to read from.
func (l *loop) markReady(index uint32, c *conn) {
	if !c.is(connReady) {
		c.flags |= connReady
		l.ready = append(l.ready, index)
	}
}

// readAll takes up each connection on the list once, within the turn's bound.
func (l *loop) readAll() {
	l.ready, l.reading = l.reading[:0], l.ready
	l.budget = turnReads * len(l.readBuf)
	for k, index := range l.reading {
		if l.budget <= 0 {
			// These come first in the next turn.
			l.ready = append(l.ready, l.reading[k:]...)
			return
		}
		c := l.conns.at(index)
		if !c.is(connReady) {
			continue
		}
		c.flags &^= connReady
		switch {
		case c.is(connClosing):
			l.discard(index, c)
		case !c.is(connOpening | connOpen):
		case c.is(connPaused):
			c.flags |= connMore
		case c.is(connAgain):
			l.receiveAgain(index, c)
		default:
			l.receive(index, c)
		}
	}
}

// receive reads once from a connection and hands over what there is.
func (l *loop) receive(index uint32, c *conn) {
	kept, want := 0, 0
	if c.in != 0 {
		p := l.partials.at(c.in)
		if want = p.want; max(want, len(p.b)) > len(l.readBuf)/2 {
			l.receiveLarge(index, c)
			return
		}
		kept = copy(l.readBuf, p.b)
	}
	room := l.readBuf[kept:]
	n, more, err := l.recv(index, c, room)
	if !l.received(index, c, n, more, err) {
		return
	}
	switch b := l.readBuf[:kept+n]; {
	case len(b) < want:
		p := l.partials.at(c.in)
		p.b = append(p.b, room[:n]...)
	case c.is(connPaused):
		l.keep(c, b, 0) // by Open, just now
	default:
		l.hand(index, c, b)
	}
}

// receiveLarge reads behind what is kept, where a packet grows that is too large
// for the read buffer. Its room doubles as bytes come: what a peer announces costs
// nothing (case 3).
func (l *loop) receiveLarge(index uint32, c *conn) {
	p := l.partials.at(c.in)
	kept := len(p.b)
	size := min(max(kept, len(l.readBuf)/2), len(l.readBuf))
	if rest := p.want - kept; rest > 0 {
		size = min(size, rest)
	}
	if cap(p.b)-kept < size {
		b := append(l.buffers.get(classOf(kept+size)), p.b...)
		l.buffers.put(p.b)
		p.b = b
	}
	room := p.b[kept : kept+size]
	n, more, err := l.recv(index, c, room)
	if !l.received(index, c, n, more, err) {
		return
	}
	p.b = p.b[:kept+n]
	if len(p.b) >= p.want {
		l.hand(index, c, p.b)
	}
}

// received judges what recv returned; false: no bytes came.
func (l *loop) received(index uint32, c *conn, n int, more bool, err error) bool {
	if more {
		l.markReady(index, c)
	}
	switch {
	case n > 0:
		return true
	case err == errAgain:
	case err != nil && err != io.EOF:
		if c.strata != 0 {
			l.closeOpen(index, c) // a Layer may have told the peer why
		} else {
			l.fail(index, c, err)
		}
	default:
		// The peer has said all; what it is owed still goes out.
		if c.strata == 0 {
			c.flags |= connEnded
		}
		l.closeOpen(index, c)
	}
	return false
}

// receiveAgain hands over what was kept when the connection was paused; only then
// is it read from again, so that pausing at each call does not pile up bytes.
func (l *loop) receiveAgain(index uint32, c *conn) {
	c.flags &^= connAgain
	l.markReady(index, c)
	if c.in != 0 {
		l.hand(index, c, l.partials.at(c.in).b)
	}
}

// hand gives b to the Handler and keeps what it does not consume. b lies in the
// read buffer or is the connection's partial.
func (l *loop) hand(index uint32, c *conn, b []byte) {
	l.handed = c.in
	n, want := l.callReceive(l.id(index, c), b)
	l.handed = 0
	if !c.is(connOpen) {
		return
	}
	if n > 0 {
		c.heard = l.tickNow
	}
	rest := b[n:]
	if len(rest) == 0 {
		if c.in != 0 {
			l.dropPartial(c)
		}
	} else {
		l.keep(c, rest, want)
	}
	if invariants && &b[0] == &l.readBuf[0] {
		mangle(b)
	}
}

// keep makes rest the connection's partial.
func (l *loop) keep(c *conn, rest []byte, want int) {
	if want <= len(rest) {
		want = 0
	}
	var p *partial
	if c.in == 0 {
		c.in, p = l.partials.take()
	} else {
		p = l.partials.at(c.in)
	}
	p.want = want
	if k := classOf(len(rest)); cap(p.b) < len(rest) || cap(p.b) > minBuffer<<(k+3) {
		b := append(l.buffers.get(k), rest...)
		if p.b != nil {
			l.buffers.put(p.b)
		}
		p.b = b
		return
	}
	p.b = p.b[:copy(p.b[:len(rest)], rest)]
}

// dropPartial frees a connection's partial. If it ends while the Handler reads that,
// perhaps in the flush of a fan-out, its buffer is left to the garbage collector.
func (l *loop) dropPartial(c *conn) {
	if c.in != l.handed {
		l.buffers.put(l.partials.at(c.in).b)
	}
	l.partials.put(c.in)
	c.in = 0
}

func (l *loop) Pause(id ID) {
	if _, c := l.find(id); c != nil {
		c.flags |= connPaused
	}
}

func (l *loop) Resume(id ID) {
	index, c := l.find(id)
	if c == nil || !c.is(connPaused) {
		return
	}
	c.flags &^= connPaused
	c.heard = l.tickNow
	if c.in != 0 {
		c.flags |= connAgain
	}
	if c.in != 0 || c.is(connMore) {
		c.flags &^= connMore
		l.markReady(index, c)
	}
}
