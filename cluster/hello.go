package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	grpcpeer "google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"dunlin/proto/clusterpb"
)

const (
	helloKey   = "dunlin-hello-bin"
	welcomeKey = "dunlin-welcome-bin"
)

// errWrongStart means that the process called is another start of the identity
// meant: that one is gone.
var errWrongStart = errors.New("another start of the node answers")

// hello is the Hello to p, but for what a Forward stream adds.
func (c *Cluster) hello(p *peer) *clusterpb.Hello {
	return &clusterpb.Hello{
		VersionMin: c.opts.Frames.Min,
		VersionMax: c.opts.Frames.Max,
		ClusterId:  c.opts.ClusterID,
		Identity:   c.opts.Identity,
		Start:      c.opts.Start,
		ToIdentity: p.identity,
		ToStart:    p.start,
		Cluster:    proto.String(c.belongs()),
	}
}

// withHello puts h into the metadata that a stream is opened with.
func withHello(ctx context.Context, h *clusterpb.Hello) (context.Context, error) {
	b, err := proto.Marshal(h)
	if err != nil {
		return nil, err
	}
	return metadata.AppendToOutgoingContext(ctx, helloKey, string(b)), nil
}

// welcome waits for the answer to a Hello sent to p.
func (p *peer) welcome(st grpc.ClientStream) (*clusterpb.Welcome, error) {
	md, err := st.Header()
	if err != nil {
		return nil, err
	}
	var w clusterpb.Welcome
	if v := md.Get(welcomeKey); len(v) == 1 {
		if err := proto.Unmarshal([]byte(v[0]), &w); err != nil {
			return nil, err
		}
	}
	if w.Identity == p.identity && w.Start != p.start {
		return nil, errWrongStart
	}
	if w.Identity == p.identity {
		p.c.learn(p, w.Cluster)
		if own := p.c.belongs(); relate(own, w.Cluster) == stranger {
			return nil, &foreignError{theirs: *w.Cluster, own: own}
		}
	}
	if own := p.c.opts.Frames; w.Identity != p.identity || w.Version < own.Min || w.Version > own.Max {
		// A refusal comes without a Welcome and with a status.
		if err := st.RecvMsg(new(batch)); err != nil {
			return nil, err
		}
		return nil, errors.New("stranger answers")
	}
	return &w, nil
}

// greet reads the Hello of a stream from its metadata, before anything else of
// it, and decides whether to talk (case 52). The answer is complete but for what
// the stream adds.
func (c *Cluster) greet(ctx context.Context) (*clusterpb.Hello, *clusterpb.Welcome, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	v := md.Get(helloKey)
	if len(v) != 1 {
		return nil, nil, c.refuse(ctx, "no hello")
	}
	var h clusterpb.Hello
	if err := proto.Unmarshal([]byte(v[0]), &h); err != nil {
		return nil, nil, c.refuse(ctx, "malformed hello")
	}
	if h.ClusterId != c.opts.ClusterID {
		return nil, nil, c.refuse(ctx, "wrong cluster id")
	}
	if h.Identity == "" || h.Start == 0 || h.Identity == c.opts.Identity {
		return nil, nil, c.refuse(ctx, "bad identity")
	}
	own, theirs := c.opts.Frames, FrameVersions{h.VersionMin, h.VersionMax}
	if theirs.Min > own.Max || theirs.Max < own.Min || theirs.Min > theirs.Max {
		err := fmt.Errorf("node %s speaks frames of versions %v, this node of %v: releases too far apart are not in one cluster", h.Identity, theirs, own)
		return nil, nil, c.refuseFor(ctx, noCommonVersion, err)
	}
	w := &clusterpb.Welcome{
		Version:  min(theirs.Max, own.Max), // the highest that both speak
		Identity: c.opts.Identity,
		Start:    c.opts.Start,
		Cluster:  proto.String(c.belongs()),
	}
	return &h, w, nil
}

// refuse counts a stranger and returns what it is told.
func (c *Cluster) refuse(ctx context.Context, why string) error { return c.refuseFor(ctx, why, nil) }

// refuseFor is refuse with more to say of why.
func (c *Cluster) refuseFor(ctx context.Context, why string, more error) error {
	from := ""
	if p, ok := grpcpeer.FromContext(ctx); ok {
		from = p.Addr.String()
	}
	c.stranger(why, from, more)
	text := refusedText + why
	if more != nil {
		text += ": " + more.Error()
	}
	return status.Error(codes.PermissionDenied, text)
}

const (
	refusedText     = "refused: "
	noCommonVersion = "no common version"
)

// apart says that a stream was refused since the peer's release speaks no version of frames
// that this one does: as long as both processes live it will be.
func apart(err error) bool {
	return strings.HasPrefix(status.Convert(err).Message(), refusedText+noCommonVersion)
}

// answer sends w.
func answer(st grpc.ServerStream, w *clusterpb.Welcome) error {
	b, err := proto.Marshal(w)
	if err != nil {
		return err
	}
	return st.SendHeader(metadata.Pairs(welcomeKey, string(b)))
}
