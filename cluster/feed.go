package cluster

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"

	"dunlin/cluster/feed"
	"dunlin/proto/clusterpb"
	"dunlin/router"
)

const (
	// maxFeedFrame bounds a frame of a Feed stream and every confirmation: a full
	// batch and one more change, whose filter is at most 64 KiB.
	maxFeedFrame = 256 << 10
	// maxChanges is how many changes are read from the table at once.
	maxChanges = 1 << 10
)

// feed opens the Feed stream to the peer and tells it this node's routes until it
// breaks. The peer starts from what it holds, or from a full
// copy.
func (p *peer) feed(ctx context.Context) error {
	st, w, ctx, cancel, err := p.open(ctx, p.c.hello(p), func(ctx context.Context) (grpc.ClientStream, error) {
		return p.client.Feed(ctx)
	})
	if err != nil {
		return err
	}
	defer cancel()
	if w.Whole = w.Whole && w.Held <= p.c.routes.Version(); w.Whole {
		p.holds.Store(w.Held + 1)
	} else {
		p.holds.Store(0) // it may have held something before it declared us dead
	}
	p.c.settle()
	p.c.setStreams(func() { p.feedUp, p.dead = true, false })

	readErr := make(chan error, 1)
	go func() {
		readErr <- p.readHeld(st)
		cancel()
	}()
	err = p.writeFeed(ctx, st, w.Whole, w.Held)
	cancel()
	if rerr := <-readErr; rerr != nil {
		err = rerr
	}
	p.c.setStreams(func() { p.feedUp = false })
	return err
}

// writeFeed sends what has changed, whenever something has and the peer has
// confirmed what was sent before, a pause ago. A message costs as much as some hundred
// changes, on both sides and for each of the peers, so that what comes meanwhile goes
// together: the dearer the round, the more it carries. The peer holds version at, if
// whole.
func (p *peer) writeFeed(ctx context.Context, st grpc.ClientStream, whole bool, at uint64) error {
	var b batch
	var changes []router.Change
	for {
		if whole {
			var version uint64
			changes, version, whole = p.c.routes.Changes(at, maxChanges, changes[:0])
			if whole && version != at {
				if err := p.sendChanges(st, &b, at, version, changes); err != nil {
					return err
				}
				if at = version; len(changes) == maxChanges {
					continue
				}
			}
		}
		if !whole {
			var err error
			if at, err = p.sendCopy(st, &b); err != nil {
				return err
			}
			whole = true
		}
		if err := p.restFeed(ctx, at); err != nil {
			return err
		}
	}
}

// restFeed returns when there is something to send to a peer that was sent all up to
// version at: once the peer has confirmed that, what was changed since has gathered
// for a while (feed.Pause), and something was.
func (p *peer) restFeed(ctx context.Context, at uint64) error {
	sent := time.Now()
	for p.holds.Load() <= at {
		if err := p.awaitFeed(ctx); err != nil {
			return err
		}
	}
	now := time.Now()
	if pause := feed.Pause(now, now.Sub(sent), len(*p.c.byID.Load())-1); pause > 0 {
		t := time.NewTimer(pause)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for p.c.routes.Version() == at {
		if err := p.awaitFeed(ctx); err != nil {
			return err
		}
	}
	return nil
}

// awaitFeed waits for a change, or for what the peer confirms.
func (p *peer) awaitFeed(ctx context.Context) error {
	select {
	case <-p.feedWake:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// send sends b on a stream of either side.
func (p *peer) send(st interface{ SendMsg(any) error }, b *batch) error {
	p.c.metrics.bytesOut.Add(float64(len(b.data)))
	return st.SendMsg(b)
}

// sendChanges sends the changes that lead from one version to the next. As each
// makes one version, they can be cut anywhere.
func (p *peer) sendChanges(st grpc.ClientStream, b *batch, from, to uint64, changes []router.Change) error {
	if uint64(len(changes)) != to-from {
		panic(fmt.Sprintf("cluster: %d route changes lead from version %d to %d", len(changes), from, to))
	}
	for len(changes) > 0 {
		b.grab(maxBatch / 4)
		b.data = openFrame(b.data, frameChanges)
		b.data = binary.AppendUvarint(b.data, from)
		for len(changes) > 0 && len(b.data) < maxBatch {
			b.data = feed.AppendChange(b.data, changes[0])
			changes = changes[1:]
			from++
		}
		b.data = closeFrame(b.data, 0, from)
		if err := p.send(st, b); err != nil {
			return err
		}
	}
	return nil
}

// sendCopy sends all own routes. They are packed before the first is sent, for the
// table may hold writers up while it is read and the network must not.
func (p *peer) sendCopy(st grpc.ClientStream, b *batch) (version uint64, err error) {
	var chunks [][]byte
	var chunk []byte
	version = p.c.routes.Snapshot(func(cs []router.Change) bool {
		for _, ch := range cs {
			if chunk = feed.AppendChange(chunk, ch); len(chunk) >= maxBatch {
				chunks = append(chunks, chunk)
				chunk = make([]byte, 0, cap(chunk))
			}
		}
		return true
	})
	chunks = append(chunks, chunk)

	b.grab(frameHeaderSize)
	b.data = appendFrame(b.data, frame{kind: frameCopyBegin})
	for i, body := range chunks {
		if i > 0 {
			b.grab(frameHeaderSize + len(body))
		}
		b.data = appendFrame(b.data, frame{kind: frameCopy, body: body})
		if i == len(chunks)-1 {
			b.data = appendFrame(b.data, frame{kind: frameCopyEnd, seq: version})
		}
		if err := p.send(st, b); err != nil {
			return 0, err
		}
		chunks[i] = nil
	}
	return version, nil
}

// readHeld takes the versions that the peer confirms until the stream ends.
func (p *peer) readHeld(st grpc.ClientStream) error {
	var b batch
	for {
		if err := st.RecvMsg(&b); err != nil {
			return err
		}
		p.c.metrics.bytesIn.Add(float64(len(b.data)))
		before := p.holds.Load()
		err := b.each(maxFeedFrame, func(f frame) error {
			if f.kind != frameHeld || f.seq > p.c.routes.Version() || f.seq+1 < p.holds.Load() {
				return errFrameMisplace
			}
			p.holds.Store(f.seq + 1)
			return nil
		})
		b.free()
		if err != nil {
			return p.fault("feed", err)
		}
		p.c.holdsMore(before)
		signal(p.feedWake)
		if before == 0 {
			p.c.changed()
		}
	}
}

// feedIn is what this node holds of a peer's routes.
type feedIn struct {
	mu struct {
		sync.Mutex
		stream  *inStream // the one stream that may change it
		whole   bool      // it has had a full copy
		copying bool
		held    uint64 // version, if whole
	}
}

// Feed serves the peer's Feed stream: routes up, the version held down.
func (s server) Feed(st grpc.BidiStreamingServer[clusterpb.Batch, clusterpb.Batch]) error {
	p, _, w, err := s.c.admit(st, false)
	if err != nil {
		return err
	}
	defer p.wg.Done()
	in := p.feedIn.attach(w)
	defer p.feedIn.detach(in)
	if err := answer(st, w); err != nil {
		return err
	}
	return p.serve(in,
		func() error { return p.readFeed(st, in) },
		func() error { return p.writeHeld(st, in) })
}

// writeHeld confirms the version held, whenever it has changed.
func (p *peer) writeHeld(st grpc.ServerStream, in *inStream) error {
	var b batch
	for {
		select {
		case <-in.wake:
		case <-st.Context().Done():
			return st.Context().Err()
		}
		held, ok := p.feedIn.version()
		if !ok {
			continue
		}
		b.grab(frameHeaderSize)
		b.data = appendFrame(b.data, frame{kind: frameHeld, seq: held})
		if err := p.send(st, &b); err != nil {
			return err
		}
	}
}

// attach makes a new stream the only one and fills in what is held.
func (in *feedIn) attach(w *clusterpb.Welcome) *inStream {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.mu.stream != nil {
		close(in.mu.stream.ended)
	}
	in.mu.stream = &inStream{ended: make(chan struct{}), wake: make(chan struct{}, 1)}
	in.mu.copying = false
	w.Whole, w.Held = in.mu.whole, in.mu.held
	return in.mu.stream
}

func (in *feedIn) detach(st *inStream) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.mu.stream == st {
		in.mu.stream = nil
	}
}

func (in *feedIn) version() (held uint64, whole bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.mu.held, in.mu.whole
}

// readFeed applies a peer's routes until the stream ends.
func (p *peer) readFeed(st grpc.ServerStream, in *inStream) error {
	var b batch
	var changes []router.Change
	for {
		if err := st.RecvMsg(&b); err != nil {
			return err
		}
		p.c.metrics.bytesIn.Add(float64(len(b.data)))
		err := b.each(maxFeedFrame, func(f frame) (err error) {
			changes, err = p.takeFeed(in, f, changes[:0])
			return err
		})
		b.free()
		clear(changes[:cap(changes)])
		if err != nil {
			return p.fault("feed", err)
		}
	}
}

// takeFeed applies one frame. changes is room to work in.
func (p *peer) takeFeed(st *inStream, f frame, changes []router.Change) ([]router.Change, error) {
	in := &p.feedIn
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.mu.stream != st {
		return changes, errStreamReplaced
	}
	routes := p.c.routes
	var err error
	switch {
	case f.kind == frameCopyBegin && !in.mu.copying:
		routes.BeginRemote(p.id)
		in.mu.copying, in.mu.whole = true, false
	case f.kind == frameCopy && in.mu.copying:
		if changes, err = feed.ReadChanges(f.body, changes); err == nil {
			routes.ApplyRemote(p.id, changes)
		}
	case f.kind == frameCopyEnd && in.mu.copying:
		routes.EndRemote(p.id)
		in.mu.copying, in.mu.whole, in.mu.held = false, true, f.seq
		p.c.setCopied(p)
		signal(st.wake)
	case f.kind == frameChanges && in.mu.whole:
		from, n := binary.Uvarint(f.body)
		if n <= 0 || from != in.mu.held {
			return changes, errSequenceGap
		}
		changes, err = feed.ReadChanges(f.body[n:], changes)
		if err == nil && from+uint64(len(changes)) != f.seq {
			err = errSequenceGap
		}
		if err == nil {
			routes.ApplyRemote(p.id, changes)
			in.mu.held = f.seq
			signal(st.wake)
		}
	default:
		err = errFrameMisplace
	}
	return changes, err
}
