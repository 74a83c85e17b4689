package raftnet

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// A pipeline has so many requests, or bytes of them, on their way at a time. A
// follower's disk may be slow, and it holds them all.
const (
	maxInFlight      = 16
	maxInFlightBytes = 1 << 20
)

// errOverdue ends a request that has had no reply for CallTimeout.
var errOverdue = errors.New("no reply in time")

// pipeline implements raft.AppendPipeline: AppendEntries of one group to one
// node, sent without waiting for the replies, which come in order. It has no
// goroutine: who reads a reply hands it to Raft.
//
// Invariant: flight and done together are no more than maxInFlight, so that
// nobody waits to put something into done.
type pipeline struct {
	t      *Transport
	c      *Caller
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	done   chan raft.AppendFuture
	timer  *time.Timer // calls expire

	mu struct {
		sync.Mutex
		flight []*appending  // without a reply, by age
		bytes  int           // of them
		timed  bool          // timer runs
		room   chan struct{} // not nil if AppendEntries waits
	}
}

// appending implements raft.AppendFuture.
type appending struct {
	call  call
	start time.Time
	req   *raft.AppendEntriesRequest
	resp  *raft.AppendEntriesResponse
	size  int
	ended sync.WaitGroup
	err   error
}

func (a *appending) Error() error {
	a.ended.Wait()
	return a.err
}
func (a *appending) Start() time.Time                      { return a.start }
func (a *appending) Request() *raft.AppendEntriesRequest   { return a.req }
func (a *appending) Response() *raft.AppendEntriesResponse { return a.resp }

// AppendEntriesPipeline implements raft.Transport.
func (t *Transport) AppendEntriesPipeline(to raft.ServerID, _ raft.ServerAddress) (raft.AppendPipeline, error) {
	c := t.net.caller(string(to))
	if c == nil {
		return nil, fmt.Errorf("%w: %s is no member", ErrUnreachable, to)
	}
	p := &pipeline{t: t, c: c, done: make(chan raft.AppendFuture, maxInFlight)}
	p.ctx, p.cancel = context.WithCancel(t.ctx)
	p.timer = time.AfterFunc(time.Hour, p.expire)
	return p, nil
}

// AppendEntries implements raft.AppendPipeline. As that of the Transport it may
// shorten args. It waits while too much is on its way, for CallTimeout at most.
func (p *pipeline) AppendEntries(args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	a := &appending{start: time.Now(), req: args, resp: resp, size: shorten(args)}
	a.call = call{kind: kindAppend, then: func(reply []byte, err error) { p.end(a, reply, err) }}
	a.ended.Add(1)
	ctx := p.ctx
	if !p.enter(a) {
		// Rarely is there no room: only then a deadline is worth its timer.
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(p.ctx, p.t.net.opts.CallTimeout)
		defer cancel()
		if err := p.await(ctx, a); err != nil {
			return nil, err
		}
	}
	p.c.expect(&a.call)
	// What has no entries only tells the commit index to a quiet group, and waits
	// for the beat. Were it urgent, each quiet group would wake both nodes.
	lazy := len(args.Entries) == 0
	err := p.c.send(ctx, &a.call, 0, p.t.id, a.size, lazy, func(dst []byte) []byte { return appendAppend(dst, args) })
	if err != nil {
		p.leave(a)
		return nil, err
	}
	return a, nil
}

// enter counts a among what is on its way, if there is room.
func (p *pipeline) enter(a *appending) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.enterLocked(a)
}

func (p *pipeline) enterLocked(a *appending) bool {
	if n := len(p.mu.flight); n > 0 && p.mu.bytes+a.size > maxInFlightBytes || n+len(p.done) >= maxInFlight {
		return false
	}
	p.mu.flight = append(p.mu.flight, a)
	p.mu.bytes += a.size
	if !p.mu.timed {
		p.mu.timed = true
		p.timer.Reset(p.t.net.opts.CallTimeout)
	}
	return true
}

// await enters a when there is room.
func (p *pipeline) await(ctx context.Context, a *appending) error {
	// Nobody tells when Raft takes something out of done.
	again := time.NewTicker(takenEvery)
	defer again.Stop()
	for {
		p.mu.Lock()
		if p.enterLocked(a) {
			p.mu.Unlock()
			return nil
		}
		if p.mu.room == nil {
			p.mu.room = make(chan struct{})
		}
		room := p.mu.room
		p.mu.Unlock()
		select {
		case <-room:
		case <-again.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrUnreachable, context.Cause(ctx))
		}
	}
}

// takenEvery is how often who waits looks what Raft has taken.
const takenEvery = 5 * time.Millisecond

// leave takes a from what is on its way; it is there once.
func (p *pipeline) leave(a *appending) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leaveLocked(a)
}

func (p *pipeline) leaveLocked(a *appending) bool {
	for i, other := range p.mu.flight {
		if other != a {
			continue
		}
		last := len(p.mu.flight) - 1
		copy(p.mu.flight[i:], p.mu.flight[i+1:])
		p.mu.flight[last] = nil
		p.mu.flight = p.mu.flight[:last]
		p.mu.bytes -= a.size
		if p.mu.room != nil {
			close(p.mu.room)
			p.mu.room = nil
		}
		return true
	}
	return false
}

// end hands a to Raft with its reply: also if it failed, upon which Raft gives
// the pipeline up.
func (p *pipeline) end(a *appending, reply []byte, err error) {
	if a.err = err; err == nil {
		a.err = readAppendReply(reply, p.c.peer.identity, a.resp)
	}
	if a.err != nil {
		*a.resp = raft.AppendEntriesResponse{} // no success
	}
	a.ended.Done()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.leaveLocked(a) {
		p.done <- a
	}
}

// expire fails the oldest request if its reply is overdue.
func (p *pipeline) expire() {
	p.mu.Lock()
	if len(p.mu.flight) == 0 || p.ctx.Err() != nil {
		p.mu.timed = false
		p.mu.Unlock()
		return
	}
	oldest := p.mu.flight[0]
	left := p.t.net.opts.CallTimeout - time.Since(oldest.start)
	p.timer.Reset(max(left, takenEvery))
	p.mu.Unlock()
	if left <= 0 {
		p.fail(oldest, errOverdue)
	}
}

// fail ends a if nobody else does. What became of it is unknown.
func (p *pipeline) fail(a *appending, why error) {
	if p.c.forgetIf(&a.call) {
		a.call.finish(nil, fmt.Errorf("%w: %w", ErrBroken, why))
	}
}

func (p *pipeline) Consumer() <-chan raft.AppendFuture { return p.done }

// Close implements raft.AppendPipeline. No AppendEntries may be under way.
func (p *pipeline) Close() error {
	p.cancel()
	p.timer.Stop()
	p.mu.Lock()
	flight := append([]*appending(nil), p.mu.flight...)
	p.mu.Unlock()
	for _, a := range flight {
		p.fail(a, context.Cause(p.ctx))
	}
	return nil
}
