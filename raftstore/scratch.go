package raftstore

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	"dunlin/raftstore/diskwatch"

	"github.com/cespare/xxhash/v2"
)

// ErrScratch says that a message could not be written to, or read back from, the
// files that queued messages spill to. The state cannot be had any more: the node
// must end.
var ErrScratch = errors.New("raftstore: spilled messages")

// scratches makes the scratch files of a store's states. They are a cache of what
// is replicated: nothing of an earlier start is ever read.
type scratches struct {
	dir     string // "" for none: all messages stay in memory
	share   int    // bytes of queued messages that one state holds there
	least   int    // bytes of a message that is worth spilling
	made    atomic.Uint64
	running *sync.WaitGroup
	watch   func() *diskwatch.Watch // a new one, for one goroutine (D3)
}

// clear makes the directory, empty.
func (s *scratches) clear() error {
	if s.dir == "" {
		return nil
	}
	if err := os.RemoveAll(s.dir); err != nil {
		return fmt.Errorf("%w: %w", ErrScratch, err)
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fmt.Errorf("%w: %w", ErrScratch, err)
	}
	return nil
}

// open is a state's scratch, nil without a directory. Nothing is written until
// something is spilled.
func (s *scratches) open() *scratch {
	if s.dir == "" {
		return nil
	}
	return &scratch{
		all: s, name: filepath.Join(s.dir, fmt.Sprint(s.made.Add(1))),
		segments: make(map[uint32]*segment), done: make(chan *chore, 1), watch: s.watch(),
	}
}

// scratch is where the messages of one state lie that have no room in memory. It
// belongs to the goroutine that owns the state, and takes no part in what that
// holds. A chore, one at a time, does the reading and writing elsewhere.
//
// Invariants: a segment's live counts the messages that name it and those in dead;
// places are never used again.
type scratch struct {
	all      *scratches
	name     string // of the files, up to their number
	segments map[uint32]*segment
	dead     []spilled // let go of while a view may still read them
	views    int       // under way
	closed   bool
	busy     bool // a chore is under way
	done     chan *chore
	file     int64 // bytes in the files
	live     int64 // bytes of them that are needed

	// Of the chore under way, if there is one.
	tail  *segment // is appended to
	last  uint32   // number of the latest segment
	watch *diskwatch.Watch
}

// segment is one file.
type segment struct {
	number uint32
	file   *os.File
	size   int64 // bytes written
	live   int
	used   int64    // bytes of what is live
	refs   []uint32 // of the messages that were written, for who rewrites it
}

// segmentBytes is how large a file grows before the next is begun.
const segmentBytes = 16 << 20

// place is where a spilled message lies; the zero place is nowhere.
type place struct{ segment, offset uint32 }

// spilled is a message in, or on its way to or from, a file.
type spilled struct {
	ref    uint32
	at     place
	size   uint32
	packed []byte   // to be written, or what was read
	from   *segment // to be read from
}

// recordHead is the checksum before each message in a file: of the message and its
// place, so that one that was written elsewhere is not taken for it.
const recordHead = 8

func (s *spilled) checksum(packed []byte) uint64 {
	return xxhash.Sum64(packed) ^ (uint64(s.at.segment)<<32|uint64(s.at.offset))*0x9E3779B97F4A7C15
}

// chore is what is read and written at once. All but run is for the goroutine that
// owns the state.
type chore struct {
	writes []spilled // place and segment are filled in
	loads  []spilled // packed is filled in
	// rewrites says that the loads are for a segment's sake, of which little is needed.
	rewrites bool
	gone     []*segment // to be removed
	made     []*segment
	written  int64
	err      error
}

func (c *chore) empty() bool { return len(c.writes)+len(c.loads)+len(c.gone) == 0 }

// start has c run elsewhere; it comes back by done.
func (s *scratch) start(c *chore) {
	s.busy = true
	s.all.running.Go(func() {
		s.run(c)
		s.done <- c
	})
}

// run does what is to be done of c where it is called.
func (s *scratch) run(c *chore) {
	if c.err = s.write(c); c.err != nil {
		return
	}
	for i := range c.loads {
		if c.err = c.loads[i].read(s.watch); c.err != nil {
			return
		}
	}
	for _, seg := range c.gone {
		if c.err = s.watch.Over("remove", seg.remove); c.err != nil {
			return
		}
	}
}

// write appends what c has to write.
func (s *scratch) write(c *chore) error {
	var b []byte
	flush := func() error {
		if len(b) == 0 {
			return nil
		}
		if err := s.watch.Over("write", func() error {
			_, err := s.tail.file.WriteAt(b, s.tail.size-int64(len(b)))
			return err
		}); err != nil {
			return fmt.Errorf("%w: %w", ErrScratch, err)
		}
		b = b[:0]
		return nil
	}
	for i := range c.writes {
		w := &c.writes[i]
		if s.tail == nil || s.tail.size >= segmentBytes {
			if err := flush(); err != nil {
				return err
			}
			s.last++
			var f *os.File
			if err := s.watch.Over("create", func() (err error) {
				f, err = os.OpenFile(fmt.Sprint(s.name, "-", s.last), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
				return err
			}); err != nil {
				return fmt.Errorf("%w: %w", ErrScratch, err)
			}
			s.tail = &segment{number: s.last, file: f}
			c.made = append(c.made, s.tail)
		}
		w.from, w.at = s.tail, place{s.tail.number, uint32(s.tail.size)}
		b = binary.BigEndian.AppendUint64(b, w.checksum(w.packed))
		b = append(b, w.packed...)
		s.tail.size += recordHead + int64(w.size)
		c.written += recordHead + int64(w.size)
	}
	return flush()
}

// read fills in packed. It may be called on any goroutine, with a watch of its own.
func (s *spilled) read(w *diskwatch.Watch) error {
	b := make([]byte, recordHead+int(s.size))
	if err := w.Over("read", func() error {
		_, err := s.from.file.ReadAt(b, int64(s.at.offset))
		return err
	}); err != nil {
		return fmt.Errorf("%w: %w", ErrScratch, err)
	}
	if s.packed = b[recordHead:]; s.checksum(s.packed) != binary.BigEndian.Uint64(b) {
		return fmt.Errorf("%w: checksum of %d bytes at %d of %s", ErrScratch, s.size, s.at.offset, s.from.file.Name())
	}
	return nil
}

func (seg *segment) remove() error {
	err := seg.file.Close()
	if err = errors.Join(err, os.Remove(seg.file.Name())); err != nil {
		return fmt.Errorf("%w: %w", ErrScratch, err)
	}
	return nil
}

// take is called with a chore that ran, before what it wrote is used.
func (s *scratch) take(c *chore) {
	for _, seg := range c.made {
		s.segments[seg.number] = seg
	}
	s.file += c.written
	for i := range c.writes {
		w := &c.writes[i]
		w.from.live++
		w.from.used += recordHead + int64(w.size)
		s.live += recordHead + int64(w.size)
		w.from.refs = append(w.from.refs, w.ref)
	}
}

// forget lets go of a message in a file. A view may need it still.
func (s *scratch) forget(at place, size uint32) {
	if s.views > 0 || s.closed {
		s.dead = append(s.dead, spilled{at: at, size: size})
		return
	}
	seg := s.segments[at.segment]
	seg.live--
	seg.used -= recordHead + int64(size)
	s.live -= recordHead + int64(size)
}

// unview is called when a view has ended.
func (s *scratch) unview() {
	if s.views--; s.views == 0 && !s.closed {
		for _, d := range s.dead {
			s.forget(d.at, d.size)
		}
		s.dead = nil
	}
}

// unneeded takes out the segments in which nothing is needed any more.
func (s *scratch) unneeded() (gone []*segment) {
	if s.live == s.file {
		return nil
	}
	for n, seg := range s.segments {
		if seg.live == 0 && seg != s.tail {
			gone = append(gone, seg)
			delete(s.segments, n)
			s.file -= seg.size
		}
	}
	return gone
}

// sparse is the segment of which the least is needed, if the files are more than
// twice as large as they need to be; else nil.
func (s *scratch) sparse() *segment {
	if s.views > 0 || s.file < 2*s.live+4*segmentBytes {
		return nil
	}
	segs := make([]*segment, 0, len(s.segments))
	for _, seg := range s.segments {
		if seg != s.tail {
			segs = append(segs, seg)
		}
	}
	if len(segs) == 0 {
		return nil
	}
	return slices.MinFunc(segs, func(a, b *segment) int {
		return cmp.Or(cmp.Compare(a.used, b.used), cmp.Compare(a.number, b.number))
	})
}

// close removes the files, behind the chore that may be under way. A view that
// still reads finds its file closed.
func (s *scratch) close() {
	if s == nil {
		return
	}
	s.closed = true
	segs, busy := slices.Collect(maps.Values(s.segments)), s.busy
	s.all.running.Go(func() {
		if busy {
			segs = append(segs, (<-s.done).made...)
		}
		for _, seg := range segs {
			_ = seg.remove() // the next start does
		}
	})
}
