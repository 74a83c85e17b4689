package crew

import (
	"runtime"
	"sync/atomic"
	"testing"
)

// What is taken is called once, with room or at the end; what is not taken never is.
func TestCrew(t *testing.T) {
	const waiting = 3
	c := New(waiting)
	workers := max(1, runtime.GOMAXPROCS(0)/2)
	begun, goOn := make(chan struct{}), make(chan struct{})
	for range workers {
		if !c.Do(func(bool) { begun <- struct{}{}; <-goOn }) {
			t.Fatal("no room for the first")
		}
		<-begun
	}
	var done, over, taken atomic.Int32
	for range 2 * waiting * workers {
		if c.Do(func(end bool) {
			done.Add(1)
			if end {
				over.Add(1)
			}
		}) {
			taken.Add(1)
		}
	}
	if n := taken.Load(); n != int32(waiting*workers) {
		t.Errorf("%d wait, want %d", n, waiting*workers)
	}
	closed := make(chan struct{})
	go func() { c.Close(); close(closed) }()
	for !c.isOver() {
		runtime.Gosched()
	}
	close(goOn)
	<-closed
	if done.Load() != taken.Load() || over.Load() != taken.Load() {
		t.Errorf("%d taken, %d called, %d told of the end", taken.Load(), done.Load(), over.Load())
	}
	if c.Do(func(bool) { t.Error("called after the end") }) {
		t.Error("taken after the end")
	}
	c.Close()
}
