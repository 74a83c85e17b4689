package raftnet

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// errReplaced ends a stream when the peer has opened another.
var errReplaced = errors.New("raftnet: stream replaced by a newer one")

// maxReplies is how many bytes of replies and pushes may wait for a peer that
// does not read them. It bounds what its asks may make this node hold, and ends
// the stream.
const maxReplies = 64 << 20

// served keeps the streams of one peer from overtaking one another.
type served struct {
	mu      sync.Mutex // held while a batch is handled
	current atomic.Pointer[replies]
}

// replies is the way back of one stream.
type replies struct {
	queue
	cancel context.CancelFunc
}

// Serve answers the calls of a peer on s until it breaks or ctx ends. spawn
// starts a goroutine that ends once s has; whoever gave s waits for it.
func (n *Net) Serve(ctx context.Context, from string, s Stream, spawn func(func())) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p := n.peer(from)
	out := &replies{cancel: cancel}
	out.init(maxReplies)
	out.begin()
	defer out.end()
	p.served.mu.Lock()
	if old := p.served.current.Swap(out); old != nil {
		old.cancel()
	}
	p.served.mu.Unlock()
	n.hear(p)
	n.opened(from)

	readErr := make(chan error, 1)
	spawn(func() {
		readErr <- n.read(s, p, out)
		cancel()
	})
	err := out.write(ctx, s, nil)
	select {
	case rerr := <-readErr:
		err = rerr
	default:
	}
	return err
}

func (n *Net) read(s Stream, p *peer, out *replies) error {
	var rows [classes]assembler
	for i := range rows {
		rows[i].bound = n.opts.MaxPayloadBytes
	}
	request := func(r record) error { return n.request(p, out, r) }
	piece := func(k Class, b []byte) error {
		p.served.mu.Lock()
		defer p.served.mu.Unlock()
		if p.served.current.Load() != out {
			return errReplaced
		}
		return rows[k].add(b, request)
	}
	for {
		if err := s.Recv(piece); err != nil {
			return err
		}
		n.hear(p)
	}
}

// request takes one call of p.
func (n *Net) request(p *peer, out *replies, r record) error {
	if p.restricted.Load() && (r.kind != kindAsk || !n.anyone(r.ask)) {
		if r.kind != kindBeat {
			out.fail(r.group, r.id, ErrRestricted.Error())
		}
		return nil
	}
	switch r.kind {
	case kindBeat:
		return n.detector.beat(p.identity, r.payload)
	case kindAsk:
		h := n.handler(r.ask)
		if h == nil {
			out.fail(r.group, r.id, unhandled(r.ask))
			return nil
		}
		group, id := r.group, r.id
		h(p.identity, group, r.payload, func(body []byte, err error) {
			if err != nil {
				out.fail(group, id, err.Error())
			} else {
				out.answer(group, id, body, n.opts.MaxPayloadBytes)
			}
		})
		return nil
	case kindHeartbeat, kindAppend, kindVote, kindPreVote, kindTimeoutNow:
		t := n.group(r.group)
		if t == nil {
			out.fail(r.group, r.id, noGroup(r.group).Error())
			return nil
		}
		return t.request(p.identity, out, r)
	default:
		return malformed("no request")
	}
}

// noGroup is what a node answers that has no transport for the group.
func noGroup(group uint16) Failure { return Failure(fmt.Sprintf("no group %d here", group)) }

// reply queues a reply that is small.
func (o *replies) reply(k kind, group uint16, id uint32, payload func([]byte) []byte) {
	if o.lock() != nil {
		return
	}
	start := len(o.mu.urgent)
	o.mu.urgent = payload(openRecord(o.mu.urgent, k, 0, group, id))
	closeRecord(o.mu.urgent, start)
	over := len(o.mu.urgent) > o.maxBulk
	o.unlock(false)
	if over {
		o.cancel()
	}
}

func (o *replies) fail(group uint16, id uint32, why string) {
	o.reply(kindFailure, group, id, func(dst []byte) []byte { return append(dst, why[:min(len(why), 1<<10)]...) })
}

// answer queues the answer to an ask.
func (o *replies) answer(group uint16, id uint32, body []byte, bound int) {
	if len(body) > bound {
		o.fail(group, id, fmt.Sprintf("answer of %d bytes is too large", len(body)))
		return
	}
	if o.lock() != nil {
		return
	}
	o.appendBulk(kindReply, 0, group, id, func(dst []byte) []byte { return append(dst, body...) })
}

// appendBulk appends a record to the bulk row of o, which is locked, and unlocks
// it. Replies and pushes stay in the order in which they were appended.
func (o *replies) appendBulk(k kind, ask uint8, group uint16, id uint32, payload func([]byte) []byte) {
	start := len(o.mu.bulk)
	o.mu.bulk = closeRecord(payload(openRecord(o.mu.bulk, k, ask, group, id)), start)
	over := start > o.maxBulk // one goes however large
	o.unlock(false)
	if over {
		o.cancel()
		o.end() // no more is taken while what is being written ends
	}
}
