package feed

import (
	"container/heap"
	"math"
	"sync"
	"sync/atomic"
)

// Barrier lets callers wait until every node that counts holds a version of the
// routes that are fed (E4, P4). Make one with NewBarrier.
type Barrier struct {
	// reached is the number of versions, from 0 on, that all of them hold: the
	// lowest version held, and one. While nobody counts it is everything.
	reached atomic.Uint64

	mu struct {
		sync.Mutex
		waiters waiters
		byVer   map[uint64]*waiter // those in waiters
	}
}

// waiter is all who wait for one version.
type waiter struct {
	version uint64
	dones   []func()
}

// NewBarrier returns a barrier that lets everybody through.
func NewBarrier() *Barrier {
	b := &Barrier{}
	b.mu.byVer = make(map[uint64]*waiter)
	b.reached.Store(math.MaxUint64)
	return b
}

// Wait calls done when every node that counts holds version: at once if they do,
// else from the goroutine that calls Set.
func (b *Barrier) Wait(version uint64, done func()) {
	if version < b.reached.Load() {
		done()
		return
	}
	b.mu.Lock()
	if version < b.reached.Load() {
		b.mu.Unlock()
		done()
		return
	}
	w := b.mu.byVer[version]
	if w == nil {
		w = &waiter{version: version}
		b.mu.byVer[version] = w
		heap.Push(&b.mu.waiters, w)
	}
	w.dones = append(w.dones, done)
	b.mu.Unlock()
}

// Set moves the barrier, in either direction, to what compute says: how many
// versions, from 0 on, all hold; math.MaxUint64 lets everybody through. Whom that
// frees it calls. Sets compute one after the other.
func (b *Barrier) Set(compute func() uint64) {
	b.mu.Lock()
	b.setLocked(compute)
}

// Raise is Set after one of those that count, and nothing else, came to hold more,
// and had held as many versions as before, from 0 on. If all together hold fewer, it
// is another that is waited for, and nothing is computed.
func (b *Barrier) Raise(before uint64, compute func() uint64) {
	b.mu.Lock()
	if before > b.reached.Load() {
		b.mu.Unlock()
		return
	}
	b.setLocked(compute)
}

// setLocked unlocks mu.
func (b *Barrier) setLocked(compute func() uint64) {
	var free []*waiter
	reached := compute()
	b.reached.Store(reached)
	for len(b.mu.waiters) > 0 && b.mu.waiters[0].version < reached {
		w := heap.Pop(&b.mu.waiters).(*waiter)
		delete(b.mu.byVer, w.version)
		free = append(free, w)
	}
	b.mu.Unlock()
	for _, w := range free {
		for _, done := range w.dones {
			done()
		}
	}
}

// Waiting counts the callers.
func (b *Barrier) Waiting() (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, w := range b.mu.waiters {
		n += len(w.dones)
	}
	return n
}

// waiters is a heap, lowest version first.
type waiters []*waiter

func (h waiters) Len() int           { return len(h) }
func (h waiters) Less(i, j int) bool { return h[i].version < h[j].version }
func (h waiters) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *waiters) Push(x any)        { *h = append(*h, x.(*waiter)) }
func (h *waiters) Pop() any {
	old := *h
	w := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return w
}
