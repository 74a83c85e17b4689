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
	s.levels, s.info = make([]level, 0, len(ln.protocols)), &info
	id := l.id(index, c)
	defer l.caught(id)
	wake := func() { l.Post(control(func(l *loop) { l.wakeLayers(id) })) }
	for _, p := range ln.protocols {
		s.levels = append(s.levels, level{layer: p.NewLayer(info, wake)})
	}
}

// introduce announces a connection to the Handler, now that its Layers are ready.
func (l *loop) introduce(index uint32, c *conn, s *strata) {
	info := *s.info
	s.info = nil
	if l.describe(index, c, s, &info); !c.is(connOpening) {
		return
	}
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
		l.closeOpen(index, c)
		l.forget(c)
	}
}

func (l *loop) describe(index uint32, c *conn, s *strata, info *Info) {
	defer l.caught(l.id(index, c))
	for k := range s.levels {
		s.levels[k].layer.Describe(info)
	}
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
