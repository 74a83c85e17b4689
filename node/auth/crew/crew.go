// Package crew does work that is too long for an event loop beside the loops: with a
// bounded number of goroutines, and a bounded line before them. Who finds no room is told so
// at once, so that a storm costs a known share of the machine and nobody waits in vain.
package crew

import (
	"runtime"
	"sync"
)

// Crew is the goroutines and their line.
type Crew struct {
	line  chan func(over bool)
	ended sync.WaitGroup

	mu struct {
		sync.Mutex
		over bool
	}
}

// Size is the number of a Crew's goroutines: one for every other processor.
func Size() int { return max(1, runtime.GOMAXPROCS(0)/2) }

// New starts a Crew with a goroutine for every other processor, and room for so many to
// wait before each. Close ends it.
func New(waiting int) *Crew {
	n := Size()
	c := &Crew{line: make(chan func(bool), n*waiting)}
	for range n {
		c.ended.Go(c.run)
	}
	return c
}

// Do has work done by one of the goroutines, if there is room. It is called once, with
// over set if the Crew has ended meanwhile: then it is to answer whoever waits for it,
// and no more.
func (c *Crew) Do(work func(over bool)) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.over {
		return false
	}
	select {
	case c.line <- work:
		return true
	default:
		return false
	}
}

// Close ends the Crew, when the work under way is done and who waits has been answered.
func (c *Crew) Close() {
	c.mu.Lock()
	if !c.mu.over {
		c.mu.over = true
		close(c.line)
	}
	c.mu.Unlock()
	c.ended.Wait()
}

func (c *Crew) run() {
	for work := range c.line {
		work(c.isOver())
	}
}

func (c *Crew) isOver() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.over
}
