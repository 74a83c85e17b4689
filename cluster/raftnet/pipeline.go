package raftnet

import (
	"context"
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

// pipeline implements raft.AppendPipeline: AppendEntries of one group to one
// node, sent without waiting for the replies, which come in order.
type pipeline struct {
	t      *Transport
	c      *Caller
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup

	sent chan *appending
	done chan raft.AppendFuture

	mu struct {
		sync.Mutex
		bytes int           // on their way
		room  chan struct{} // not nil if AppendEntries waits
	}
}

// appending implements raft.AppendFuture.
type appending struct {
	call  *call
	start time.Time
	req   *raft.AppendEntriesRequest
	resp  *raft.AppendEntriesResponse
	size  int
	ended chan struct{}
	err   error
}

func (a *appending) Error() error {
	<-a.ended
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
	p := &pipeline{
		t:    t,
		c:    c,
		sent: make(chan *appending, maxInFlight),
		done: make(chan raft.AppendFuture, maxInFlight),
	}
	p.ctx, p.cancel = context.WithCancel(t.ctx)
	p.wg.Go(p.collect)
	return p, nil
}

// AppendEntries implements raft.AppendPipeline. As that of the Transport it may
// shorten args. It waits while too much is on its way, for CallTimeout at most.
func (p *pipeline) AppendEntries(args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	ctx, cancel := context.WithTimeout(p.ctx, p.t.net.opts.CallTimeout)
	defer cancel()
	a := &appending{
		call:  &call{kind: kindAppend, done: make(chan struct{})},
		start: time.Now(),
		req:   args,
		resp:  resp,
		size:  shorten(args),
		ended: make(chan struct{}),
	}
	if err := p.enter(ctx, a.size); err != nil {
		return nil, err
	}
	p.c.expect(a.call)
	// What has no entries only tells the commit index to a quiet group, and waits
	// for the beat. Were it urgent, each quiet group would wake both nodes.
	lazy := len(args.Entries) == 0
	err := p.c.send(ctx, a.call, 0, p.t.id, a.size, lazy, func(dst []byte) []byte { return appendAppend(dst, args) })
	if err != nil {
		p.leave(a.size)
		return nil, err
	}
	select {
	case p.sent <- a:
		return a, nil
	case <-ctx.Done():
		p.c.forget(a.call.id)
		p.leave(a.size)
		return nil, fmt.Errorf("%w: %w", ErrBroken, context.Cause(ctx))
	}
}

func (p *pipeline) enter(ctx context.Context, size int) error {
	for {
		p.mu.Lock()
		if p.mu.bytes == 0 || p.mu.bytes+size <= maxInFlightBytes {
			p.mu.bytes += size
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
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrUnreachable, context.Cause(ctx))
		}
	}
}

func (p *pipeline) leave(size int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.bytes -= size
	if p.mu.room != nil {
		close(p.mu.room)
		p.mu.room = nil
	}
}

// collect waits for the replies, in order, and hands them to Raft: also those
// that failed, upon which Raft gives the pipeline up.
func (p *pipeline) collect() {
	for {
		select {
		case a := <-p.sent:
			p.end(a)
			p.leave(a.size)
			select {
			case p.done <- a:
			case <-p.ctx.Done():
				p.drain()
				return
			}
		case <-p.ctx.Done():
			p.drain()
			return
		}
	}
}

// end waits for a's reply.
func (p *pipeline) end(a *appending) {
	ctx, cancel := context.WithDeadline(p.ctx, a.start.Add(p.t.net.opts.CallTimeout))
	defer cancel()
	if a.err = p.c.await(ctx, a.call); a.err == nil {
		a.err = readAppendReply(a.call.reply, p.c.peer.identity, a.resp)
	}
	if a.err != nil {
		*a.resp = raft.AppendEntriesResponse{} // no success
	}
	close(a.ended)
}

func (p *pipeline) drain() {
	for {
		select {
		case a := <-p.sent:
			p.end(a)
		default:
			return
		}
	}
}

func (p *pipeline) Consumer() <-chan raft.AppendFuture { return p.done }

// Close implements raft.AppendPipeline. No AppendEntries may be under way.
func (p *pipeline) Close() error {
	p.cancel()
	p.wg.Wait()
	return nil
}
