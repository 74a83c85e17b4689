package listen

import "time"

// output is what a connection has yet to send: b[off:].
type output struct {
	b     []byte
	off   int
	index uint32        // of the connection
	since time.Duration // when the kernel last took something, or the first byte came
}

// maxDirty is the number of connections with new output at which it is flushed
// before the end of the turn: a message to a million subscribers must not take a
// million buffers (case 31).
const maxDirty = 4096

func (l *loop) Begin(id ID) []byte {
	if invariants && l.lent != 0 {
		panic("listen: Begin within Begin")
	}
	index, c := l.find(id)
	if c == nil {
		return l.scratch[:0]
	}
	if len(l.dirty) >= maxDirty || l.fresh >= maxFresh {
		if l.flush(); !c.is(connOpen) {
			return l.scratch[:0]
		}
	}
	if b := l.written(c); b != nil && *b != nil {
		l.lent = id
		*b = l.roomy(*b)
		return *b
	}
	b := l.buffers.get(c.class())
	if c.strata != 0 {
		l.strata.at(c.strata).plain = b
	} else {
		var o *output
		c.out, o = l.outputs.take()
		o.b, o.index, o.since = b, index, l.now
	}
	l.lent = id
	return b
}

// written is where the Handler's output is gathered: before it goes through the
// Layers, if there are any. nil: there is none.
func (l *loop) written(c *conn) *[]byte {
	switch {
	case c.strata != 0:
		return &l.strata.at(c.strata).plain
	case c.out != 0:
		return &l.outputs.at(c.out).b
	}
	return nil
}

// roomy returns b, or a copy in its place, with room for another message of ordinary
// size. A full one is exchanged for one of twice its size from the stock here, since
// append would grow it by small steps and leave garbage at each.
func (l *loop) roomy(b []byte) []byte {
	if free := cap(b) - len(b); free >= min(1<<10, cap(b)/2) || len(b) == 0 {
		return b
	}
	grown := append(l.buffers.get(classOf(2*cap(b))), b...)
	l.buffers.put(b)
	return grown
}

func (l *loop) End(id ID, b []byte) {
	if l.lent == 0 || id != l.lent {
		if cap(b) <= l.opts.ReadBuffer {
			l.scratch = b[:0]
		}
		return
	}
	l.lent = 0
	index := id.Index()
	c := l.conns.at(index)
	held := l.written(c)
	if invariants && len(b) < len(*held) {
		panic("listen: output cut by the handler")
	}
	if &(*held)[:1][0] != &b[:1][0] {
		l.buffers.put(*held) // append has moved it
	}
	l.fresh += len(b) - len(*held)
	*held = b
	l.markDirty(index, c)
}

func (l *loop) Unsent(id ID) int {
	if _, c := l.find(id); c != nil {
		return l.unsent(c)
	}
	return 0
}

func (l *loop) Await(id ID) {
	_, c := l.find(id)
	switch {
	case c == nil || c.is(connAwaited):
	case c.out == 0 && (c.strata == 0 || l.strata.at(c.strata).plain == nil):
		l.awaited = append(l.awaited, id)
	default:
		c.flags |= connAwaited
	}
}

// tellAwaited keeps what Await promised.
func (l *loop) tellAwaited() {
	l.awaited, l.telling = l.telling[:0], l.awaited
	for _, id := range l.telling {
		if _, c := l.find(id); c != nil {
			l.callWritable(id)
		}
	}
}

func (l *loop) markDirty(index uint32, c *conn) {
	if !c.is(connDirty) {
		c.flags |= connDirty
		l.dirty = append(l.dirty, index)
	}
}

// flush writes once to each connection with new output.
func (l *loop) flush() {
	for _, index := range l.dirty {
		c := l.conns.at(index)
		if !c.is(connDirty) {
			continue
		}
		if c.strata != 0 {
			l.encode(index, c)
		}
		c.flags &^= connDirty
		if c.out == 0 {
			continue
		}
		if !c.is(connBlocked) {
			l.write(index, c)
		}
		if c.is(connBlocked) && c.is(connOpening|connOpen) && l.unsent(c) > l.opts.MaxUnsent {
			l.count.slow.Add(1)
			l.fail(index, c, ErrUnsent)
		}
	}
	l.dirty = l.dirty[:0]
	l.gathered += l.fresh
	l.fresh = 0
	if l.maxHeld > 0 && l.gathered > l.maxHeld/8 {
		l.relieve()
	}
}

func (l *loop) unsent(c *conn) (n int) {
	if c.out != 0 {
		o := l.outputs.at(c.out)
		n = len(o.b) - o.off
	}
	if c.strata != 0 {
		n += len(l.strata.at(c.strata).plain)
	}
	return n
}

// write sends what the kernel takes of a connection's output. If that is not all,
// the connection is blocked until the driver reports canWrite.
func (l *loop) write(index uint32, c *conn) {
	o := l.outputs.at(c.out)
	if len(o.b) == 0 {
		l.dropOutput(c)
		return
	}
	n, err := l.send(c, o.b[o.off:])
	if err != nil && err != errAgain {
		l.fail(index, c, err)
		return
	}
	if n > 0 {
		o.off += n
		o.since = l.now
	}
	if o.off == len(o.b) {
		c.setClass(min(max(classOf(o.off), c.class()-1), bufferClasses-1))
		l.dropOutput(c)
		if c.is(connAwaited) {
			c.flags &^= connAwaited
			l.awaited = append(l.awaited, l.id(index, c))
		}
		return
	}
	l.compact(o)
	c.flags |= connBlocked
	if !c.is(connArmed) {
		c.flags |= connArmed
		if err := l.driver.watchWrite(c.sock, uint64(l.id(index, c))&^keyKind|keyConn); err != nil {
			l.fail(index, c, err)
		}
	}
}

// compact gives back room that is no longer needed, at a cost that the bytes
// already sent have paid for.
func (l *loop) compact(o *output) {
	rest := o.b[o.off:]
	if len(rest) > len(o.b)/2 {
		return
	}
	if k := classOf(len(rest)); cap(o.b) > minBuffer<<(k+2) {
		b := append(l.buffers.get(k), rest...)
		l.buffers.put(o.b)
		o.b = b
	} else {
		o.b = o.b[:copy(o.b, rest)]
	}
	o.off = 0
}

// unblock goes on with output that the kernel had refused.
func (l *loop) unblock(index uint32, c *conn) {
	c.flags &^= connBlocked | connAwaited // Writable comes, or it stays blocked
	if c.out != 0 {
		l.write(index, c)
	}
	switch {
	case c.is(connBlocked | connGone):
	case c.is(connClosing):
		l.hangUp(index, c)
	case c.is(connOpening):
	default:
		l.callWritable(l.id(index, c))
	}
}

func (l *loop) dropOutput(c *conn) {
	l.buffers.put(l.outputs.at(c.out).b)
	l.outputs.put(c.out)
	c.out = 0
}

// sweepOutputs closes the connections whose peer takes nothing (case 29). Between
// turns only blocked connections have output.
func (l *loop) sweepOutputs() {
	for k := range l.outputs.items {
		o := &l.outputs.items[k]
		if o.b == nil || l.now-o.since < l.opts.SendTimeout {
			continue
		}
		if c := l.conns.at(o.index); c.is(connOpening|connOpen) && c.is(connBlocked) {
			l.count.slow.Add(1)
			l.fail(o.index, c, ErrSendTimeout)
		}
	}
}
