package raftstore

import (
	"container/heap"
	"encoding/binary"
	"sync/atomic"

	"dunlin/router"
	"dunlin/session"

	"github.com/google/btree"
)

// retained is the table of retained messages, one per topic, in the order of
// their levels. Readers use the latest published view, which Apply never waits
// for: a view shares the tree, and Apply copies the nodes that it changes.
//
// Invariants: bytes is the sum of the messages' sizes; every message that
// expires has an item in expiring.
type retained struct {
	tree     *btree.BTreeG[retainedMessage]
	bytes    int
	expiring expiring
	changed  bool // since the last publish
	view     atomic.Pointer[btree.BTreeG[retainedMessage]]
	applied  atomic.Uint64 // index of the latest command that view has
}

// retainedMessage is never written again; topic borrows packed.
type retainedMessage struct {
	topic    string
	packed   []byte
	index    uint64       // of the command that retained it (P8)
	deadline session.Time // shard time, or session.Never
}

func newRetained() *retained {
	t := &retained{tree: btree.NewG(16, func(a, b retainedMessage) bool {
		return compareTopics(a.topic, b.topic) < 0
	})}
	t.changed = true
	t.publish(0)
	return t
}

// publish lets readers see what was applied, up to the command of that index.
func (t *retained) publish(index uint64) {
	if t.changed {
		t.view.Store(t.tree.Clone())
		t.changed = false
	}
	t.applied.Store(index)
}

// put stores or replaces a topic's message. A new topic beyond a limit is
// refused; an old one may always be replaced.
func (t *retained) put(topic router.Topic, packed []byte, index uint64, deadline session.Time, lim *Limits) error {
	size := messageSize(packed)
	old, exists := t.tree.Get(retainedMessage{topic: topic.String()})
	if !exists && (t.tree.Len() >= lim.Retained || t.bytes+size > lim.RetainedBytes) {
		return ErrQuota
	}
	if exists {
		t.bytes -= messageSize(old.packed)
	}
	t.bytes += size
	t.insert(append([]byte(nil), packed...), index, deadline)
	return nil
}

// insert adds the message in packed, which the table owns from here on.
func (t *retained) insert(packed []byte, index uint64, deadline session.Time) {
	var m session.Message
	if _, err := m.Parse(packed, deadline); err != nil {
		panic("raftstore: retained message: " + err.Error())
	}
	r := retainedMessage{topic: m.Topic.String(), packed: packed, index: index, deadline: deadline}
	t.tree.ReplaceOrInsert(r)
	t.changed = true
	if deadline != session.Never {
		heap.Push(&t.expiring, r)
		t.expiring.tidy(t.tree)
	}
}

// remove deletes a topic's message.
func (t *retained) remove(topic string) {
	if old, ok := t.tree.Delete(retainedMessage{topic: topic}); ok {
		t.bytes -= messageSize(old.packed)
		t.changed = true
	}
}

// next is when the next message may expire; what stands first may have been
// replaced meanwhile.
func (t *retained) next() session.Time {
	if len(t.expiring) == 0 {
		return session.Never
	}
	return t.expiring[0].deadline
}

// expire removes the message that stands first in expiring, if it still is the
// topic's own.
func (t *retained) expire() (removed bool) {
	r := heap.Pop(&t.expiring).(retainedMessage)
	if now, ok := t.tree.Get(r); ok && now.index == r.index {
		t.remove(r.topic)
		return true
	}
	return false
}

// expiring is a heap of messages by deadline, then index. Those replaced stay
// until their time, or until they are the majority.
type expiring []retainedMessage

func (h expiring) Len() int      { return len(h) }
func (h expiring) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h expiring) Less(i, j int) bool {
	return h[i].deadline < h[j].deadline || h[i].deadline == h[j].deadline && h[i].index < h[j].index
}
func (h *expiring) Push(x any) { *h = append(*h, x.(retainedMessage)) }
func (h *expiring) Pop() any {
	old := *h
	x := old[len(old)-1]
	old[len(old)-1] = retainedMessage{}
	*h = old[:len(old)-1]
	return x
}

func (h *expiring) tidy(tree *btree.BTreeG[retainedMessage]) {
	if len(*h) < 64 || len(*h) < 2*tree.Len() {
		return
	}
	kept := (*h)[:0]
	for _, r := range *h {
		if now, ok := tree.Get(r); ok && now.index == r.index {
			kept = append(kept, r)
		}
	}
	clear((*h)[len(kept):])
	*h = kept
	heap.Init(h)
}

// appendRetained writes one message; they come in topic order.
func appendRetained(w *snapshotWriter, r *retainedMessage) {
	w.b = binary.AppendUvarint(w.b, r.index)
	w.b = binary.AppendUvarint(w.b, uint64(r.deadline))
	w.b = appendBytes(w.b, r.packed)
	w.item()
}

func (rs *restoring) retained(r *reader) {
	t := rs.st.retained
	index, deadline, packed := r.uvarint(), r.time(), r.clone()
	var m session.Message
	whole := reader{b: packed}
	if whole.message(&m, session.Never); whole.err != nil || t.tree.Has(retainedMessage{topic: m.Topic.String()}) {
		r.fail()
		return
	}
	t.bytes += messageSize(packed)
	t.insert(packed, index, deadline)
}
