package log

import "fmt"

// apply changes the groups as an intact record says that lies at at. Both the
// syncer, after it stored a batch, and recovery end here, so that what is read
// back is what was. An error says that the record contradicts those before it.
func (l *Log) apply(h header, record []byte, at location) error {
	g := l.Group(h.group)
	g.mu.Lock()
	defer g.mu.Unlock()
	x := &g.mu.index
	if h.index > maxIndex {
		return fmt.Errorf("index %d of group %d", h.index, g.id)
	}
	switch h.kind {
	case kindEntry:
		if !x.empty() && h.index != x.next() {
			return fmt.Errorf("entry %d of group %d where %d is due", h.index, g.id, x.next())
		}
		if h.index == 0 || h.length < entryPrefixLen || h.extra > h.length-entryPrefixLen {
			return fmt.Errorf("entry %d of group %d is not one", h.index, g.id)
		}
		x.push(h.index, at)
		g.countLocked(at, 1)
	case kindMoved:
		if !x.has(h.index) {
			return fmt.Errorf("copy of entry %d of group %d, which has %d to %d", h.index, g.id, x.first, x.next())
		}
		if h.index < x.first+x.hollow {
			x.found[h.index] = at // counted by complete
			break
		}
		old := x.at(h.index)
		g.countLocked(*old, -1)
		*old = at
		g.countLocked(at, 1)
	case kindCutHead:
		if h.index <= x.first && !x.empty() {
			return fmt.Errorf("entries of group %d are cut below %d and begin at %d", g.id, h.index, x.first)
		}
		if x.empty() {
			x.first = h.index
		} else {
			g.forgetLocked(x.cutHead(h.index))
		}
		g.mu.recent.cutHead(h.index)
	case kindCutTail:
		if !x.has(h.index) {
			return fmt.Errorf("entries of group %d are cut from %d on and end before %d", g.id, h.index, x.next())
		}
		g.forgetLocked(x.cutTail(h.index))
		g.mu.recent.cutTail(h.index)
	case kindSet:
		key, value, err := decodeSet(h, record)
		if err != nil {
			return err
		}
		if g.mu.stable == nil {
			g.mu.stable = make(map[string][]byte)
		}
		g.mu.stable[key] = value
	case kindRemove:
		g.forgetLocked(x.entries)
		*x = index{}
		g.mu.stable = nil
		g.mu.recent.clear()
	case kindState:
		if h.index != x.first || h.term != x.next() {
			return fmt.Errorf("checkpoint of group %d says entries from %d up to %d, and there are %d up to %d",
				g.id, h.index, h.term, x.first, x.next())
		}
	case kindSeal:
	default:
		return fmt.Errorf("record of unknown kind %d", h.kind)
	}
	return nil
}

// forgetLocked counts entries as gone.
func (g *Group) forgetLocked(gone []location) {
	for _, at := range gone {
		g.countLocked(at, -1)
	}
}

// countLocked keeps account of the bytes of an entry at at, where sign is 1 if
// it is new there and -1 if it is gone.
func (g *Group) countLocked(at location, sign int64) {
	g.mu.bytes += sign * int64(at.length)
	g.log.segments.get(at.segment).live += sign * int64(at.length)
}
