package lease

import (
	"context"
	"errors"
	"fmt"
	"time"

	"dunlin/raftstore/meta"
)

// joinLocked goes on with being admitted, and says whether that is still to be.
func (l *Lease) joinLocked(ctx context.Context, s *meta.State) bool {
	n := s.Nodes[l.mu.me.Node]
	switch {
	case l.mu.released:
		l.mu.missing = errReleased
		return false
	case n.Start != l.mu.start:
		l.mu.missing = errJoining // the state is behind
		return true
	case l.mu.revoked:
		l.rejoinLocked(ctx, n)
		return true
	case n.Entitled(l.mu.me.Generation):
		l.mu.missing = nil
		return false
	}
	if l.mu.missing = l.lacksLocked(ctx, s); l.mu.missing != nil {
		return true
	}
	l.proposeLocked(ctx, &meta.Admit{Node: l.mu.me.Node, Generation: l.mu.me.Generation})
	return true
}

// rejoinLocked begins another generation, once this node was isolated in the one
// that was revoked and reaches everybody. One that is to leave, and holds nothing
// any more, gives its last lease up instead.
func (l *Lease) rejoinLocked(ctx context.Context, n meta.Node) {
	l.mu.missing = errRevoked
	if l.mu.replaced {
		l.mu.missing = errReplaced
		return
	}
	if l.mu.standing != Isolated || !n.Revoked || n.Generation != l.mu.me.Generation {
		return
	}
	if n.Leaving {
		if l.mu.missing = errRemoved; !n.Released {
			l.proposeLocked(ctx, &meta.Revoke{Node: l.mu.me.Node, Generation: n.Generation, Released: true})
		}
		return
	}
	for _, o := range l.mu.others {
		if !o.over && !o.lost.IsZero() {
			return
		}
	}
	l.proposeLocked(ctx, &meta.Rejoin{Node: l.mu.me.Node, Generation: l.mu.me.Generation})
}

// lacksLocked asks everybody whose lease may run to wait for this node, and says
// what is missing for it to be admitted. It counts them all by now (look).
func (l *Lease) lacksLocked(ctx context.Context, s *meta.State) (missing error) {
	lack := func(format string, args ...any) {
		if missing == nil {
			missing = fmt.Errorf(format, args...)
		}
	}
	me := l.mu.me
	for _, o := range l.sortedLocked() {
		if o.over {
			continue
		}
		name := s.Nodes[o.Node].Name
		a, ok := l.mu.answered[o.holder]
		if !ok {
			lack("%s does not wait for this node yet", name)
			l.askLocked(ctx, AskCount, o.identity, o.holder, &count{me}, func(b []byte) error {
				var a counted
				if err := decode(b, &a); err != nil {
					return err
				}
				if a.Generation == o.Generation && me == l.mu.me {
					l.mu.answered[o.holder] = a
				}
				return nil
			})
			continue
		}
		if !l.opts.Peers.Holds(o.identity, a.Process, a.Version) {
			lack("the routes of %s are not all here yet", name)
		}
	}
	if missing == nil && l.mu.caughtUp != me.Generation {
		l.catchUpLocked(ctx)
		lack("the routes of the shards are not all here yet")
	}
	return missing
}

// patience bounds one CatchUp, for what it waits for may change.
const patience = 15 * time.Second

func (l *Lease) catchUpLocked(ctx context.Context) {
	if l.mu.catching {
		return
	}
	l.mu.catching = true
	generation := l.mu.me.Generation
	l.running.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		err := l.opts.CatchUp(ctx)
		if err != nil {
			l.opts.Logger.Info("routes of shards are missing", "err", err)
			select {
			case <-time.After(retry):
			case <-ctx.Done():
			}
		}
		l.mu.Lock()
		l.mu.catching = false
		if err == nil {
			l.mu.caughtUp = generation
		}
		l.mu.Unlock()
		l.Wake()
	})
}

var (
	errNotEntered = errors.New("lease: not entered yet")
	errNotFed     = errors.New("lease: that node is not reached from here")
)

// answerCount is a raftnet.Handler: from now on this node waits for the asker, and
// what it acknowledged without is below the version that it tells.
func (l *Lease) answerCount(from string, _ uint16, body []byte, reply func([]byte, error)) {
	var m count
	if err := decode(body, &m); err != nil {
		reply(nil, err)
		return
	}
	l.mu.Lock()
	generation, entered := l.mu.me.Generation, l.mu.start != 0
	// A node that nobody can feed would hold up every SUBACK here.
	reach, _ := l.opts.Peers.Reach(from)
	fed := reach == Up
	if entered && fed {
		l.countLocked(from, m.holder)
	}
	l.mu.Unlock()
	switch {
	case !entered:
		reply(nil, errNotEntered)
		return
	case !fed:
		reply(nil, errNotFed)
		return
	}
	// Always, since another such ask may have counted it and not told yet.
	l.onChange()
	a := counted{Generation: generation}
	a.Process, a.Version = l.opts.Peers.Version()
	reply(encode(&a), nil)
	l.Wake()
}
