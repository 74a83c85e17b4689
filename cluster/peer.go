package cluster

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/keepalive"

	"dunlin/cluster/raftnet"
	"dunlin/proto/clusterpb"
	"dunlin/router"
)

// peer is one start of another node, from the moment it is a member until it is
// declared gone. A later start of that node is another peer.
//
// This node calls it and keeps three streams open, Forward, Feed and Raft; it
// answers the same of the peer (server.go). The first two wait until both are known
// to be of one cluster (belong.go). When a stream breaks it is opened
// again, for ever: only the roster says that a peer is gone.
type peer struct {
	c        *Cluster
	id       router.NodeID
	identity string
	start    uint64
	member   member // constant, as the rest of this group
	label    string // of metrics

	out *outbox
	in  inbox

	feedIn   feedIn
	feedWake chan struct{} // own routes have changed
	// holds is the number of versions, from 0 on, of this node's routes that the
	// peer has confirmed: 0 is nothing at all.
	holds atomic.Uint64

	conn    *grpc.ClientConn
	client  clusterpb.PeerClient
	bulk    *grpc.ClientConn            // for what must not hold up the other: see raft.go
	raw     [2]atomic.Pointer[net.Conn] // the newest connections under conn and bulk
	calls   *raftnet.Caller
	refused chan struct{} // a dial was refused: see watch

	ctx  context.Context // of all its goroutines: ended by stop
	stop context.CancelFunc

	kin       context.Context // ends when it is known to be of this cluster, or with ctx
	becomeKin context.CancelFunc

	apart sync.Once // it was told that the two have no version in common

	wg sync.WaitGroup // all goroutines that may touch the peer

	// Guarded by Cluster.mu.
	theirs            allegiance
	forwardUp, feedUp bool
	copied            bool // it has given a full copy of its routes
	dead              bool // its ports were found closed, and no stream has opened since
}

// newPeer makes a peer of a member. Nothing runs before run; ctx ends all of it.
func (c *Cluster) newPeer(ctx context.Context, id router.NodeID, m member) (*peer, error) {
	p := &peer{
		c:        c,
		id:       id,
		identity: m.identity,
		start:    m.start,
		member:   m,
		out:      newOutbox(c.numbers.Add(1), c.opts, &c.pool),
		feedWake: make(chan struct{}, 1),
		refused:  make(chan struct{}, 1),
		theirs:   m.cluster,
	}
	p.in.numbers = func() uint64 { return c.numbers.Add(1) }
	opts := []grpc.DialOption{
		grpc.WithTransportCredentials(c.clientCredentials()),
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(),
		grpc.WithInitialWindowSize(streamWindow),
		grpc.WithInitialConnWindowSize(connWindow),
		grpc.WithMaxHeaderListSize(maxHello),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: retryMin, Multiplier: 1.6, Jitter: 0.2, MaxDelay: retryMax},
			MinConnectTimeout: c.opts.HandshakeTimeout,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingInterval, Timeout: pingTimeout}),
		grpc.WithDefaultCallOptions(
			grpc.ForceCodecV2(codec{}),
			grpc.MaxCallRecvMsgSize(maxBatch+maxFeedFrame),
		),
	}
	connect := func(raw *atomic.Pointer[net.Conn], idle time.Duration) (*grpc.ClientConn, error) {
		dial := func(ctx context.Context, addr string) (net.Conn, error) { return p.dial(ctx, addr, raw) }
		return grpc.NewClient("passthrough:///"+m.clusterAddr,
			append(opts[:len(opts):len(opts)], grpc.WithContextDialer(dial), grpc.WithIdleTimeout(idle))...)
	}
	var err error
	if p.conn, err = connect(&p.raw[0], 0); err != nil {
		return nil, err
	}
	// It connects when it is used and closes some time after.
	if p.bulk, err = connect(&p.raw[1], bulkIdle); err != nil {
		_ = p.conn.Close()
		return nil, err
	}
	p.client = clusterpb.NewPeerClient(p.conn)
	p.ctx, p.stop = context.WithCancel(ctx)
	p.kin, p.becomeKin = context.WithCancel(p.ctx)
	return p, nil
}

// run starts the peer's goroutines.
func (p *peer) run() {
	ctx := p.ctx
	for _, stream := range []func(context.Context) error{p.forward, p.feed} {
		p.wg.Go(func() {
			if p.awaitKin(ctx) {
				p.keep(ctx, stream)
			}
		})
	}
	p.calls = p.c.raft.Connect(p.identity, p.openSnapshot)
	p.wg.Go(func() { p.keep(ctx, p.raft) })
	p.wg.Go(func() { p.watch(ctx) })
}

// end stops them and waits. The peer must be out of Cluster.mu.peers, so that no
// stream of it is admitted any more.
func (p *peer) end() {
	p.stop()
	for i := range p.raw {
		if raw := p.raw[i].Load(); raw != nil {
			// Or gRPC takes five seconds to say goodbye to one who does not read.
			_ = (*raw).Close()
		}
	}
	_ = p.conn.Close()
	_ = p.bulk.Close()
	p.wg.Wait()
	p.calls.Close()
}

const (
	retryMin = 10 * time.Millisecond
	retryMax = 500 * time.Millisecond
	// retryWarn is how many failures in a row an operator should hear of.
	retryWarn = 10
)

// keep runs a stream again and again.
func (p *peer) keep(ctx context.Context, run func(context.Context) error) {
	pause, failures := time.Duration(0), 0
	for {
		began := time.Now()
		err := run(ctx)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, errWrongStart) {
			p.c.post(event{kind: eventGone, peer: p, reason: goneReplaced})
			<-ctx.Done()
			return
		}
		if foreign := (*foreignError)(nil); errors.As(err, &foreign) {
			<-ctx.Done() // the roster knows
			return
		}
		if apart(err) {
			p.apart.Do(func() {
				p.c.log.Warn("a member refuses the streams of this node: their releases have no version in common",
					"peer", p.member.name, "identity", p.identity, "addr", p.member.clusterAddr, "err", err)
			})
			<-ctx.Done()
			return
		}
		p.c.metrics.reconnects.Inc()
		if time.Since(began) > p.c.opts.HandshakeTimeout {
			pause, failures = 0, 0
		}
		if failures++; failures == retryWarn {
			p.c.log.Warn("no stream to member", "peer", p.member.name, "addr", p.member.clusterAddr, "err", err)
		} else {
			p.c.log.Debug("stream broke", "peer", p.member.name, "err", err)
		}
		select {
		case <-time.After(pause/2 + rand.N(pause/2+1)):
		case <-ctx.Done():
			return
		}
		pause = min(max(2*pause, retryMin), retryMax)
	}
}

// dial is how gRPC connects to the peer; raw is where the connection is kept.
func (p *peer) dial(ctx context.Context, addr string, raw *atomic.Pointer[net.Conn]) (net.Conn, error) {
	conn, err := p.c.opts.Dial(ctx, addr)
	if errors.Is(err, syscall.ECONNREFUSED) {
		signal(p.refused)
		p.c.raft.Severed(p.identity)
	}
	if err != nil {
		return nil, err
	}
	raw.Store(&conn)
	if err := p.ctx.Err(); err != nil {
		_ = conn.Close() // end may have come before the Store
		return nil, err
	}
	limitUnacknowledged(conn, pingTimeout)
	return &watchedConn{Conn: conn, peer: p}, nil
}

// open opens a stream with a Hello and waits for the Welcome, both within the
// handshake's time. cancel ends the stream.
func (p *peer) open(ctx context.Context, h *clusterpb.Hello,
	call func(context.Context) (grpc.ClientStream, error),
) (st grpc.ClientStream, w *clusterpb.Welcome, streamCtx context.Context, cancel context.CancelFunc, err error) {
	ctx, cancel = context.WithCancel(ctx)
	late := time.AfterFunc(p.c.opts.HandshakeTimeout, cancel)
	defer late.Stop()
	hctx, err := withHello(ctx, h)
	if err == nil {
		st, err = call(hctx)
	}
	if err == nil {
		w, err = p.welcome(st)
	}
	if err != nil {
		cancel()
		return nil, nil, nil, nil, err
	}
	return st, w, ctx, cancel, nil
}

// node is the peer for the Receiver.
func (p *peer) node() Node {
	p.c.mu.Lock()
	defer p.c.mu.Unlock()
	return p.nodeLocked()
}

func (p *peer) nodeLocked() Node {
	n := Node{
		ID:          p.id,
		Name:        p.member.name,
		Identity:    p.identity,
		ClusterAddr: p.member.clusterAddr,
		State:       "alive",
		Meta:        maps.Clone(p.member.addrs),
	}
	switch {
	case !p.copied || p.holds.Load() == 0 && p.feedUp:
		n.State = "joining"
	case !p.forwardUp || !p.feedUp:
		n.State = "suspect"
	}
	return n
}

// setStreams runs set, which changes what is known of the streams of a peer.
func (c *Cluster) setStreams(set func()) {
	c.mu.Lock()
	set()
	c.mu.Unlock()
	c.changed()
}

func (c *Cluster) setCopied(p *peer) { c.setStreams(func() { p.copied = true }) }

// Usurped is an error if another process runs under this node's identity.
func (c *Cluster) Usurped() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.usurper != 0 {
		return errors.New("another process runs under this node's identity")
	}
	return nil
}

// routed is the version of this node's routes that the peer holds, if any.
func (p *peer) routed() (version uint64, ok bool) {
	n := p.holds.Load()
	return n - 1, n > 0
}
