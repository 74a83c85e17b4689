// Package reload keeps what files say while they change.
//
// A Store reads its files at once, and then as often as it is told to look. What is
// new and good is taken over whole, when it has stayed as it is for a moment: half a list
// of users or rules is a list too, and somebody may be writing. What cannot be used changes
// nothing: the former stays, and the log says why, once. Who uses a Store asks it each time,
// and keeps nothing of it.
package reload

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"sync/atomic"
	"time"
)

// Digest tells apart what files have in them.
type Digest [sha256.Size]byte

// none is the digest of no files.
var none Digest

// DigestOf is the digest of what the files have in them now, or of why they cannot
// be read.
func DigestOf(paths ...string) (d Digest) {
	sum := sha256.New()
	for _, path := range paths {
		n, err := addFile(sum, path)
		fmt.Fprintf(sum, " %d %v ", n, err)
	}
	sum.Sum(d[:0])
	return d
}

func addFile(to io.Writer, path string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return io.Copy(to, f)
}

// ReadFile has read make something of a file. The error does not name the file.
func ReadFile[T any](path string, read func(io.Reader) (T, error)) (v T, err error) {
	f, err := os.Open(path)
	if err == nil {
		defer f.Close()
		v, err = read(f)
	}
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	return v, err
}

// Source says how a T is made of files. Its functions are called by one goroutine at
// a time.
type Source[T any] struct {
	What string // they are, in the log: "certificates"

	Digest func() Digest
	Load   func() (T, error)

	Used     func(T)       // is told of each T when it was taken over, the first one too; may be nil
	Describe func(T) []any // is what the log says of it; may be nil
}

// Store is the latest T that was good.
type Store[T any] struct {
	source  Source[T]
	log     *slog.Logger
	now     atomic.Pointer[taken[T]]
	refresh chan struct{}
	tell    func(error) // nil: nobody is told

	// Of Watch alone. None while the files are those in use.
	seen     Digest // the last
	reported Digest // the last that could not be used, and was told of
}

// taken is a T that was taken over.
type taken[T any] struct {
	value  T
	digest Digest // of its files
}

// errChanging is that of files that are being written.
var errChanging = errors.New("changes while it is read")

const (
	// quiet is for how long files have to stay as they are before Watch takes over what is
	// new in them, unless somebody asked.
	quiet = time.Second

	openTries = 3 // of files that change while they are read
)

// Open reads the files; Watch is to follow.
func Open[T any](source Source[T], log *slog.Logger) (*Store[T], error) {
	s := &Store[T]{source: source, log: log, refresh: make(chan struct{}, 1)}
	err := errChanging
	for range openTries {
		if errors.Is(err, errChanging) {
			err = s.load(source.Digest())
		}
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// What says what the files are.
func (s *Store[T]) What() string { return s.source.What }

// Tell has f be told, before Watch begins, of each time that the files have changed: nil
// when what is new was taken over, or why it was not.
func (s *Store[T]) Tell(f func(error)) { s.tell = f }

func (s *Store[T]) told(err error) {
	if s.tell != nil {
		s.tell(err)
	}
}

// Now is the T of the moment, from any goroutine.
func (s *Store[T]) Now() T { return s.now.Load().value }

// load reads files whose digest is d, and takes over what is in them.
func (s *Store[T]) load(d Digest) error {
	v, err := s.source.Load()
	if err != nil {
		return err
	}
	if s.source.Digest() != d {
		return errChanging
	}
	s.now.Store(&taken[T]{v, d})
	if s.source.Used != nil {
		s.source.Used(v)
	}
	return nil
}

// Refresh has Watch look at the files at once.
func (s *Store[T]) Refresh() {
	select {
	case s.refresh <- struct{}{}:
	default:
	}
}

// Watch looks at the files every so often, until ctx ends. It reads them each time:
// not every way to replace a file shows in its times.
func (s *Store[T]) Watch(ctx context.Context, every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	var settled <-chan time.Time
	for {
		asked := false
		select {
		case <-ctx.Done():
			return
		case <-s.refresh:
			asked = true
		case <-ticker.C:
		case <-settled:
		}
		settled = nil
		if s.look(asked) {
			settled = time.After(quiet)
		}
	}
}

// look takes over what has changed, or tells once that it cannot be used; unless somebody asked, not
// at first sight: a certificate and its key are seldom replaced at one time, nor is a long file
// written at once. It is true if the files are to be looked at again soon, for that. Who asked, or
// was told of bad files, hears how it stands in any case.
func (s *Store[T]) look(asked bool) (soon bool) {
	d := s.source.Digest()
	if d == s.now.Load().digest {
		if asked || s.reported != none {
			s.log.Info(s.source.What+" are those in use", s.describe()...)
		}
		s.seen, s.reported = none, none
		return false
	}
	if d == s.reported && !asked {
		return false
	}
	again := s.seen == d
	if s.seen = d; !asked && !again {
		return true
	}
	err := s.load(d)
	switch {
	case errors.Is(err, errChanging):
		return true
	case err != nil:
		s.reported = d
		s.told(err)
		s.log.Error(s.source.What+" not reloaded, the former ones are kept", "error", err)
	default:
		s.log.Info(s.source.What+" reloaded", s.describe()...)
		s.seen, s.reported = none, none
		s.told(nil)
	}
	return false
}

func (s *Store[T]) describe() []any {
	if s.source.Describe == nil {
		return nil
	}
	return s.source.Describe(s.Now())
}
