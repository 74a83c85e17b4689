package listen

// enclose puts a listener's Layers on a new connection. It is counted and bounded
// from now on, and has OpenTimeout to make them ready.
func (l *loop) enclose(index uint32, c *conn, ln *listener, info Info) {
	l.makeRoomForOpening()
	c.flags = connOpening | connUnknown
	l.opening++
	l.count.opening.Add(1)
	l.openings = append(l.openings, linger{index, c.gen, l.now + l.opts.OpenTimeout})

	for len(l.levelBufs) < len(ln.protocols) {
		l.levelBufs = append(l.levelBufs, make([]byte, layerBuffer))
	}
	var s *strata
	c.strata, s = l.strata.take()
	s.levels, s.info, s.inside = make([]level, 0, len(ln.protocols)), &info, !ln.relayed()
	id := l.id(index, c)
	defer l.caught(id)
	wake := func() { l.Post(control(func(l *loop) { l.wakeLayers(id) })) }
	for _, p := range ln.protocols {
		s.levels = append(s.levels, level{layer: p.NewLayer(info, wake)})
	}
}

// introduce announces a connection to the Handler, now that its Layers are ready.
func (l *loop) introduce(index uint32, c *conn, s *strata) {
	if l.describe(index, c, s, len(s.levels)); !c.is(connOpening) {
		return
	}
	info := *s.info
	s.info = nil
	l.leftOpening()
	l.count.open.Add(1)
	c.flags = c.flags&^(connOpening|connUnknown) | connOpen
	c.heard = l.tickNow
	if l.callOpen(l.id(index, c), info) {
		l.count.accepted.Add(1)
		return
	}
	l.count.refused.Add(1)
	if c.is(connOpen) {
		l.callDepart(&info)
		l.closeOpen(index, c)
		l.forget(c)
	}
}

// describe has the levels up to one tell what they know of the peer, each once.
func (l *loop) describe(index uint32, c *conn, s *strata, levels int) {
	defer l.caught(l.id(index, c))
	for s.told < levels {
		s.told++
		s.levels[s.told-1].layer.Describe(s.info)
	}
}

// admit asks the Gate of a connection behind a proxy, as soon as that has said whose it
// is. False: it has ended.
func (l *loop) admit(index uint32, c *conn, s *strata) bool {
	if l.describe(index, c, s, 1); !c.is(connOpening) {
		return false
	}
	if s.inside = l.callArrive(s.info); !s.inside {
		l.count.refused.Add(1)
		l.end(index, c, nil)
	}
	return s.inside
}

// forget has the Handler hear no more of a connection that it has refused.
func (l *loop) forget(c *conn) {
	if !c.is(connUnknown) {
		c.flags |= connUnknown
		l.count.open.Add(^uint64(0))
	}
}

// failedOpening counts a connection that ends before the Handler knew of it.
func (l *loop) failedOpening() {
	l.leftOpening()
	l.count.unopened.Add(1)
}

func (l *loop) leftOpening() {
	l.opening--
	l.count.opening.Add(^uint64(0))
}

// makeRoomForOpening ends the connection that has been opening for longest, if there
// are as many as may be: a peer that goes about it in earnest is done by then (case 6).
func (l *loop) makeRoomForOpening() {
	for len(l.openings) > 0 {
		g := l.openings[0]
		c := l.conns.find(g.generation, g.index, connOpening)
		if c != nil && l.opening < l.opts.MaxOpening {
			return
		}
		l.openings = l.openings[1:]
		if c != nil {
			l.count.shed.Add(1)
			l.end(g.index, c, nil)
		}
	}
}

// sweepOpenings ends the connections whose Layers are not ready in time (case 50).
func (l *loop) sweepOpenings() {
	for len(l.openings) > 0 {
		g := l.openings[0]
		c := l.conns.find(g.generation, g.index, connOpening)
		if c != nil && g.until > l.now {
			return
		}
		l.openings = l.openings[1:]
		if c != nil {
			l.count.openTimeouts.Add(1)
			l.end(g.index, c, nil)
		}
	}
	l.openings = nil
}
