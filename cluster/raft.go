package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"dunlin/cluster/raftnet"
	"dunlin/proto/clusterpb"
)

// bulkIdle is how long the connection for snapshots stays open without one. It
// is another than that of the streams: what fills a connection delays whatever
// shares it, heartbeats for one.
const bulkIdle = time.Minute

// Raft is what the Raft groups of this node, and calls to other nodes about
// groups, go through. It names nodes by their identity.
func (c *Cluster) Raft() *raftnet.Net { return c.raft }

// raft opens the Raft stream to the peer and carries calls over it until it breaks.
func (p *peer) raft(ctx context.Context) error {
	h := p.c.hello(p)
	st, _, ctx, cancel, err := p.open(ctx, h, func(ctx context.Context) (grpc.ClientStream, error) {
		return p.client.Raft(ctx)
	})
	if err != nil {
		return err
	}
	defer cancel()
	if h.GetCluster() == "" {
		defer context.AfterFunc(p.c.belonging, cancel)() // the next one says where this node belongs
	}
	p.c.changed() // what waits for a stream may go on
	return p.blame("raft", p.calls.Run(ctx, &rows{c: p.c, st: st}, cancel))
}

// openSnapshot opens a stream for one snapshot.
func (p *peer) openSnapshot(ctx context.Context) (raftnet.Stream, context.CancelFunc, error) {
	client := clusterpb.NewPeerClient(p.bulk)
	st, _, _, cancel, err := p.open(ctx, p.c.hello(p), func(ctx context.Context) (grpc.ClientStream, error) {
		return client.Snapshot(ctx)
	})
	if err != nil {
		return nil, nil, err
	}
	return &rows{c: p.c, st: st}, cancel, nil
}

// Raft serves the peer's Raft stream: requests up, replies down.
func (s server) Raft(st grpc.BidiStreamingServer[clusterpb.Batch, clusterpb.Batch]) error {
	return s.rows("raft", st, true, s.c.raft.Serve)
}

// Snapshot serves one snapshot of the peer.
func (s server) Snapshot(st grpc.BidiStreamingServer[clusterpb.Batch, clusterpb.Batch]) error {
	return s.rows("snapshot", st, false, s.c.raft.ServeSnapshot)
}

func (s server) rows(name string, st grpc.ServerStream, guests bool,
	serve func(context.Context, string, raftnet.Stream, func(func())) error,
) error {
	p, _, w, err := s.c.admit(st, guests)
	if err != nil {
		return err
	}
	defer p.wg.Done()
	if err := answer(st, w); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(st.Context())
	defer cancel()
	defer context.AfterFunc(p.ctx, cancel)()
	err = p.blame(name, serve(ctx, p.identity, &rows{c: s.c, st: st}, p.wg.Go))
	if err == nil {
		return nil
	}
	return status.Error(codes.Aborted, fmt.Sprint(err))
}

// blame counts and tells err if it is what the peer did wrong.
func (p *peer) blame(stream string, err error) error {
	if errors.Is(err, raftnet.ErrMalformed) || errors.Is(err, errBadFrame) {
		return p.fault(stream, err)
	}
	return err
}

// errBadFrame marks what is wrong with a frame of rows.
var errBadFrame = errors.New("bad frame")

// rows implements raftnet.Stream: a gRPC message is one frame or two.
type rows struct {
	c  *Cluster
	st interface {
		SendMsg(any) error
		RecvMsg(any) error
	}
	out, in batch
}

func (r *rows) Send(urgent, bulk []byte) error {
	b := &r.out
	b.grab(2*frameHeaderSize + len(urgent) + len(bulk))
	for _, part := range [...]frame{{kind: frameUrgent, body: urgent}, {kind: frameBulk, body: bulk}} {
		if len(part.body) > 0 {
			b.data = appendFrame(b.data, part)
		}
	}
	r.c.metrics.bytesOut.Add(float64(len(b.data)))
	return r.st.SendMsg(b)
}

func (r *rows) Recv(f func(raftnet.Class, []byte) error) error {
	b := &r.in
	if err := r.st.RecvMsg(b); err != nil {
		return err
	}
	defer b.free()
	r.c.metrics.bytesIn.Add(float64(len(b.data)))
	for rest := b.data; len(rest) > 0; {
		fr, next, err := readFrame(rest, raftnet.MaxPiece)
		if err != nil {
			return fmt.Errorf("%w: %w", errBadFrame, err)
		}
		switch fr.kind {
		case frameUrgent:
			err = f(raftnet.Urgent, fr.body)
		case frameBulk:
			err = f(raftnet.Bulk, fr.body)
		default:
			err = fmt.Errorf("%w: %w", errBadFrame, errFrameMisplace)
		}
		mangle(fr.body)
		if err != nil {
			return err
		}
		rest = next
	}
	return nil
}

// watchedConn tells the failure detector when the other side ends a connection:
// a process that is killed has its kernel do that.
type watchedConn struct {
	net.Conn
	peer   *peer
	closed atomic.Bool
}

func (c *watchedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil && !c.closed.Load() && (errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)) {
		c.peer.c.raft.Severed(c.peer.identity)
	}
	return n, err
}

func (c *watchedConn) Close() error {
	c.closed.Store(true)
	return c.Conn.Close()
}
