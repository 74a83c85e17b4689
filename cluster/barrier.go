package cluster

import (
	"container/heap"
	"math"
	"sync"
	"sync/atomic"
)

// barrier lets callers wait until every peer holds a version of this node's
// routes (E4, P4).
type barrier struct {
	// reached is the number of versions, from 0 on, that every peer holds: the
	// lowest version held, and one. Without peers it is everything.
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

func (b *barrier) init() {
	b.mu.byVer = make(map[uint64]*waiter)
	b.reached.Store(math.MaxUint64)
}

// wait calls done when every peer holds version, at once if they do.
func (b *barrier) wait(version uint64, done func()) {
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

// set moves the barrier, in either direction, to what compute says, and releases
// whom that frees. One set is over before the next computes.
func (b *barrier) set(compute func() uint64) {
	var free []*waiter
	b.mu.Lock()
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

// waiting counts the callers.
func (b *barrier) waiting() (n int) {
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
