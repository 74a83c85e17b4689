package raftstore

import (
	"bytes"
	"time"

	"dunlin/session"
)

// retainedRead is a page that somebody on this node waits for. It goes again to
// whoever leads until it is answered or too old: reading twice does no harm.
type retainedRead struct {
	query RetainedQuery
	done  func(RetainedPage, error)
	since session.Time
	asked uint64 // turn of the lane; 0 if it is not under way
	at    Node   // whom it was asked of last
}

// read takes r on its way.
func (l *lane) read(r *retainedRead) {
	l.mu.Lock()
	if l.mu.closed {
		l.mu.Unlock()
		r.done(RetainedPage{}, ErrClosed)
		return
	}
	r.since = l.shard.clock()
	l.mu.reads[r] = struct{}{}
	l.wakeLocked(laneLook)
	l.askReadLocked(r)
	l.mu.Unlock()
}

func (l *lane) askReadLocked(r *retainedRead) {
	l.mu.turn++
	turn := l.mu.turn
	r.asked, r.at = turn, l.store.rep.Node
	if l.shard.read(&r.query, func(p *RetainedPage) { l.readAnswered(r, turn, p) }) {
		return
	}
	at, ok := l.leaderLocked()
	if !ok {
		r.asked = 0
		return
	}
	r.at = at
	l.store.rep.Leaders.Ask(at, l.shard.id, r.query.encode(nil), func(answer []byte, err error) {
		b := reader{b: bytes.Clone(answer)} // the page keeps it
		if p, ok := b.page(l.shard.clock()); ok && err == nil {
			l.readAnswered(r, turn, &p)
		} else {
			l.readAnswered(r, turn, nil)
		}
	})
}

// readAnswered takes a page, or nil if it is to be asked for again.
func (l *lane) readAnswered(r *retainedRead, turn uint64, p *RetainedPage) {
	l.mu.Lock()
	if _, waits := l.mu.reads[r]; !waits || r.asked != turn {
		l.mu.Unlock()
		return
	}
	if p == nil {
		r.asked = 0
		l.wakeLocked(laneRetry)
		l.mu.Unlock()
		return
	}
	delete(l.mu.reads, r)
	l.mu.Unlock()
	r.done(*p, nil)
}

// retryReadsLocked asks again what is not under way, and gives up what is too old.
func (l *lane) retryReadsLocked() (overdue []*retainedRead) {
	for r := range l.mu.reads {
		if left := outcomeTimeout - time.Duration(l.shard.clock()-r.since); left <= 0 {
			delete(l.mu.reads, r)
			overdue = append(overdue, r)
			continue
		} else {
			l.wakeLocked(left)
		}
		if r.asked == 0 {
			l.askReadLocked(r)
		}
	}
	return overdue
}

// serveRead answers a query of another node's.
func (s *Store) serveRead(sh *shard, r reader, reply func(answer []byte)) {
	q := r.query()
	if r.err != nil || len(r.b) > 0 || !sh.read(&q, func(p *RetainedPage) { reply(appendPage(nil, p)) }) {
		reply(appendPage(nil, nil))
	}
}
