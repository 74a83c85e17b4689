package raftstore

import (
	"encoding/binary"
	"strings"
	"sync"

	"dunlin/router"
	"dunlin/session"
)

// RetainedQuery asks for a page of the retained messages of one shard.
type RetainedQuery struct {
	Filter router.Filter

	// Cursor is that of the page before, "" for the first page: topics after it.
	Cursor string

	// AsOf is the Index of the first page, 0 for that one itself, which sees every
	// message whose Retain was answered before the call (P8). A later page is at
	// least as new as the first: a replay owes its subscriber what was retained when
	// it subscribed, and what came since reaches it alive as well.
	AsOf uint64

	MaxMessages int // of the page; 0: as many as one may have
	MaxBytes    int // of packed messages, after which the page ends; 0: likewise
}

// RetainedPage is a part of what a RetainedQuery matches, in topic order (by
// levels). Its messages are never written again.
type RetainedPage struct {
	Messages []RetainedMessage
	Index    uint64 // of the state that was read: Result.Index of its latest command, or less
	Cursor   string // where the next page goes on, which also an empty page moves
	More     bool   // there may be another
}

// RetainedMessage is a message with the index of the command that retained it
// (P8): live publishes of the topic carry theirs.
type RetainedMessage struct {
	Message session.Message
	Index   uint64
}

// Bounds of a page, whatever is asked for: how long reading one takes, and how
// large a leader's answer grows.
const (
	maxPageMessages = 1024
	maxPageBytes    = 1 << 20
	maxPageLooks    = 4096 // at topics, of which many may not match
)

// ReadRetained reads a page from shard sh: its leader, wherever that is, commits
// an entry of its own first, which all reads that came meanwhile share, so that
// no leader before or after it has answered what it does not see. A later page
// (AsOf) needs no commit, and any replica that has come as far gives it, this
// node's own among them.
//
// done is called exactly once, on a goroutine of the store or of Leaders, and
// may not block. Its error is ErrUnknown when nobody answered for 5 s, then the
// caller may ask again; or ErrClosed. A caller bounds how many it asks for at
// once.
func (s *Store) ReadRetained(sh router.ShardID, q RetainedQuery, done func(page RetainedPage, err error)) {
	s.shards[sh].metrics.reads.Inc()
	if s.lanes != nil {
		s.lanes[sh].read(&retainedRead{query: q, done: done})
		return
	}
	shard := s.shards[sh] // applied is what was committed, before anybody hears of it
	if !shard.pages.add(func() { done(shard.reading.Load().page(&q, shard), nil) }) {
		go done(RetainedPage{}, ErrClosed)
	}
}

// read gives reply a page, or nil if the shard moved; false says that it will
// not be called, since this node cannot know.
func (sh *shard) read(q *RetainedQuery, reply func(p *RetainedPage)) bool {
	page := func(t *retained) bool {
		return sh.pages.add(func() {
			p := t.page(q, sh)
			reply(&p)
		})
	}
	if t := sh.reading.Load(); q.AsOf > 0 && t.applied.Load() >= q.AsOf {
		return page(t)
	}
	return sh.confirm(func(leads bool) {
		if !leads || !page(sh.reading.Load()) {
			reply(nil)
		}
	})
}

// confirm calls f on the shard's goroutine when an entry was applied that this
// node proposed from now on: the state then has all that any leader answered
// before the call. Those who ask together share an entry. leads is false if the
// shard moved instead; without a call of f, confirm returns false.
func (sh *shard) confirm(f func(leads bool)) bool {
	in := &sh.inbox
	in.Lock()
	defer in.Unlock()
	if in.closed || !sh.leading.Load() {
		return false
	}
	at := len(in.bodies)
	in.items = append(in.items, item{kind: kindConfirm, from: at, to: at, done: func(r Result) { f(r.Err == nil) }})
	if len(in.items) == 1 {
		sh.rouse()
	}
	return true
}

// page reads the latest published view.
func (t *retained) page(q *RetainedQuery, sh *shard) RetainedPage {
	p := RetainedPage{Index: t.applied.Load(), Cursor: q.Cursor} // before the view, which may be newer
	now := sh.clock()
	at := now - session.Time(sh.base.Load())
	left, room, looks := bound(q.MaxMessages, maxPageMessages), bound(q.MaxBytes, maxPageBytes), maxPageLooks
	last := q.Cursor
	walk(t.view.Load(), q.Filter, q.Cursor, func(r *retainedMessage, matches bool) bool {
		if left == 0 || looks == 0 || room <= 0 && len(p.Messages) > 0 {
			p.More = true
			return false
		}
		looks--
		last = r.topic
		if !matches || r.deadline != session.Never && r.deadline <= at {
			return true
		}
		left--
		room -= len(r.packed)
		p.Messages = append(p.Messages, RetainedMessage{Index: r.index})
		parseStored(r.packed, r.deadline, at, now, &p.Messages[len(p.Messages)-1].Message)
		return true
	})
	p.Cursor = strings.Clone(last)
	return p
}

// bound is what was asked for, no more than most, which is what 0 asks for.
func bound(asked, most int) int {
	if asked <= 0 {
		return most
	}
	return min(asked, most)
}

// pages has a shard's pages read beside Apply, one after the other.
type pages struct {
	mu struct {
		sync.Mutex
		waiting []func()
		busy    bool // a goroutine is at it
		closed  bool
	}
	running *sync.WaitGroup // of the store
}

// add has f called; false says that it is too late.
func (p *pages) add(f func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.closed {
		return false
	}
	p.mu.waiting = append(p.mu.waiting, f)
	if !p.mu.busy {
		p.mu.busy = true
		p.running.Go(p.work)
	}
	return true
}

func (p *pages) work() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.mu.waiting) > 0 {
		fs := p.mu.waiting
		p.mu.waiting = nil
		p.mu.Unlock()
		for _, f := range fs {
			f()
		}
		p.mu.Lock()
	}
	p.mu.busy = false
}

// close takes no more; what waits is still read.
func (p *pages) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.closed = true
}

// A query's frame, version and flags aside:
//
//	filter, cursor  byte strings
//	as of, messages, bytes  uvarint
//
// Its answer has the page where a frame of commands has results:
//
//	flags   1 byte: pageMore
//	index   uvarint
//	cursor  byte string
//	messages, each: index uvarint, packed message as byte string

const pageMore = 1

func (q *RetainedQuery) encode(b []byte) []byte {
	b = appendBytes(append(b, frameVersion, frameRead), q.Filter.String())
	b = appendBytes(b, q.Cursor)
	for _, v := range [...]uint64{q.AsOf, uint64(max(q.MaxMessages, 0)), uint64(max(q.MaxBytes, 0))} {
		b = binary.AppendUvarint(b, v)
	}
	return b
}

func (r *reader) query() (q RetainedQuery) {
	q.Filter = r.filter()
	q.Cursor, q.AsOf = r.string(), r.uvarint()
	q.MaxMessages, q.MaxBytes = int(min(r.uvarint(), maxPageMessages)), int(min(r.uvarint(), maxPageBytes))
	return q
}

// appendPage writes the answer to a query; p is nil if nobody knows.
func appendPage(b []byte, p *RetainedPage) []byte {
	b = appendBool(append(b, frameVersion), p != nil)
	if p == nil {
		return b
	}
	b = binary.AppendUvarint(appendBool(b, p.More), p.Index)
	b = appendBytes(b, p.Cursor)
	for i := range p.Messages {
		m := &p.Messages[i]
		b = binary.AppendUvarint(b, m.Index)
		b = appendBytes(b, m.Message.Append(nil, m.Message.Received))
	}
	return b
}

// page reads the answer to a query, whose messages count as received now.
func (r *reader) page(now session.Time) (p RetainedPage, ok bool) {
	if r.byte() != frameVersion {
		r.fail()
	}
	ok = r.bool()
	p.More = r.byte()&pageMore != 0
	p.Index, p.Cursor = r.uvarint(), r.string()
	for len(r.b) > 0 {
		m := RetainedMessage{Index: r.uvarint()}
		packed := reader{b: r.bytes()}
		if packed.message(&m.Message, now); packed.err != nil {
			r.fail()
		}
		p.Messages = append(p.Messages, m)
	}
	return p, ok && r.err == nil
}
