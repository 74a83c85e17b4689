package cluster

import (
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	grpcpeer "google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"dunlin/proto/clusterpb"
)

// Bounds of a connection between nodes.
const (
	streamWindow = 1 << 20  // bytes on their way of one stream
	connWindow   = 4 << 20  // and of all streams of a connection
	maxHello     = 16 << 10 // bytes of metadata
	maxStreams   = 16       // of one connection

	// A connection that swallows everything is noticed even if gossip goes on.
	pingInterval = 10 * time.Second
	pingTimeout  = 5 * time.Second
)

// server answers the streams that peers open.
type server struct {
	clusterpb.UnimplementedPeerServer
	c *Cluster
}

func (c *Cluster) newServer() *grpc.Server {
	s := grpc.NewServer(
		grpc.Creds(c.serverCredentials()),
		grpc.ForceServerCodecV2(codec{}),
		grpc.MaxRecvMsgSize(c.opts.MaxFrameBytes+frameHeaderSize+maxBatch),
		grpc.MaxHeaderListSize(maxHello),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.InitialWindowSize(streamWindow),
		grpc.InitialConnWindowSize(connWindow),
		grpc.ConnectionTimeout(c.opts.HandshakeTimeout),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: pingInterval / 2}),
	)
	clusterpb.RegisterPeerServer(s, server{c: c})
	return s
}

// admit reads the Hello of a stream and finds the peer that it comes from. It
// waits a little for gossip, which may be slower than the stream. guests says
// whether the stream is for those too that are of no cluster yet. The caller
// must call p.wg.Done when the stream has ended.
func (c *Cluster) admit(st grpc.ServerStream, guests bool) (*peer, *clusterpb.Hello, *clusterpb.Welcome, error) {
	ctx := st.Context()
	h, w, err := c.greet(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	if h.ToIdentity != c.opts.Identity || h.ToStart != c.opts.Start {
		if err := answer(st, w); err != nil {
			return nil, nil, nil, err
		}
		return nil, nil, nil, status.Error(codes.FailedPrecondition, "another start was meant")
	}
	switch r := relate(*w.Cluster, h.Cluster); {
	case r == stranger:
		return nil, nil, nil, c.refuseForeign(st, h, w)
	case r == guest && !guests:
		return nil, nil, nil, status.Error(codes.Unavailable, "no cluster has been entered yet")
	}
	late := time.NewTimer(c.opts.HandshakeTimeout / 2)
	defer late.Stop()
	for {
		c.mu.Lock()
		p, changed := c.mu.peers[h.Identity], c.mu.changed
		if p != nil && p.start == h.Start {
			p.wg.Add(1)
			c.mu.Unlock()
			c.learn(p, h.Cluster)
			return p, h, w, nil
		}
		c.mu.Unlock()
		switch {
		case p == nil:
			c.post(event{kind: eventSeen, member: member{identity: h.Identity, start: h.Start}})
		case p.start < h.Start:
			c.post(event{kind: eventGone, peer: p, reason: goneReplaced})
		default:
			return nil, nil, nil, c.refuse(ctx, "outdated start")
		}
		select {
		case <-changed:
		case <-late.C:
			return nil, nil, nil, status.Error(codes.Unavailable, "not a member yet")
		case <-ctx.Done():
			return nil, nil, nil, ctx.Err()
		}
	}
}

// refuseForeign tells who opened st, as h says, that this is not its cluster.
func (c *Cluster) refuseForeign(st grpc.ServerStream, h *clusterpb.Hello, w *clusterpb.Welcome) error {
	m := member{identity: h.Identity, start: h.Start, cluster: h.Cluster}
	if p := c.peerOf(h.Identity, h.Start); p != nil {
		m = p.member
		m.cluster = h.Cluster
	} else if from, ok := grpcpeer.FromContext(st.Context()); ok {
		m.clusterAddr = from.Addr.String()
	}
	c.foreign(m)
	if err := answer(st, w); err != nil {
		return err
	}
	return status.Error(codes.PermissionDenied, (&foreignError{theirs: *h.Cluster, own: *w.Cluster}).Error())
}
