package listen

import "runtime/debug"

// The calls of the Handler. A panic closes the connection at hand and nothing else
// (GUARANTEES, end of section 5).

func (l *loop) callOpen(id ID, info Info) bool {
	defer l.caught(id)
	return l.handler.Open(id, info)
}

// callArrive asks the Gate, if there is one.
func (l *loop) callArrive(info *Info) (in bool) {
	if l.opts.Gate == nil {
		return true
	}
	defer l.caught(0)
	return l.opts.Gate.Arrive(info)
}

func (l *loop) callDepart(info *Info) {
	if l.opts.Gate == nil {
		return
	}
	defer l.caught(0)
	l.opts.Gate.Depart(info)
}

func (l *loop) callReceive(id ID, b []byte) (n, want int) {
	defer l.caught(id)
	return l.handler.Receive(id, b)
}

func (l *loop) callWritable(id ID) {
	defer l.caught(id)
	l.handler.Writable(id)
}

func (l *loop) callIdle(id ID) {
	defer l.caught(id)
	l.handler.Idle(id)
}

func (l *loop) callClosed(id ID, err error) {
	defer l.caught(id)
	l.handler.Closed(id, err)
}

func (l *loop) callMail(m any) {
	defer l.caught(0)
	l.handler.Mail(m)
}

func (l *loop) callTurn() {
	defer l.caught(0)
	l.handler.Turn()
}

func (l *loop) callTick() {
	defer l.caught(0)
	l.handler.Tick()
}

// caught is deferred around each call of the Handler. With the invariants tag the
// panic goes on, so that every test fails.
func (l *loop) caught(id ID) {
	if invariants {
		return
	}
	r := recover()
	if r == nil {
		return
	}
	l.count.panics.Add(1)
	l.log.Error("panic in event loop", "loop", l.index, "connection", uint64(id), "panic", r, "stack", string(debug.Stack()))
	// A buffer that is still lent holds half a packet.
	for _, id := range []ID{id, l.lent} {
		if id.Loop() != l.index {
			continue
		}
		if c := l.conns.find(id.generation(), id.Index(), connOpening|connOpen); c != nil {
			l.fail(id.Index(), c, ErrPanic)
		}
	}
	l.lent = 0
}
