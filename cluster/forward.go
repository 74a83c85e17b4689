package cluster

import (
	"context"
	"errors"
	"fmt"
	"math"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"dunlin/proto/clusterpb"
)

// What ends a Forward stream beside the network.
var (
	errSequenceGap       = errors.New("sequence skipped")
	errStreamReplaced    = errors.New("stream replaced by a newer one")
	errConversationOver  = errors.New("conversation unknown to the peer")
	errConfirmedTooEarly = errors.New("confirmation of what was not sent")
)

// forward opens the Forward stream to the peer and writes the outbox to it until
// it breaks.
func (p *peer) forward(ctx context.Context) error {
	h := p.c.hello(p)
	h.Sender, h.Receiver = p.out.conversation()
	st, w, ctx, cancel, err := p.open(ctx, h, func(ctx context.Context) (grpc.ClientStream, error) {
		return p.client.Forward(ctx)
	})
	if err != nil {
		return err
	}
	defer cancel()
	resent, ok := 0, w.Receiver != 0
	if ok {
		resent, ok = p.out.attach(w.Receiver, w.Accepted, int(w.MaxBody))
	}
	if !ok {
		// The peer has declared this node dead since and forgot what it accepted:
		// nobody can say what became of what it was sent, and both begin anew.
		p.lost(p.out.restart(p.c.numbers.Add(1)), Unknown, "forgotten")
		p.c.recv.Forgotten(p.id)
		return errConversationOver
	}
	p.c.metrics.resent.Add(float64(resent))
	p.c.setStreams(func() { p.forwardUp, p.dead = true, false })

	readErr := make(chan error, 1)
	go func() {
		readErr <- p.readConfirms(st)
		cancel()
	}()
	unwritten, err := p.write(ctx, st)
	cancel()
	if rerr := <-readErr; rerr != nil {
		err = rerr // it knows the reason, SendMsg only that there is one
	}
	p.c.metrics.dropped.WithLabelValues("stream").Add(float64(p.out.detach(unwritten)))
	p.c.setStreams(func() { p.forwardUp = false })
	return err
}

// write sends what is in the outbox whenever something is. A batch goes when it
// is full or when nothing more is waiting; what comes meanwhile makes the next.
func (p *peer) write(ctx context.Context, st grpc.ClientStream) (unwritten []outgoing, err error) {
	var spare []outgoing
	var b batch
	for {
		select {
		case <-p.out.wake:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		items := p.out.take(spare)
		for i := 0; i < len(items); {
			size, n := 0, i
			for ; n < len(items); n++ {
				s := frameHeaderSize + len(items[n].body)
				if size > 0 && size+s > maxBatch {
					break
				}
				size += s
			}
			b.grab(size)
			frames, last := n-i, uint64(0)
			for ; i < n; i++ {
				it := &items[i]
				b.data = appendFrame(b.data, frame{kind: frameRecords, reliable: it.seq != 0, seq: it.seq, body: it.body})
				if it.seq != 0 {
					last = it.seq
				} else {
					p.c.pool.put(it.body)
				}
				*it = outgoing{}
			}
			p.out.wrote(last)
			if n := p.out.takeTooLarge(); n > 0 {
				p.c.metrics.dropped.WithLabelValues("too_large").Add(float64(n))
				p.c.log.Warn("messages above the peer's largest frame are dropped", "peer", p.member.name, "messages", n)
			}
			p.c.metrics.framesOut.Add(float64(frames))
			p.c.metrics.bytesOut.Add(float64(size))
			if err := st.SendMsg(&b); err != nil {
				return items[i:], err
			}
		}
		spare = items
	}
}

// readConfirms takes confirmations until the stream ends.
func (p *peer) readConfirms(st grpc.ClientStream) error {
	var b batch
	var tokens []Token
	for {
		if err := st.RecvMsg(&b); err != nil {
			return err
		}
		p.c.metrics.bytesIn.Add(float64(len(b.data)))
		err := b.each(maxFeedFrame, func(f frame) error {
			if f.kind != frameConfirm {
				return errFrameMisplace
			}
			for rest := f.body; len(rest) > 0; {
				var s span
				var err error
				if s, rest, err = readSpan(rest); err != nil {
					return err
				}
				var ok bool
				if tokens, ok = p.out.confirm(s, tokens[:0]); !ok {
					return errConfirmedTooEarly
				}
				for _, t := range tokens {
					p.c.recv.Confirmed(p.id, t, Accepted)
				}
			}
			return nil
		})
		b.free()
		if err != nil {
			return p.fault("forward", err)
		}
	}
}

// lost tells the broker that nothing more will be heard of these frames.
func (p *peer) lost(tokens []Token, f Fate, reason string) {
	p.c.metrics.lost.WithLabelValues(reason).Add(float64(len(tokens)))
	for _, t := range tokens {
		p.c.recv.Confirmed(p.id, t, f)
	}
}

// fault counts and tells what a peer did wrong on a stream, which ends with it.
func (p *peer) fault(stream string, err error) error {
	if errors.Is(err, errStreamReplaced) {
		return err
	}
	p.c.metrics.badFrames.Inc()
	p.c.log.Warn("peer disconnected", "peer", p.member.name, "stream", stream, "err", err)
	return err
}

// Forward serves the peer's Forward stream: frames up, confirmations down.
func (s server) Forward(st grpc.BidiStreamingServer[clusterpb.Batch, clusterpb.Batch]) error {
	p, h, w, err := s.c.admit(st, false)
	if err != nil {
		return err
	}
	defer p.wg.Done()
	w.MaxBody = uint32(min(s.c.opts.MaxFrameBytes, math.MaxUint32))
	in := p.in.attach(h, w)
	if in == nil {
		return answer(st, w)
	}
	defer p.in.detach(in)
	if err := answer(st, w); err != nil {
		return err
	}
	return p.serve(in,
		func() error { return p.readRecords(st, in) },
		func() error { return p.writeConfirms(st, in) })
}

// serve runs the two directions of a stream that the peer opened, until one
// fails, another stream takes its place or the peer is declared gone. It does not
// wait for them: they end when the handler has returned, which is all that frees
// one who sends to a peer that does not read.
func (p *peer) serve(in *inStream, read, write func() error) error {
	failed := make(chan error, 2)
	p.wg.Go(func() { failed <- read() })
	p.wg.Go(func() { failed <- write() })
	select {
	case err := <-failed:
		return status.Error(codes.Aborted, fmt.Sprint(err))
	case <-in.ended:
		return status.Error(codes.Aborted, errStreamReplaced.Error())
	case <-p.ctx.Done():
		return status.Error(codes.Aborted, "declared gone")
	}
}

// writeConfirms tells the peer what is done until the stream ends.
func (p *peer) writeConfirms(st grpc.ServerStream, in *inStream) error {
	var b batch
	var spare []span
	for {
		select {
		case <-in.wake:
		case <-st.Context().Done():
			return st.Context().Err()
		}
		spans := p.in.take(in, spare)
		spare = spans
		if len(spans) == 0 {
			continue
		}
		b.grab(frameHeaderSize + 4*len(spans))
		for len(spans) > 0 {
			n := min(len(spans), maxSpans)
			start := len(b.data)
			b.data = openFrame(b.data, frameConfirm)
			b.data = closeFrame(appendSpans(b.data, spans[:n]), start, 0)
			spans = spans[n:]
			if len(b.data) >= maxBatch || len(spans) == 0 {
				if err := p.send(st, &b); err != nil {
					return err
				}
				b.grab(frameHeaderSize)
			}
		}
	}
}

// maxSpans keeps a frameConfirm, of at most 20 bytes a span, within maxBatch.
const maxSpans = maxBatch / 20

// readRecords passes frames to the broker until the stream ends.
func (p *peer) readRecords(st grpc.ServerStream, in *inStream) error {
	forwarded := func(body []byte, done func()) {
		p.c.recv.Forwarded(p.id, body, done)
		mangle(body)
	}
	var b batch
	for {
		if err := st.RecvMsg(&b); err != nil {
			return err
		}
		p.c.metrics.bytesIn.Add(float64(len(b.data)))
		frames := 0
		err := b.each(p.c.opts.MaxFrameBytes, func(f frame) error {
			if f.kind != frameRecords {
				return errFrameMisplace
			}
			frames++
			return p.in.accept(in, f, forwarded)
		})
		p.c.metrics.framesIn.Add(float64(frames))
		b.free()
		if err != nil {
			return p.fault("forward", err)
		}
	}
}
