package log

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strings"
	"sync"
	"sync/atomic"
)

// A segment is a file of a size fixed when it is made: a header, then batches
// without a gap, the last of which is a seal if another segment follows. What
// lies behind the last batch is left from an earlier use.
//
//	 0  "DUNLINLG"
//	 8  version of the format
//	12  number of the segment
//	16  mask of the checksums in it
//	20  crc32c of the header, this field 0
//	24  size of the file
//	32  number of its first batch
//
// The mask is drawn at random for each use of a file: records of an earlier use
// are not intact under it, and no client can put into an entry what would be
// taken for a batch.
type segment struct {
	number     uint32
	mask       uint32
	firstBatch uint64
	size       int64
	name       string
	file       File

	live    int64        // size of the entries that the indexes find here; the syncer's
	readers atomic.Int32 // those that read without a lock
}

const (
	formatVersion    = 1
	segmentHeaderLen = 64
	segmentMagic     = "DUNLINLG"
)

func segmentName(number uint32) string { return fmt.Sprintf("%08x.log", number) }

// segmentNumber is the reverse of segmentName.
func segmentNumber(name string) (number uint32, ok bool) {
	if !strings.HasSuffix(name, ".log") {
		return 0, false
	}
	if _, err := fmt.Sscanf(name, "%08x.log", &number); err != nil {
		return 0, false
	}
	return number, number > 0 && segmentName(number) == name
}

func (s *segment) header() []byte {
	b := make([]byte, segmentHeaderLen)
	copy(b, segmentMagic)
	binary.LittleEndian.PutUint32(b[8:], formatVersion)
	binary.LittleEndian.PutUint32(b[12:], s.number)
	binary.LittleEndian.PutUint32(b[16:], s.mask)
	binary.LittleEndian.PutUint64(b[24:], uint64(s.size))
	binary.LittleEndian.PutUint64(b[32:], s.firstBatch)
	binary.LittleEndian.PutUint32(b[20:], crc32.Checksum(b, castagnoli))
	return b
}

// parseSegment reads the header of the file called name, of fileSize bytes.
func parseSegment(name string, number uint32, fileSize int64, b []byte) (*segment, error) {
	s := &segment{name: name, number: number}
	if len(b) < segmentHeaderLen || string(b[:8]) != segmentMagic {
		return nil, s.damage(0, "the header is not that of a log segment")
	}
	b = append([]byte(nil), b[:segmentHeaderLen]...)
	if v := binary.LittleEndian.Uint32(b[8:]); v != formatVersion {
		return nil, fmt.Errorf("log file %s has format version %d, this release reads %d: start the release that wrote it", name, v, formatVersion)
	}
	sum := binary.LittleEndian.Uint32(b[20:])
	binary.LittleEndian.PutUint32(b[20:], 0)
	if crc32.Checksum(b, castagnoli) != sum {
		return nil, s.damage(0, "the header has a wrong checksum")
	}
	s.mask = binary.LittleEndian.Uint32(b[16:])
	s.size = int64(binary.LittleEndian.Uint64(b[24:]))
	s.firstBatch = binary.LittleEndian.Uint64(b[32:])
	if n := binary.LittleEndian.Uint32(b[12:]); n != number {
		return nil, s.damage(0, fmt.Sprintf("the header is that of segment %d", n))
	}
	if s.size < segmentHeaderLen || s.size > fileSize {
		return nil, s.damage(fileSize, fmt.Sprintf("the file has %d bytes and had %d", fileSize, s.size))
	}
	return s, nil
}

func (s *segment) damage(offset int64, reason string) error {
	return &DamageError{File: s.name, Offset: offset, Reason: reason}
}

func (s *segment) release() { s.readers.Add(-1) }

// segments are those in use, numbered without a gap, the tail last. The syncer
// changes the list under mu and reads it without.
type segments struct {
	mu   sync.RWMutex
	list []*segment
}

// hold finds a segment that an index names, and keeps it from being recycled
// until it is released.
func (s *segments) hold(number uint32) *segment {
	s.mu.RLock()
	defer s.mu.RUnlock()
	seg := s.get(number)
	seg.readers.Add(1)
	return seg
}

// get is for the syncer, and under mu.
func (s *segments) get(number uint32) *segment { return s.list[number-s.list[0].number] }

func (s *segments) tail() *segment { return s.list[len(s.list)-1] }

func (s *segments) add(seg *segment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, seg)
}

// dropFirst takes the oldest segment off the list.
func (s *segments) dropFirst() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list[0] = nil
	s.list = s.list[1:]
}

// sizes are the bytes of all files and of the live entries in them; the syncer's.
func (s *segments) sizes() (files, live int64) {
	for _, seg := range s.list {
		files += seg.size
		live += seg.live
	}
	return files, live
}
