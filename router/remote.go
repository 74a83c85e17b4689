package router

// fullCopy is a full copy of a node's routes under way: what it named so far.
type fullCopy struct {
	exact   fingerprints        // under node self
	filters map[string]struct{} // wildcards and groups
}

// ApplyRemote applies the changes of node n, a peer or a shard. Calls for one
// node come one after the other. A change that makes no sense is passed over: a
// newer release may know more.
func (tb *Table) ApplyRemote(n NodeID, cs []Change) {
	mustBePeer(n)
	tb.mu.Lock()
	defer tb.mu.Unlock()
	c := tb.mu.copies[n]
	for i := range cs {
		tb.applyLocked(n, &cs[i])
		if c != nil {
			c.note(&cs[i])
		}
	}
	tb.checkSometimesLocked()
}

func mustBePeer(n NodeID) {
	if n == 0 || n >= MaxNodes {
		panic("router: remote routes of this node, or of one beyond MaxNodes")
	}
}

func (tb *Table) applyLocked(n NodeID, c *Change) {
	switch c.Op {
	case AddExact:
		tb.remote.add(c.Fingerprint, n)
	case RemoveExact:
		tb.remote.remove(c.Fingerprint, n)
	case AddWildcard, RemoveWildcard:
		if f, err := ParseFilter([]byte(c.Filter)); err == nil && f.at == 0 && f.wild {
			tb.setNodeLocked(f, n, c.Op == AddWildcard)
		}
	case SetGroup:
		if f, err := ParseFilter([]byte(c.Filter)); err == nil && f.at > 0 {
			tb.setShareLocked(f, n, c.Members)
		}
	}
}

func (tb *Table) setNodeLocked(f Filter, n NodeID, wanted bool) {
	tb.editLocked(f, func(e *entry, text string) *entry {
		switch {
		case e.hasNode(n) == wanted:
			return e
		case e == nil:
			return newOne(kindNode, uint64(n), 0, text, false)
		}
		set := setOf(e)
		if wanted {
			set.addNode(n)
		} else {
			set.removeNode(n)
		}
		return set.settled(e, text, false)
	})
}

func (tb *Table) setShareLocked(f Filter, n NodeID, members uint32) {
	g := tb.Group(f)
	if g == nil {
		if members == 0 {
			return
		}
		g = tb.openGroupLocked(f)
	}
	g.setShare(n, members)
	tb.closeGroupLocked(g)
}

func (c *fullCopy) note(ch *Change) {
	switch {
	case ch.Op == AddExact:
		c.exact.add(ch.Fingerprint, self)
	case ch.Op == RemoveExact:
		c.exact.remove(ch.Fingerprint, self)
	case ch.Op == AddWildcard, ch.Op == SetGroup && ch.Members > 0:
		c.filters[ch.Filter] = struct{}{}
	default:
		delete(c.filters, ch.Filter)
	}
}

// BeginRemote begins a full copy of n's routes, which come by ApplyRemote. What
// stood before serves until EndRemote. Begun again, the copy starts over.
func (tb *Table) BeginRemote(n NodeID) {
	mustBePeer(n)
	tb.mu.Lock()
	defer tb.mu.Unlock()
	tb.mu.copies[n] = &fullCopy{filters: map[string]struct{}{}}
}

// EndRemote ends the full copy: what it did not name is gone. Without a
// BeginRemote it does nothing.
func (tb *Table) EndRemote(n NodeID) {
	tb.mu.Lock()
	c := tb.mu.copies[n]
	delete(tb.mu.copies, n)
	tb.mu.Unlock()
	if c != nil {
		tb.keepOnly(n, c)
	}
}

// RemoveRemote forgets a node.
func (tb *Table) RemoveRemote(n NodeID) {
	mustBePeer(n)
	tb.mu.Lock()
	delete(tb.mu.copies, n)
	tb.mu.Unlock()
	tb.keepOnly(n, &fullCopy{})
}

// keepOnly removes n's routes that c did not name. It looks for them as a reader
// does, without the lock, and takes that for a few at a time, so that other
// writers are not held up. Nobody else changes n's routes meanwhile.
func (tb *Table) keepOnly(n NodeID, c *fullCopy) {
	gone := make([]Change, 0, chunkChanges)
	flush := func() {
		tb.mu.Lock()
		defer tb.mu.Unlock()
		for i := range gone {
			tb.applyLocked(n, &gone[i])
		}
		gone = gone[:0]
		tb.checkSometimesLocked()
	}
	remove := func(ch Change) {
		if gone = append(gone, ch); len(gone) == cap(gone) {
			flush()
		}
	}
	for fp, node := range tb.remote.all {
		if node == n && !c.exact.has(fp, self) {
			remove(Change{Op: RemoveExact, Fingerprint: fp})
		}
	}
	for pattern, e := range tb.wild.all {
		if _, named := c.filters[string(pattern)]; !named && e.hasNode(n) {
			remove(Change{Op: RemoveWildcard, Filter: string(pattern)})
		}
	}
	for e := range tb.groups.all {
		g := e.group()
		if _, named := c.filters[g.filter.text]; !named && g.hasShare(n) {
			remove(Change{Op: SetGroup, Filter: g.filter.text})
		}
	}
	flush()
}
