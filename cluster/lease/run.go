package lease

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"dunlin/raftstore/meta"
)

const (
	// retry is when something is asked again that is wanted soon.
	retry = 100 * time.Millisecond
	// proposal bounds how long meta is tried before it is looked at again.
	proposal = 3 * time.Second
)

// What a node lacks.
var (
	errJoining  = errors.New("this node has not entered the cluster yet")
	errLapsed   = errors.New("the lease was not renewed: a majority of the voters is out of reach")
	errRevoked  = errors.New("this node's admission was revoked: it joins again once it reaches all others")
	errReplaced = errors.New("another process runs under this node's identity, or it was removed from the cluster")
	errRemoved  = errors.New("this node is being removed from the cluster")
	errReleased = errors.New("this node is stopping")
)

// run looks whenever something may be due.
func (l *Lease) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-l.wake:
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		timer.Reset(l.look(ctx))
	}
}

// findings is what a look wants told, without the lock.
type findings struct {
	changed bool // who counts
	over    []*other
	closed  bool // there are more whose clients are
}

// look does what is due and says in how long to look again.
func (l *Lease) look(ctx context.Context) time.Duration {
	now := time.Now()
	var f findings
	l.mu.Lock()
	s := l.opts.Meta.State()
	if now.Sub(l.mu.looked) >= l.still() {
		l.stoodStillLocked(now)
	}
	l.mu.looked = now
	maps.DeleteFunc(l.mu.granted, func(_ holder, at time.Time) bool {
		return now.Sub(at) > 2*(l.opts.Term+l.opts.Margin) // to whoever asks it is long over
	})
	if s != nil {
		l.selfLocked(s)
		l.othersLocked(ctx, now, s, &f)
		f.changed = l.dropLocked(s)
		if n := s.Nodes[l.mu.me.Node]; n.Generation == l.mu.me.Generation && !n.Admitted {
			// It is to be admitted, and will have to wait for all of them. None whose
			// routes it holds is dropped before.
			for _, o := range l.mu.others {
				f.changed = !o.over && l.countLocked(o.identity, o.holder) || f.changed
			}
			f.changed = !l.entered.Swap(true) || f.changed
		}
	}
	standing, told := l.standLocked(now)
	l.mu.Unlock()

	for _, o := range f.over {
		l.opts.Logger.Info("no lease of the node is left", "node", o.Node, "identity", o.identity, "start", o.start)
		l.onOver(o.ended())
	}
	if f.closed {
		l.onClosed()
	}
	if f.changed {
		l.onChange()
	}
	if standing != told {
		l.opts.Logger.Info("lease", "standing", standing.String())
		l.opts.Standing(standing) // what follows may let this node be admitted anew
	}

	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.standing = standing
	if s == nil || l.mu.replaced {
		return l.opts.Renew
	}
	now = time.Now()
	again := l.opts.Renew
	if joining := l.joinLocked(ctx, s); joining {
		again = retry
	}
	l.leadLocked(ctx, now, s)
	again = min(again, l.renewLocked(ctx, now))
	return max(min(again, l.dueLocked(now)), time.Millisecond)
}

// still is after how long without a sign of life a node may be standing still: what
// it found of others before may not be so any more, and what others did meanwhile it
// does not know.
func (l *Lease) still() time.Duration { return 2 * l.opts.Renew }

// stoodStillLocked is called after this process did: it has heard nobody meanwhile.
func (l *Lease) stoodStillLocked(now time.Time) {
	l.mu.stood, l.mu.heeds, l.mu.suspect = now, time.Time{}, holder{}
	for _, o := range l.mu.others {
		if !o.lost.IsZero() {
			o.lost = now
		}
	}
}

// selfLocked learns what meta says of this node.
func (l *Lease) selfLocked(s *meta.State) {
	me := &l.mu.me
	n, ok := s.Nodes[me.Node]
	switch {
	case !ok && me.Node > s.Numbered, ok && n.Start < l.mu.start:
		return // the state is behind
	case !ok, n.Start > l.mu.start:
		l.mu.replaced = true
		l.revokedLocked()
	case n.Generation > me.Generation:
		// Rejoin, which this node proposed once it was isolated.
		me.Generation = n.Generation
		l.generation.Store(n.Generation)
		l.mu.revoked = n.Revoked
		clear(l.mu.answered)
		l.opts.Logger.Info("joining again", "generation", me.Generation)
	case n.Generation == me.Generation && n.Revoked:
		l.revokedLocked()
	}
}

// revokedLocked ends what this node holds in its generation.
func (l *Lease) revokedLocked() {
	l.mu.revoked = true
	l.until.Store(0)
}

// standLocked is this node's standing, and what was told of it last.
func (l *Lease) standLocked(now time.Time) (standing, told Standing) {
	told = l.mu.standing
	switch since := now.Sub(l.Until()); {
	case l.Held():
		return Leased, told
	case l.mu.revoked, l.mu.released, told == Isolated:
		return Isolated, told
	case told == Joining:
		return Joining, told
	case since >= l.opts.Isolation:
		return Isolated, told
	default:
		return Lapsed, told
	}
}

// dueLocked is in how long something happens by the clock alone.
func (l *Lease) dueLocked(now time.Time) time.Duration {
	due := l.opts.Renew
	by := func(at time.Time) {
		if d := at.Sub(now); d > 0 {
			due = min(due, d)
		}
	}
	by(l.Until())
	by(l.Until().Add(l.opts.Isolation))
	for _, o := range l.mu.others {
		if !o.over && !o.ending.over.IsZero() {
			by(o.ending.over)
		}
		if o.over && o.closed < o.Generation {
			by(o.closing)
		}
		if !o.lost.IsZero() {
			by(o.lost.Add(l.opts.Broken))
		}
	}
	return due
}

// othersLocked follows the other nodes: whom this one reaches, whose generations
// end, and whose clients are closed.
func (l *Lease) othersLocked(ctx context.Context, now time.Time, s *meta.State, f *findings) {
	for number, n := range s.Nodes {
		if number == l.mu.me.Node {
			continue
		}
		o := l.mu.others[number]
		if o == nil || o.Generation < n.Generation {
			was := o
			o = &other{holder: holder{number, n.Generation}, identity: n.Identity, start: n.Start, seen: now}
			l.mu.others[number] = o
			if was != nil {
				o.closed = was.closed
			}
			if was != nil && was.start < n.Start {
				if !was.over {
					f.over = append(f.over, was)
				}
				o.closed, f.closed = n.Generation-1, true // with the process
			}
		}
		l.reachLocked(now, o)
	}
	for _, o := range l.sortedLocked() {
		fate := fateOf(s, o.holder)
		switch fate {
		case running:
			l.endLocked(ctx, o)
			if !o.ending.passed(now) {
				continue
			}
		case lasts:
			continue
		}
		if !o.over {
			o.over = true
			o.closing = now.Add(l.opts.Isolation + l.opts.Closing)
			f.over = append(f.over, o)
		}
		// A node that is silent may have clients that reach it until it isolates itself.
		if o.closed < o.Generation && (fate == over || o.gone || !now.Before(o.closing)) {
			o.closed, f.closed = o.Generation, true
		}
	}
}

// reachLocked notes how a node can be reached.
func (l *Lease) reachLocked(now time.Time, o *other) {
	reach, since := l.opts.Peers.Reach(o.identity)
	o.gone = reach == Gone
	switch {
	case reach == Up:
		o.lost = time.Time{}
	case o.lost.IsZero():
		o.lost = now.Add(-min(since, now.Sub(l.mu.stood)))
	}
}

// endLocked asks the voters whether a node's generation is over for them.
func (l *Lease) endLocked(ctx context.Context, o *other) {
	voters := l.opts.Replica.Voters()
	e := &o.ending
	if !e.over.IsZero() {
		return
	}
	if !slices.Equal(e.voters, voters) {
		e.quorum, e.last = newQuorum(voters), time.Time{}
	}
	for _, v := range voters {
		if e.yes[v] {
			continue
		}
		l.askLocked(ctx, AskEnded, v, o.holder, &ended{holder: o.holder, Voters: voters}, func(b []byte) error {
			var a endedAnswer
			if err := decode(b, &a); err != nil || !a.Ended {
				return err
			}
			if slices.Equal(e.voters, voters) {
				e.confirm(v, time.Now().Add(-a.Since), l.opts.Term+l.opts.Margin)
			}
			return nil
		})
	}
}

// askLocked asks a node something about a generation, unless that is under way.
// done is called with mu held.
func (l *Lease) askLocked(ctx context.Context, kind uint8, of string, h holder, m any, done func([]byte) error) {
	key := ask{kind: kind, of: of, holder: h}
	if l.mu.asking[key] {
		return
	}
	l.mu.asking[key] = true
	body := encode(m)
	l.running.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, l.opts.Term)
		defer cancel()
		b, err := l.opts.Net.Ask(ctx, of, l.opts.Group, kind, body)
		l.mu.Lock()
		defer l.mu.Unlock()
		if err == nil {
			err = done(b)
		}
		if err != nil {
			l.opts.Logger.Debug("ask", "of", of, "kind", kind, "err", err)
		} else {
			l.Wake()
		}
		// Not at once again if the answer was no.
		time.AfterFunc(retry, func() {
			l.mu.Lock()
			delete(l.mu.asking, key)
			l.mu.Unlock()
			l.Wake()
		})
	})
}

// proposeLocked has meta commit c, unless something is being proposed, or c was
// answered just now and this node's state may not show it yet.
func (l *Lease) proposeLocked(ctx context.Context, c meta.Command) (begun bool) {
	entry := string(meta.Encode(c))
	if l.mu.proposing || l.mu.answer.entry == entry && time.Since(l.mu.answer.at) < proposal {
		return false
	}
	l.mu.proposing = true
	l.running.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, proposal)
		defer cancel()
		_, err := l.opts.Meta.Propose(ctx, c)
		if err == nil || refused(err) {
			l.mu.Lock()
			l.mu.answer.entry, l.mu.answer.at = entry, time.Now()
			l.mu.Unlock()
		} else {
			select {
			case <-time.After(retry):
			case <-ctx.Done():
			}
		}
		if err != nil {
			l.opts.Logger.Debug("proposal to meta", "command", entry[1:], "err", err)
		}
		l.mu.Lock()
		l.mu.proposing = false
		l.mu.Unlock()
		l.Wake()
	})
	return true
}

// refused says that meta's answer was no, which it stays.
func refused(err error) bool {
	return errors.Is(err, meta.ErrOver) || errors.Is(err, meta.ErrNotYet) || errors.Is(err, meta.ErrNoNode)
}
