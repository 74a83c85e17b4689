package log

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"time"

	"dunlin/raftstore/diskwatch"
)

// syncer is the state of the goroutine that writes the stream.
type syncer struct {
	watch *diskwatch.Watch
	// Where the next batch goes in the tail segment, and its number. fresh: the
	// tail has no batch yet, and the next one begins with a checkpoint.
	offset int64
	batch  uint64
	fresh  bool

	mover     mover
	requests  []*request
	buffer    []byte // the batch
	published sizes
}

const (
	// maxBatchBytes is how much is written at once, if no single request is larger.
	maxBatchBytes = 8 << 20
	// sealLen is kept free at the end of a segment: a batch that holds a seal.
	sealLen = 2 * headerLen
	// markAfter is how long after a batch it is marked as synced, see mark.
	markAfter = 100 * time.Millisecond
)

// sync is the goroutine that stores requests. Those that come while a batch is
// being written are the next batch: the slower the disk, the larger they get.
func (l *Log) sync() {
	defer l.running.Done()
	s := &l.syncer
	timer := time.NewTimer(markAfter)
	defer timer.Stop()
	marking := true // the timer runs
	for {
		batch, bytes, closed := l.queue.take(s.requests[:0], maxBatchBytes)
		s.requests = batch
		switch {
		case len(batch) > 0 || !closed && l.Err() == nil && s.mover.busy():
			err := l.store(batch, bytes)
			for _, r := range batch {
				r.answer(err)
			}
			l.retire() // nobody waits for that
			if len(batch) > 1 {
				// Those just answered run and come with what they want stored next; else
				// the first of them would get a batch of its own, and the rest the next
				// one: twice the syncs.
				runtime.Gosched()
			}
			clear(batch)
			if !marking {
				timer.Reset(markAfter)
				marking = true
			}
			continue
		case closed:
			l.finish()
			return
		}
		select {
		case <-l.queue.wake:
		case <-timer.C:
			marking = false
			l.mark()
		}
	}
}

// store makes one batch of the requests, stores it and changes the indexes. The
// error is the same for all; what concerns one request alone is in it.
func (l *Log) store(batch []*request, bytes int) error {
	if err := l.Err(); err != nil {
		return err
	}
	s := &l.syncer
	moved, err := l.move()
	if err != nil {
		return l.fail(err)
	}
	if err := l.reserve(int64(bytes + len(moved))); err != nil {
		return l.fail(err)
	}
	b := l.begin()
	empty := len(b)
	b = append(b, moved...)
	for _, r := range batch {
		b, r.err = r.stage(b)
	}
	if s.buffer = b; len(b) == empty {
		return nil // nothing to change, as when what is to be deleted is not there
	}
	start := time.Now()
	if err := l.write(b); err != nil {
		return l.fail(err)
	}
	l.metrics.stored(len(batch), len(b), time.Since(start))
	l.metrics.moved.Add(float64(len(moved)))
	for _, r := range batch {
		if r.op == opStore && r.err == nil {
			r.group.remember(r)
		}
	}
	if cap(s.buffer) > 2*maxBatchBytes {
		s.buffer = nil
	}
	return nil
}

// remember puts stored entries into the cache, as far as nothing that was
// stored with them deleted them.
func (g *Group) remember(r *request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, entry := range r.logs {
		g.mu.recent.push(entry)
	}
	g.mu.recent.cutHead(g.mu.index.first)
	g.mu.recent.cutTail(g.mu.index.next())
}

// begin starts a batch in the syncer's buffer: a header to be completed by
// write, and a checkpoint if the tail is fresh.
func (l *Log) begin() []byte {
	s := &l.syncer
	h := header{kind: kindBatch, index: s.batch}
	if s.fresh {
		h.typ = flagCheckpoint
	}
	b := appendHeader(s.buffer[:0], h)
	if s.fresh {
		b = l.appendCheckpoint(b)
	}
	return b
}

// appendCheckpoint appends the state of all groups, sealed without a mask.
func (l *Log) appendCheckpoint(b []byte) []byte {
	from := len(b)
	for _, g := range l.all() {
		b = g.appendState(b)
	}
	for rest := b[from:]; len(rest) > 0; {
		size := parseHeader(rest).size()
		sealRecord(rest[:size], 0)
		rest = rest[size:]
	}
	return b
}

// write completes the batch b, whose records are sealed without a mask, stores
// it at the end of the tail and applies it.
func (l *Log) write(b []byte) error {
	s, tail := &l.syncer, l.segments.tail()
	h := parseHeader(b)
	h.term = uint64(len(b) - headerLen)
	appendHeader(b[:0], h)
	sealRecord(b[:headerLen], tail.mask)
	for rest := b[headerLen:]; len(rest) > 0; {
		remask(rest, tail.mask)
		rest = rest[parseHeader(rest).size():]
	}
	if err := l.writeAt(tail, b, s.offset); err != nil {
		return err
	}
	if err := l.syncFile(tail); err != nil {
		return err
	}
	at := s.offset
	s.offset += int64(len(b))
	s.batch++
	s.fresh = false
	for off := headerLen; off < len(b); {
		h := parseHeader(b[off:])
		record := b[off:][:h.size()]
		where := location{tail.number, uint32(at) + uint32(off), uint32(len(record))}
		if err := l.apply(h, record, where); err != nil {
			panic("log: stored what contradicts the state: " + err.Error())
		}
		off += len(record)
	}
	if s.offset > tail.size/2 && l.spares.count() == 0 {
		select {
		case l.spares.want <- struct{}{}:
		default:
		}
	}
	return nil
}

func (l *Log) writeAt(seg *segment, b []byte, offset int64) error {
	err := l.syncer.watch.Over("write", func() error {
		_, err := seg.file.WriteAt(b, offset)
		return err
	})
	if err != nil {
		return fmt.Errorf("write %d bytes to %s at %d: %w", len(b), seg.name, offset, err)
	}
	return nil
}

func (l *Log) syncFile(seg *segment) error {
	l.metrics.syncs.Inc()
	if err := l.syncer.watch.Over("sync", seg.file.Sync); err != nil {
		return fmt.Errorf("sync %s: %w", seg.name, err)
	}
	return nil
}

// mark writes the header of an empty batch where the next one will be: a sign
// that all before it was synced. Without it, damage to the last batch could not
// be told from a write that a crash cut short. The mark itself is not synced; it
// is lost or it is right.
func (l *Log) mark() {
	s := &l.syncer
	if l.Err() != nil {
		return
	}
	s.buffer = appendHeader(s.buffer[:0], header{kind: kindBatch, index: s.batch})
	sealRecord(s.buffer, l.segments.tail().mask)
	if err := l.writeAt(l.segments.tail(), s.buffer, s.offset); err != nil {
		_ = l.fail(err) // told to the next caller
	}
}

// finish leaves the log as a clean stop should.
func (l *Log) finish() {
	l.mark()
	if l.Err() != nil {
		return
	}
	if err := l.syncFile(l.segments.tail()); err != nil {
		_ = l.fail(err) // Close returns it
	}
}

// reserve makes room for a batch of so many bytes of records in the tail, if
// need be by going on to the next segment: it is made durable, the tail is
// sealed, and only then anything is written to the new one. So all segments but
// the last are whole, and a missing last one is noticed.
func (l *Log) reserve(records int64) error {
	s, tail := &l.syncer, l.segments.tail()
	need := headerLen + records + sealLen
	if !s.fresh && s.offset+need <= tail.size {
		return nil
	}
	checkpoint := int64(len(l.appendCheckpoint(nil)))
	if s.fresh && s.offset+checkpoint+need <= tail.size {
		return nil
	}
	next := &segment{
		number:     tail.number + 1,
		mask:       rand.Uint32(),
		firstBatch: s.batch + 1, // after the seal
		size:       max(int64(l.options.SegmentBytes), segmentHeaderLen+checkpoint+need),
	}
	if err := l.create(next); err != nil {
		return fmt.Errorf("make log segment %d: %w", next.number, err)
	}
	b := l.begin()
	from := len(b)
	b = appendHeader(b, header{kind: kindSeal, index: uint64(next.number)})
	sealRecord(b[from:], 0)
	if err := l.write(b); err != nil {
		return err
	}
	l.segments.add(next)
	s.offset, s.fresh = segmentHeaderLen, true
	s.mover.plan(&l.segments)
	return nil
}

// create makes the file of a segment, durably.
func (l *Log) create(seg *segment) error {
	from := ""
	if seg.size == int64(l.options.SegmentBytes) {
		from = l.spares.take()
	}
	spare := from != ""
	if !spare {
		from = l.spares.name()
	}
	over := l.syncer.watch.Over
	if err := over("open", func() (err error) {
		seg.file, err = l.fs.Open(from, !spare)
		return err
	}); err != nil {
		return err
	}
	if !spare {
		// Its last byte gives the file its size; nobody waits for the rest.
		if err := l.writeAt(seg, []byte{0}, seg.size-1); err != nil {
			return err
		}
	}
	if err := l.writeAt(seg, seg.header(), 0); err != nil {
		return err
	}
	if err := l.syncFile(seg); err != nil {
		return err
	}
	seg.name = segmentName(seg.number)
	return over("rename", func() error { return l.fs.Rename(from, seg.name) })
}

// retire makes spares of the oldest segments as far as no group needs them. A
// fresh tail has no checkpoint yet, and the one before it is still needed.
func (l *Log) retire() {
	if l.Err() != nil || l.syncer.fresh {
		return
	}
	for len(l.segments.list) > 1 {
		seg := l.segments.list[0]
		if seg.live > 0 || seg.readers.Load() > 0 {
			break
		}
		l.segments.dropFirst()
		if err := l.recycle(seg); err != nil {
			_ = l.fail(fmt.Errorf("recycle %s: %w", seg.name, err)) // told to the next caller
			return
		}
	}
	l.syncer.mover.plan(&l.segments)
	l.publish()
	l.check()
}

// recycle makes a spare of a segment, or removes it.
func (l *Log) recycle(seg *segment) error {
	seg.file.Close() // only read from by now
	return l.syncer.watch.Over("recycle", func() error {
		name := l.spares.name()
		if seg.size != int64(l.options.SegmentBytes) || l.spares.count() >= maxSpares {
			return l.fs.Remove(seg.name)
		}
		if err := l.fs.Rename(seg.name, name); err != nil {
			return err
		}
		l.spares.put(name)
		return nil
	})
}
