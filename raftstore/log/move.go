package log

import "fmt"

// mover copies what is still needed of the oldest segment to the end of the
// stream, so that a group which writes little, and whose entries lie in the
// oldest segments, does not keep all later ones from being recycled. It owns
// the copies in flight; the syncer runs it a piece at a time, with a batch.
type mover struct {
	segment *segment // nil if nothing is to be moved
	offset  int64
	chunk   []byte
	records []byte
}

const (
	// Segments are moved when there are more than moveSegments, which take more
	// than moveRatio times the bytes of live entries. What is written twice is at
	// most a share of 1/(moveRatio-1) of what is written.
	moveSegments = 4
	moveRatio    = 4
	// moveBytes are read with one batch.
	moveBytes = 256 << 10
)

func (m *mover) busy() bool { return m.segment != nil }

// plan chooses the segment to be moved.
func (m *mover) plan(s *segments) {
	oldest := s.list[0]
	if m.segment == oldest {
		return
	}
	m.segment = nil
	if files, live := s.sizes(); len(s.list) > moveSegments && files > moveRatio*live && oldest.live > 0 {
		m.segment, m.offset = oldest, segmentHeaderLen
	}
}

// move reads on in the segment to be moved and returns copies of the entries
// that are still needed, as records sealed without a mask, valid until the next
// call. An error is damage.
func (l *Log) move() ([]byte, error) {
	m := &l.syncer.mover
	if !m.busy() {
		return nil, nil
	}
	m.records = m.records[:0]
	rest, err := m.read(moveBytes)
	if err != nil {
		return nil, err
	}
	for m.segment != nil && len(rest) >= headerLen {
		h := parseHeader(rest)
		if h.size() > int64(len(rest)) {
			if len(m.records) > 0 {
				break // it is the first of the next piece
			}
			if m.offset+h.size() > m.segment.size {
				return nil, m.segment.damage(m.offset, "a record that was synced is longer than the file")
			}
			if rest, err = m.read(h.size()); err != nil {
				return nil, err
			}
			continue
		}
		h, record, ok := cutRecord(rest, m.segment.mask)
		if !ok {
			return nil, m.segment.damage(m.offset, "a record that was synced has a wrong checksum")
		}
		if h.kind == kindSeal {
			m.segment = nil
			break
		}
		where := location{m.segment.number, uint32(m.offset), uint32(len(record))}
		if (h.kind == kindEntry || h.kind == kindMoved) && l.Group(h.group).uses(h.index, where) {
			m.copy(record)
		}
		rest = rest[len(record):]
		m.offset += int64(len(record))
	}
	return m.records, nil
}

// read returns up to n bytes of the segment from the offset on.
func (m *mover) read(n int64) ([]byte, error) {
	n = min(n, m.segment.size-m.offset)
	if int64(cap(m.chunk)) < n {
		m.chunk = make([]byte, n)
	}
	chunk := m.chunk[:n]
	if _, err := m.segment.file.ReadAt(chunk, m.offset); err != nil {
		return nil, fmt.Errorf("read %s at %d: %w", m.segment.name, m.offset, err)
	}
	return chunk, nil
}

// copy appends record as a moved one.
func (m *mover) copy(record []byte) {
	from := len(m.records)
	m.records = append(m.records, record...)
	m.records[from+8] = byte(kindMoved)
	sealRecord(m.records[from:], 0)
}

// uses says whether entry i is there, and lies at at.
func (g *Group) uses(i uint64, at location) bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.mu.index.has(i) && *g.mu.index.at(i) == at
}
