package log

import (
	"fmt"
	"math/rand/v2"
	"slices"
)

// recover reads the stream back. What it lets the groups have is on stable
// storage when it returns: a process that was killed leaves behind writes that
// can be read and are not synced.
func (l *Log) recover() error {
	files, err := l.fs.List()
	if err != nil {
		return err
	}
	var numbers []uint32
	var spares []string
	for name := range files {
		if n, ok := segmentNumber(name); ok {
			numbers = append(numbers, n)
		} else if l.spares.know(name) {
			spares = append(spares, name)
		}
	}
	slices.Sort(numbers)
	if len(numbers) > 0 {
		err = l.replay(numbers, files)
	} else {
		err = l.start()
	}
	if err != nil {
		return err
	}
	for _, name := range spares {
		if files[name] == int64(l.options.SegmentBytes) && l.spares.put(name) {
			continue
		}
		if err := l.fs.Remove(name); err != nil {
			return err
		}
	}
	for _, g := range l.all() {
		g.staged = g.bounds()
	}
	l.mark()
	l.syncer.mover.plan(&l.segments)
	l.publish()
	l.check()
	return l.Err()
}

// start makes the first segment of an empty log.
func (l *Log) start() error {
	s := &l.syncer
	first := &segment{number: 1, mask: rand.Uint32(), firstBatch: 1, size: int64(l.options.SegmentBytes)}
	if err := l.create(first); err != nil {
		return err
	}
	l.segments.add(first)
	s.offset, s.batch, s.fresh = segmentHeaderLen, 1, true
	return nil
}

// replay opens the segments and applies all batches in them.
func (l *Log) replay(numbers []uint32, files map[string]int64) error {
	r := replay{log: l}
	for i, n := range numbers {
		if want := numbers[0] + uint32(i); n != want {
			return &DamageError{File: segmentName(want), Reason: "the file is missing"}
		}
		seg, err := l.open(n, files[segmentName(n)])
		if err != nil {
			return err
		}
		l.segments.add(seg)
	}
	l.syncer.batch = l.segments.list[0].firstBatch
	if err := r.run(); err != nil {
		return err
	}
	if err := l.complete(); err != nil {
		return err
	}
	return r.settle()
}

// open reads the header of a segment.
func (l *Log) open(number uint32, fileSize int64) (*segment, error) {
	name := segmentName(number)
	f, err := l.fs.Open(name, false)
	if err != nil {
		return nil, err
	}
	b := make([]byte, min(segmentHeaderLen, fileSize))
	if _, err = f.ReadAt(b, 0); err == nil {
		var seg *segment
		if seg, err = parseSegment(name, number, fileSize, b); err == nil {
			seg.file = f
			return seg, nil
		}
	}
	f.Close()
	return nil, err
}

// replay is the state of reading the stream back.
type replay struct {
	log  *Log
	data []byte // the segment being read

	// The last batch, which alone may not have been synced.
	lastSegment        *segment
	lastFrom, lastSize int64
}

// run applies the segments, oldest first, and leaves the syncer where the
// stream ends.
func (r *replay) run() error {
	l := r.log
	for i := 0; ; i++ {
		seg, left := l.segments.list[i], l.segments.list[i+1:]
		if err := r.load(seg); err != nil {
			return err
		}
		end, sealed, err := r.apply(seg)
		if err != nil {
			return err
		}
		switch {
		case sealed && len(left) == 0:
			return &DamageError{File: segmentName(seg.number + 1), Reason: "the file is missing, which follows on " + seg.name}
		case sealed:
			continue
		case len(left) > 1:
			return seg.damage(end, "the batches end here, and further segments follow")
		case len(left) == 1:
			// A crash between making the last segment and sealing this one.
			if err := r.discard(left[0], seg, end); err != nil {
				return err
			}
		}
		l.syncer.offset, l.syncer.fresh = end, end == segmentHeaderLen
		return nil
	}
}

// load reads a segment into memory.
func (r *replay) load(seg *segment) error {
	if int64(cap(r.data)) < seg.size {
		r.data = make([]byte, seg.size)
	}
	r.data = r.data[:seg.size]
	if _, err := seg.file.ReadAt(r.data, 0); err != nil {
		return fmt.Errorf("read %s: %w", seg.name, err)
	}
	return nil
}

// apply applies the batches of the loaded segment and returns where they end.
func (r *replay) apply(seg *segment) (end int64, sealed bool, err error) {
	s := &r.log.syncer
	if seg.firstBatch != s.batch {
		return 0, false, seg.damage(0, fmt.Sprintf("it begins with batch %d, and %d is due", seg.firstBatch, s.batch))
	}
	off := int64(segmentHeaderLen)
	for !sealed {
		h, body, ok := cutBatch(r.data[off:], seg.mask, s.batch)
		if !ok {
			break
		}
		first := off == segmentHeaderLen
		if first != (h.typ == flagCheckpoint) {
			return 0, false, seg.damage(off, "a checkpoint is not where it should be")
		}
		base := first && seg == r.log.segments.list[0]
		at := off + headerLen
		for len(body) > 0 {
			if sealed {
				return 0, false, seg.damage(at, "there is a record after the seal")
			}
			h := parseHeader(body)
			record := body[:h.size()]
			where := location{seg.number, uint32(at), uint32(len(record))}
			if err := r.record(h, record, where, base); err != nil {
				return 0, false, seg.damage(at, err.Error())
			}
			sealed = h.kind == kindSeal
			body = body[len(record):]
			at += int64(len(record))
		}
		r.lastSegment, r.lastFrom, r.lastSize = seg, off, at-off
		off = at
		s.batch++
	}
	if !sealed && laterBatch(r.data[off:], seg.mask, s.batch) {
		return 0, false, seg.damage(off, fmt.Sprintf("batch %d cannot be read, and a later one that was written after it was synced can", s.batch))
	}
	if !sealed && off+sealLen > seg.size {
		return 0, false, seg.damage(off, "the batches leave no room for a seal")
	}
	return off, sealed, nil
}

// record applies one record. The checkpoint at the base of the stream says what
// groups held before: their entries are found in copies further on.
func (r *replay) record(h header, record []byte, at location, base bool) error {
	if base && h.kind == kindState {
		g := r.log.Group(h.group)
		g.mu.Lock()
		defer g.mu.Unlock()
		x := &g.mu.index
		if x.next() != 0 || h.term < h.index || h.term > maxIndex {
			return fmt.Errorf("checkpoint of group %d says entries from %d up to %d", h.group, h.index, h.term)
		}
		x.first, x.hollow, x.found = h.index, h.term-h.index, make(map[uint64]location)
		return nil
	}
	if h.kind == kindSeal && h.index != uint64(at.segment)+1 {
		return fmt.Errorf("the seal names segment %d", h.index)
	}
	return r.log.apply(h, record, at)
}

// discard makes the last segment a spare again if nothing was ever written to
// it, which must be so if the one before it, seg, is not sealed.
func (r *replay) discard(last, seg *segment, end int64) error {
	if err := r.load(last); err != nil {
		return err
	}
	if laterBatch(r.data[segmentHeaderLen:], last.mask, 0) {
		return seg.damage(end, "the batches end here, and "+last.name+" has further ones")
	}
	l := r.log
	if err := l.recycle(last); err != nil {
		return err
	}
	l.segments.mu.Lock()
	defer l.segments.mu.Unlock()
	l.segments.list = l.segments.list[:len(l.segments.list)-1]
	return nil
}

// settle puts the last batch on stable storage. It is written once more: a sync
// that failed before the process ended may have left pages that only seem to be
// there. All before it was synced before it was written.
func (r *replay) settle() error {
	if r.lastSegment == nil {
		return nil
	}
	b := make([]byte, r.lastSize)
	if _, err := r.lastSegment.file.ReadAt(b, r.lastFrom); err != nil {
		return fmt.Errorf("read %s at %d: %w", r.lastSegment.name, r.lastFrom, err)
	}
	if err := r.log.writeAt(r.lastSegment, b, r.lastFrom); err != nil {
		return err
	}
	return r.log.syncFile(r.lastSegment)
}

// complete verifies that every entry was found.
func (l *Log) complete() error {
	for _, g := range l.all() {
		g.mu.Lock()
		hollow := g.mu.index.hollow
		missing := g.mu.index.fill()
		if missing == 0 {
			for _, at := range g.mu.index.entries[:hollow] {
				g.countLocked(at, 1)
			}
		}
		g.mu.Unlock()
		if missing != 0 {
			return &DamageError{
				File:   l.segments.list[0].name,
				Reason: fmt.Sprintf("entry %d of group %d is in none of the files from here on: an older one is missing", missing, g.id),
			}
		}
	}
	return nil
}

// cutBatch takes the batch of that number off the front of b, if it is there,
// is not a mark, and is whole and intact.
func cutBatch(b []byte, mask uint32, number uint64) (h header, body []byte, ok bool) {
	h, _, ok = cutRecord(b, mask)
	if !ok || h.kind != kindBatch || h.length != 0 || h.index != number ||
		h.term == 0 || h.term > uint64(len(b)-headerLen) {
		return h, nil, false
	}
	body = b[headerLen:][:h.term]
	for rest := body; len(rest) > 0; {
		h, record, ok := cutRecord(rest, mask)
		if !ok || h.kind == kindBatch {
			return h, nil, false
		}
		rest = rest[len(record):]
	}
	return h, body, true
}

// laterBatch says whether the head of a batch after number, or such a mark, is
// anywhere in b: it was written after number was synced.
func laterBatch(b []byte, mask uint32, number uint64) bool {
	for ; len(b) >= headerLen; b = b[1:] {
		if kind(b[8]) != kindBatch {
			continue
		}
		if h := parseHeader(b); h.kind == kindBatch && h.length == 0 && h.index > number && intact(b[:headerLen], mask) {
			return true
		}
	}
	return false
}
