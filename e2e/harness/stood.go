package harness

import (
	"os"
	"sync"
	"testing"
	"time"
)

// Stood is how long the machine itself stood still, its processors or its disk: no node can answer
// then, so tests that bound how long one may take leave that out.
type Stood struct {
	mu    sync.Mutex
	total time.Duration
	log   func(format string, args ...any)
}

// still is what a nap and a write to the disk may take beyond what they should. A busy machine
// takes less.
const still = 500 * time.Millisecond

// WatchMachine looks at the machine until the test ends. What it finds is in the test's log.
func WatchMachine(t testing.TB) *Stood {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	s := &Stood{log: t.Logf}
	stop, done := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() {
		close(stop)
		<-done
		f.Close()
	})
	go func() {
		defer close(done)
		for nap := time.NewTicker(50 * time.Millisecond); ; {
			began := time.Now()
			select {
			case <-stop:
				return
			case <-nap.C:
			}
			if _, err := f.WriteAt([]byte("still there"), 0); err == nil {
				f.Sync()
			}
			s.add(began, time.Since(began))
		}
	}()
	return s
}

func (s *Stood) add(began time.Time, took time.Duration) {
	if took < still {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total += took
	s.log("the machine stood still for %v until %s", took.Round(time.Millisecond), began.Add(took).Format(time.TimeOnly))
}

// Total is for how long it did so far.
func (s *Stood) Total() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total
}
