package listen

import (
	"net/netip"
	"time"
)

// A listener of a loop takes so many connections in a pace, and leaves the rest in the
// kernel's queue until the next: 8,000 a second. A new client costs the node, and itself if
// it is on the same machine, so much more than a message that thousands at once would
// otherwise take the processors from everybody who is in. Fewer in a shorter pace would be
// kinder to these, and cost more for each: a loop that wakes up serves the more the better.
const (
	pace           = 3 * time.Millisecond
	acceptsPerPace = 24
	// acceptsPerTurn counts those too that the Gate turns away, which cost little.
	acceptsPerTurn = 64
)

// maxBacklog bounds the connections that wait in the kernel for one loop; the kernel
// cuts it to net.core.somaxconn.
const maxBacklog = 1 << 16

// listener is one loop's part of a listener.
type listener struct {
	name      string
	loopback  bool
	protocols []Protocol
	acceptor  acceptor
	resting   bool // until the next tick, after an error

	accepted int           // in this pace, but for those turned away
	nextPace time.Duration // by the loop's time
	held     bool          // until then
}

// relayed says whether the listener is behind proxies, whose address says nothing.
func (ln *listener) relayed() bool {
	if len(ln.protocols) == 0 {
		return false
	}
	_, is := ln.protocols[0].(*Proxied)
	return is
}

// addListener takes over a bound acceptor.
func (l *loop) addListener(ln *listener) error {
	if l.stopping {
		ln.acceptor.close()
		return ErrShutdown
	}
	if err := ln.acceptor.watch(keyListener | uint64(len(l.listeners))); err != nil {
		ln.acceptor.close()
		return err
	}
	l.listeners = append(l.listeners, ln)
	return nil
}

// acceptFrom takes waiting connections, but not so many that the others wait.
func (l *loop) acceptFrom(k int) {
	ln := l.listeners[k]
	if ln == nil || ln.held || ln.resting {
		return // the event is of before
	}
	if l.now >= ln.nextPace {
		ln.accepted, ln.nextPace = 0, l.now+pace
	}
	for taken := 0; ln.accepted < acceptsPerPace; taken++ {
		if taken == acceptsPerTurn || !l.acceptOne(ln) {
			return
		}
	}
	ln.held = true
	ln.acceptor.unwatch()
	if l.nextPace == 0 || ln.nextPace < l.nextPace {
		l.nextPace = ln.nextPace
	}
}

// letOn has listeners go on whose next pace has begun.
func (l *loop) letOn() {
	l.nextPace = 0
	for k, ln := range l.listeners {
		switch {
		case ln == nil || !ln.held:
		case l.now < ln.nextPace:
			if l.nextPace == 0 || ln.nextPace < l.nextPace {
				l.nextPace = ln.nextPace
			}
		default:
			ln.held = false
			l.watchListener(k, ln)
		}
	}
}

// watchListener has the loop told of connections that wait, if not now, then from the next
// tick on.
func (l *loop) watchListener(k int, ln *listener) {
	ln.resting = ln.acceptor.watch(keyListener|uint64(k)) != nil
}

// acceptOne takes one waiting connection; false: there is none, or the listener
// rests.
func (l *loop) acceptOne(ln *listener) bool {
	sock, remote, local, err := ln.acceptor.accept()
	switch err {
	case nil:
		l.openConn(ln, sock, remote, local)
		return true
	case errAgain:
		return false
	case errShed:
		l.count.acceptErrors.Add(1)
		l.count.refused.Add(1)
		return true
	default:
		// Most likely descriptors or memory are short: to try again at once would
		// spin (case 56).
		l.count.acceptErrors.Add(1)
		ln.resting = true
		ln.acceptor.unwatch()
		return false
	}
}

func (l *loop) openConn(ln *listener, sock int32, remote, local netip.AddrPort) {
	info := Info{Listener: ln.name, Remote: remote, Local: local, Loopback: ln.loopback}
	if !ln.relayed() && !l.callArrive(&info) {
		l.count.refused.Add(1)
		l.driver.hangUp(sock)
		return
	}
	ln.accepted++
	index, c := l.conns.take()
	c.sock, c.flags, c.heard = sock, connOpen, l.tickNow
	l.open++
	id := l.id(index, c)
	if len(ln.protocols) > 0 {
		if l.enclose(index, c, ln, info); !c.is(connGone) {
			l.watch(index, c)
		}
		return
	}
	if !l.callOpen(id, info) {
		l.count.refused.Add(1)
		if c.is(connOpen) {
			l.callDepart(&info)
			l.refuse(index, c)
			return
		}
		// Closed or failed within Open: its end is on its way.
		l.count.open.Add(1)
		return
	}
	l.count.accepted.Add(1)
	l.count.open.Add(1)
	if !c.is(connGone) {
		l.watch(index, c)
	}
}

func (l *loop) watch(index uint32, c *conn) {
	if err := l.driver.watch(c.sock, uint64(l.id(index, c))&^keyKind|keyConn); err != nil {
		l.fail(index, c, err)
	}
}

// refuse closes a connection that the Handler does not want, and of whose end it
// hears nothing.
func (l *loop) refuse(index uint32, c *conn) {
	if c.in != 0 {
		l.dropPartial(c)
	}
	if c.out != 0 {
		l.dropOutput(c)
	}
	l.driver.hangUp(c.sock)
	l.conns.put(index)
	l.open--
}

// rearmListeners ends the rest of listeners that had an error.
func (l *loop) rearmListeners() {
	for k, ln := range l.listeners {
		if ln != nil && ln.resting {
			l.watchListener(k, ln)
		}
	}
}

// closeListeners takes the connections that the kernel has accepted already, and
// ends the listeners: closing them at once would reset those connections.
func (l *loop) closeListeners() {
	for k, ln := range l.listeners {
		if ln == nil {
			continue
		}
		for range maxBacklog {
			if !l.acceptOne(ln) {
				break
			}
		}
		ln.acceptor.close()
		l.listeners[k] = nil
	}
}
