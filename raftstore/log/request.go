package log

import (
	"fmt"
	"sync"

	"github.com/hashicorp/raft"
)

// op is what a request asks for.
type op uint8

const (
	opStore op = iota
	opDelete
	opSet
	opRemove
)

// request is one change that a caller waits for.
type request struct {
	group    *Group
	op       op
	records  []byte      // of opStore and opSet, sealed without a mask
	logs     []*raft.Log // of opStore
	min, max uint64      // of opDelete
	err      error
	done     chan struct{} // takes one value when err is the result
}

func newRequest(g *Group, o op) *request {
	r, ok := g.log.requests.Get().(*request)
	if !ok {
		r = &request{done: make(chan struct{}, 1)}
	}
	r.group, r.op = g, o
	return r
}

// free gives the request back to the pool, without what would hold on to memory.
func (r *request) free() {
	records := r.records[:0]
	if cap(records) > keepBytes {
		records = nil
	}
	pool := &r.group.log.requests
	*r = request{records: records, done: r.done}
	pool.Put(r)
}

// keepBytes is the largest buffer kept for the next use.
const keepBytes = 1 << 20

// answer ends the request.
func (r *request) answer(err error) {
	if r.err == nil {
		r.err = err
	}
	r.done <- struct{}{}
}

// stage appends to b the records that do what r asks of the group, given all
// that was staged before; nothing if there is nothing to do.
func (r *request) stage(b []byte) ([]byte, error) {
	s := &r.group.staged
	switch r.op {
	case opStore:
		first := r.logs[0].Index
		switch {
		case s.first == s.next:
			s.first = first
		case first < s.next:
			return b, fmt.Errorf("the next entry is %d: %w", s.next, ErrOrder)
		case first > s.next:
			b = r.appendOwn(b, kindCutHead, first)
			s.first = first
		}
		s.next = first + uint64(len(r.logs))
		return append(b, r.records...), nil
	case opDelete:
		lo, hi := max(r.min, s.first), min(r.max, s.next-1)
		switch {
		case s.first == s.next || lo > hi:
			return b, nil
		case lo == s.first:
			s.first = hi + 1
			return r.appendOwn(b, kindCutHead, s.first), nil
		case hi == s.next-1:
			s.next = lo
			return r.appendOwn(b, kindCutTail, lo), nil
		}
		return b, fmt.Errorf("the entries are %d to %d: %w", s.first, s.next-1, ErrOrder)
	case opRemove:
		*s = bounds{}
		return r.appendOwn(b, kindRemove, 0), nil
	default:
		return append(b, r.records...), nil
	}
}

// appendOwn appends a record of the group without payload, sealed without a mask.
func (r *request) appendOwn(b []byte, k kind, index uint64) []byte {
	from := len(b)
	b = appendHeader(b, header{kind: k, group: r.group.id, index: index})
	sealRecord(b[from:], 0)
	return b
}

// queue is where requests wait for the syncer. Its length is bounded by the
// callers: each waits for its request.
type queue struct {
	mu struct {
		sync.Mutex
		waiting []*request
		closed  bool
	}
	wake chan struct{} // holds a value when there may be something
}

// put returns false if the queue is closed.
func (q *queue) put(r *request) bool {
	q.mu.Lock()
	if q.mu.closed {
		q.mu.Unlock()
		return false
	}
	q.mu.waiting = append(q.mu.waiting, r)
	q.mu.Unlock()
	q.signal()
	return true
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take appends to batch the requests that came first, one at least and then as
// many as fit into limit bytes of records. closed is true when nothing more
// will come.
func (q *queue) take(batch []*request, limit int) (taken []*request, bytes int, closed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := 0
	for n < len(q.mu.waiting) {
		size := len(q.mu.waiting[n].records) + headerLen // a deletion, or a gap, is one record more
		if n > 0 && bytes+size > limit {
			break
		}
		bytes += size
		n++
	}
	batch = append(batch, q.mu.waiting[:n]...)
	rest := copy(q.mu.waiting, q.mu.waiting[n:])
	clear(q.mu.waiting[rest:])
	q.mu.waiting = q.mu.waiting[:rest]
	return batch, bytes, q.mu.closed && rest == 0
}

// close refuses further requests; false if that was done before.
func (q *queue) close() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	first := !q.mu.closed
	q.mu.closed = true
	q.signal()
	return first
}
