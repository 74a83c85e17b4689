package broker

import (
	"sync/atomic"

	"dunlin/node/listen"
	"dunlin/router"
	"dunlin/session"
)

// What one part of a node hands to another may come faster than it is taken: by a
// loop whose subscribers are many, by a shard with many sessions. Then the
// publishers that it comes from are not read until the other has caught up, so
// that what waits between them is bounded whatever clients do (P10). Peers have
// their own measure, see forward.go and ingress.go.

const (
	// maxBehind is how many bytes may wait for a loop, or for a shard, before
	// publishers are held.
	maxBehind = 16 << 20
	// messageCost is about what a message costs beside its bytes.
	messageCost = 64
	// maxShards is the most there are.
	maxShards = router.MaxShards
)

// gauge measures what waits for a loop or a shard, from any goroutine.
type gauge struct {
	bytes   atomic.Int64
	awaited atomic.Bool // somebody is held until there is less
}

func (g *gauge) add(n int) { g.bytes.Add(int64(n)) }

// isBehind says that too much waits; take tells when that is over.
func (g *gauge) isBehind() bool {
	if g.bytes.Load() < maxBehind {
		return false
	}
	g.awaited.Store(true)
	return true
}

// take counts out what has been done and says whether those who are held can go on.
func (g *gauge) take(n int) (caughtUp bool) {
	return g.bytes.Add(-int64(n)) < maxBehind/2 && g.awaited.Load() && g.awaited.Swap(false)
}

// sizeOf is about what a message costs on its way.
func sizeOf(m *session.Message) int {
	return len(m.Topic.String()) + len(m.Payload) + len(m.Properties) + messageCost
}

// post gives a batch of this node's own to the worker's loop.
func (w *worker) post(b *batch) {
	b.mailed = b.size()
	w.mailed.add(b.mailed)
	w.loop.Post(b)
}

// tookBatch counts a batch out.
func (w *worker) tookBatch(b *batch) {
	if b.mailed > 0 && w.mailed.take(b.mailed) {
		w.relieve()
	}
}

// toShard counts a message on its way to a shard and notes if that is behind. What
// it returns counts it out again, from any goroutine.
func (w *worker) toShard(sh router.ShardID, m *session.Message) (done func()) {
	return w.bytesToShard(sh, sizeOf(m))
}

// bytesToShard is toShard for size bytes of anything.
func (w *worker) bytesToShard(sh router.ShardID, size int) (done func()) {
	g := &w.atShards[sh]
	g.add(size)
	w.overrun = w.overrun || g.isBehind()
	return func() {
		if g.take(size) {
			w.relieve()
		}
	}
}

// relief is mail: a loop or a shard has caught up.
type relief struct{}

// relieve has all loops go on with the publishers that they hold.
func (b *Broker) relieve() {
	for _, w := range b.workers {
		w.loop.Post(relief{})
	}
}

// holdBack stops the publisher of the message that was just sent on its way, if
// something on that way is behind.
func (w *worker) holdBack(publisher listen.ID) {
	if w.overrun {
		w.overrun = false
		w.await(publisher)
	}
}

// await stops reading from a publisher until what is behind has caught up.
func (w *worker) await(id listen.ID) {
	if c := w.conn(id); c != nil && c.holds&holdBehind == 0 {
		w.counters.Stalls++
		w.hold(c, holdBehind)
		w.held = append(w.held, id)
	}
}

// resumeHeld reads again from all that were held; who still meets what is
// behind is held again at its next publish.
func (w *worker) resumeHeld() {
	held := w.held
	w.held = w.held[:0]
	for _, id := range held {
		if c := w.conn(id); c != nil {
			w.release(c, holdBehind)
		}
	}
}
