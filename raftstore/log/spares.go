package log

import (
	"fmt"
	"strings"
	"sync"
)

// spares are files of the size of a segment, written once, so that a sync of
// what is written to them later changes no metadata. Segments that nobody needs
// become spares. When there is none, one is filled in the background before the
// tail is full.
type spares struct {
	mu struct {
		sync.Mutex
		names []string
		last  int // number in the name of the newest
	}
	want chan struct{} // holds a value when one is wanted
}

// maxSpares is how many files wait for use; more are removed.
const maxSpares = 4

const sparePrefix = "spare-"

// know tells of a file left by an earlier run, so that no new name is its;
// false if it is not a spare.
func (s *spares) know(name string) bool {
	if !strings.HasPrefix(name, sparePrefix) {
		return false
	}
	var n int
	if _, err := fmt.Sscanf(name, sparePrefix+"%d", &n); err != nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.last = max(s.mu.last, n)
	return true
}

// name is a new name for a spare.
func (s *spares) name() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.last++
	return fmt.Sprintf("%s%d", sparePrefix, s.mu.last)
}

// take removes a spare from the list, "" if there is none.
func (s *spares) take() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.mu.names)
	if n == 0 {
		return ""
	}
	name := s.mu.names[n-1]
	s.mu.names = s.mu.names[:n-1]
	return name
}

// put adds a file; false if there are enough.
func (s *spares) put(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.mu.names) >= maxSpares {
		return false
	}
	s.mu.names = append(s.mu.names, name)
	return true
}

func (s *spares) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.mu.names)
}

// prepare fills spares when they are wanted, until the log closes. It is a
// goroutine of its own so that nobody waits for it.
func (l *Log) prepare() {
	defer l.running.Done()
	for {
		select {
		case <-l.closing:
			return
		case <-l.spares.want:
		}
		if l.spares.count() > 0 {
			continue
		}
		name := l.spares.name()
		if err := l.fill(name); err == ErrClosed {
			return
		} else if err != nil {
			// Nothing is lost: the segment will be made without. If the disk is full
			// or broken, the write that fails then stops the node.
			l.options.Logger.Warn("cannot prepare a log segment", "file", name, "error", err)
			continue
		}
		l.spares.put(name)
	}
}

// fill makes a file of a segment's size.
func (l *Log) fill(name string) error {
	f, err := l.fs.Open(name, true)
	if err != nil {
		return err
	}
	defer f.Close()
	zero := make([]byte, min(fillBytes, l.options.SegmentBytes))
	for at := 0; at < l.options.SegmentBytes; at += len(zero) {
		select {
		case <-l.closing:
			return ErrClosed
		default:
		}
		if _, err := f.WriteAt(zero[:min(len(zero), l.options.SegmentBytes-at)], int64(at)); err != nil {
			return err
		}
	}
	return f.Sync()
}

// fillBytes are written at once.
const fillBytes = 256 << 10
