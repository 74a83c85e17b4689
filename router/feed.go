package router

// chunkChanges is how many changes Snapshot yields at once.
const chunkChanges = 512

// Version numbers this node's own changes; it rises by one with each. It takes
// no lock.
func (tb *Table) Version() uint64 { return tb.mu.log.version() }

// Changes appends to dst the own changes after version since, oldest first, at
// most max, and the version reached. ok is false when the log no longer
// reaches back to since and a full copy is needed.
func (tb *Table) Changes(since uint64, max int, dst []Change) (out []Change, version uint64, ok bool) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	return tb.mu.log.since(since, max, dst)
}

// KeepChanges has the table keep so many own changes from now on, a power of two,
// and forget those until now. With 0 whoever is behind needs a full copy.
func (tb *Table) KeepChanges(most int) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	tb.mu.log.keep(most)
}

// Snapshot calls yield with chunks of changes that rebuild all own routes as of
// the version it returns. It takes no lock, so that writers go on: what they
// change meanwhile may be in the chunks or not, and comes again with the changes
// after the version. A chunk is borrowed. If yield says no, the rest is left out.
func (tb *Table) Snapshot(yield func([]Change) bool) (version uint64) {
	version = tb.Version()
	chunk := make([]Change, 0, chunkChanges)
	add := func(c Change) bool {
		if chunk = append(chunk, c); len(chunk) < chunkChanges {
			return true
		}
		more := yield(chunk)
		chunk = chunk[:0]
		return more
	}
	for fp := range tb.mu.own.all {
		if !add(Change{Op: AddExact, Fingerprint: fp}) {
			return version
		}
	}
	for pattern, e := range tb.wild.all {
		if e.isOwn() && !add(Change{Op: AddWildcard, Filter: string(pattern)}) {
			return version
		}
	}
	for e := range tb.groups.all {
		g := e.group()
		if n := g.own(); n > 0 && !add(Change{Op: SetGroup, Filter: g.filter.text, Members: n}) {
			return version
		}
	}
	if len(chunk) > 0 {
		yield(chunk)
	}
	return version
}

// Notify has f called after own changes, from the writer's goroutine and
// without the table's lock; f must not block.
func (tb *Table) Notify(f func()) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	tb.mu.notify = f
}

func (tb *Table) logLocked(c Change) { tb.mu.log.add(c) }
