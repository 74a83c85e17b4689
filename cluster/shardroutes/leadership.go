package shardroutes

import (
	"context"
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"dunlin/cluster/feed"
	"dunlin/router"
)

// leadership is a shard while this node leads it: the shard's own table, a feed to
// each node, and the barrier at which callers wait until those that count have
// what they wait for.
type leadership struct {
	routes *Routes
	shard  router.ShardID
	reign  uint64
	table  *router.Table

	applied atomic.Uint64 // index of the latest command that the table reflects
	told    uint64        // version that the feeds were woken for; the shard's goroutine's
	over    atomic.Bool   // nothing that is known here is the leader's any more
	barrier *feed.Barrier
	ctx     context.Context // ends the feeds
	end     context.CancelFunc

	feeds atomic.Pointer[map[string]*feeding] // by identity; replaced, not changed
	mu    sync.Mutex                          // held while feeds is replaced, or over set

	asked struct {
		sync.Mutex
		of map[asker]*asking
	}
}

// asker is a node with one question at a time: when it asks again, nobody waits for
// what it asked before.
type asker struct {
	node string
	verb verb
}

// asking is an asker's question at the barrier.
type asking struct {
	index, version uint64
	done           func(ok bool)
}

func newLeadership(r *Routes, sh router.ShardID, reign uint64, table *router.Table) *leadership {
	l := &leadership{routes: r, shard: sh, reign: reign, table: table, barrier: feed.NewBarrier()}
	l.ctx, l.end = context.WithCancel(r.ctx)
	l.feeds.Store(&map[string]*feeding{})
	l.asked.of = make(map[asker]*asking)
	return l
}

// update begins to feed nodes that have come, and ends it for those that are gone.
func (l *leadership) update() {
	l.mu.Lock()
	old := *l.feeds.Load()
	now := make(map[string]*feeding, len(old))
	for _, to := range l.routes.fed() {
		if f := old[to]; f != nil {
			now[to] = f
			continue
		}
		if now[to] == nil && !l.over.Load() {
			now[to] = l.feed(to)
		}
	}
	for to, f := range old {
		if now[to] == nil {
			f.stop()
		}
	}
	l.feeds.Store(&now)
	l.mu.Unlock()
	l.settle()
}

func (l *leadership) feed(to string) *feeding {
	f := &feeding{of: l, to: to, wake: make(chan struct{}, 1)}
	ctx, stop := context.WithCancel(l.ctx)
	f.stop = stop
	l.routes.running.Go(func() { f.run(ctx) })
	return f
}

// wake has every feed look what there is to do.
func (l *leadership) wake() {
	for _, f := range *l.feeds.Load() {
		signal(f.wake)
	}
}

// settle works out anew what all nodes that count hold. It is called whenever one
// holds more or less, begins to count or does not any more.
func (l *leadership) settle() { l.barrier.Set(l.heldByAll) }

func (l *leadership) heldByAll() uint64 {
	if l.over.Load() {
		return math.MaxUint64
	}
	counted, ok := l.routes.nodes.Counts()
	if !ok {
		return 0
	}
	feeds := *l.feeds.Load()
	reached := uint64(math.MaxUint64)
	for _, of := range append(counted[:len(counted):len(counted)], l.routes.net.Self()) {
		f := feeds[of]
		if f == nil {
			return 0
		}
		reached = min(reached, f.holds())
	}
	return reached
}

// synced calls done with true when every node that counts holds the routes as
// the command with that index left them; with false if this node does not know of
// that command, or does not lead any more.
func (l *leadership) synced(index uint64, done func(ok bool)) {
	if l.applied.Load() < index {
		done(false)
		return
	}
	l.barrier.Wait(l.table.Version(), func() { done(!l.over.Load()) })
}

// ask is synced for who asks again and again: its earlier question, if it still
// waits, is answered with false, so that no more than one of each waits however long
// the barrier cannot be passed.
func (l *leadership) ask(by asker, index uint64, done func(ok bool)) {
	if l.applied.Load() < index {
		done(false)
		return
	}
	version := l.table.Version()
	l.asked.Lock()
	if a := l.asked.of[by]; a != nil {
		before := a.done
		a.done = done
		if index > a.index { // or what was there then is all that it takes
			a.index, a.version = index, version
		}
		l.asked.Unlock()
		before(false)
		return
	}
	a := &asking{index: index, version: version, done: done}
	l.asked.of[by] = a
	l.asked.Unlock()
	l.await(by, a, version)
}

// await waits at the barrier until a may be answered.
func (l *leadership) await(by asker, a *asking, version uint64) {
	l.barrier.Wait(version, func() {
		l.asked.Lock()
		if a.version > version && !l.over.Load() {
			next := a.version
			l.asked.Unlock()
			l.await(by, a, next)
			return
		}
		delete(l.asked.of, by)
		done := a.done
		l.asked.Unlock()
		done(!l.over.Load())
	})
}

// heard takes what a node says that it holds, which may be less than it confirmed:
// it was started again since. ok is false if it is not fed, or asks what is
// promised in its name and does not count here.
func (l *leadership) heard(from string, q *question) (ok bool) {
	f := (*l.feeds.Load())[from]
	counted, known := l.routes.nodes.Counts()
	if f == nil || q.index > 0 && !(known && slices.Contains(counted, from)) {
		return false
	}
	if q.reign != l.reign {
		f.lose()
	}
	return true
}

// overtaken ends the leadership when a node has heard of a later one, perhaps
// before this node has.
func (l *leadership) overtaken() {
	l.mu.Lock()
	l.over.Store(true)
	l.mu.Unlock()
	l.end()
	l.settle()
}
