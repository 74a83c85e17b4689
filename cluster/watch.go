package cluster

import (
	"context"
	"errors"
	"syscall"
	"time"
)

// Gossip takes a second or two to declare a silent node dead. A process that was
// killed is not silent: its kernel resets its connections and refuses new ones.
// A broken stream alone says nothing, so what counts is that nobody listens at
// either of the two ports any more, several times in a row: a living process does
// not close a listening socket.
const (
	watchTries    = 3
	watchInterval = 25 * time.Millisecond
	watchTimeout  = 250 * time.Millisecond
)

// watch has the peer declared gone when its ports are closed. It looks when gRPC
// was refused a connection.
func (p *peer) watch(ctx context.Context) {
	for {
		select {
		case <-p.refused:
		case <-ctx.Done():
			return
		}
		closed := true
		for try := 0; closed && try < watchTries; try++ {
			if try > 0 {
				select {
				case <-time.After(watchInterval):
				case <-ctx.Done():
					return
				}
			}
			closed = p.refuses(ctx, p.member.clusterAddr) && p.refuses(ctx, p.member.gossipAddr)
		}
		if closed {
			p.c.post(event{kind: eventGone, peer: p, reason: goneRefused})
		}
	}
}

// refuses says that nobody listens at addr, on a host that says so.
func (p *peer) refuses(ctx context.Context, addr string) bool {
	ctx, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	conn, err := p.c.opts.Dial(ctx, addr)
	if err == nil {
		_ = conn.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}
