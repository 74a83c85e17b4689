// Package reload keeps what files say while they change.
//
// A Store reads its files at once, and then as often as it is told to look. What is
// new and good is taken over whole; what cannot be used changes nothing: the former
// stays, and the log says why, once. Who uses a Store asks it each time, and keeps
// nothing of it.
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

	Used     func(T)       // is told of each T before it is taken over, the first one too; may be nil
	Describe func(T) []any // is what the log says of it; may be nil
}

// Store is the latest T that was good.
type Store[T any] struct {
	source  Source[T]
	log     *slog.Logger
	now     atomic.Pointer[taken[T]]
	refresh chan struct{}

	// Of Watch alone.
	seen, told Digest // of files that cannot be used: the last, and the last reported; none while they can
}

// taken is a T that was taken over.
type taken[T any] struct {
	value  T
	digest Digest // of its files; none: they changed while they were read
}

// Open reads the files; Watch is to follow.
func Open[T any](source Source[T], log *slog.Logger) (*Store[T], error) {
	s := &Store[T]{source: source, log: log, refresh: make(chan struct{}, 1)}
	if err := s.load(source.Digest()); err != nil {
		return nil, err
	}
	return s, nil
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
		d = none // it is looked at again
	}
	if s.source.Used != nil {
		s.source.Used(v)
	}
	s.now.Store(&taken[T]{v, d})
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
	for {
		asked := false
		select {
		case <-ctx.Done():
			return
		case <-s.refresh:
			asked = true
		case <-ticker.C:
		}
		s.look(asked)
	}
}

// look takes over what has changed. What cannot be used is told once, and not at
// first sight unless somebody asked: a certificate and its key are seldom replaced at
// one time, nor is a long file written at once. Who asked, or was told of bad files,
// hears how it stands in any case.
func (s *Store[T]) look(asked bool) {
	d := s.source.Digest()
	if d == s.now.Load().digest {
		if asked || s.told != none {
			s.log.Info(s.source.What+" are those in use", s.describe()...)
		}
		s.seen, s.told = none, none
		return
	}
	if d == s.told && !asked {
		return
	}
	err := s.load(d)
	if err == nil {
		s.log.Info(s.source.What+" reloaded", s.describe()...)
		s.seen, s.told = none, none
		return
	}
	again := s.seen == d
	if s.seen = d; asked || again {
		s.told = d
		s.log.Error(s.source.What+" not reloaded, the former ones are kept", "error", err)
	}
}

func (s *Store[T]) describe() []any {
	if s.source.Describe == nil {
		return nil
	}
	return s.source.Describe(s.Now())
}
