package lease

import (
	"context"
	"slices"
	"time"

	"dunlin/raftstore/meta"
)

// renewLocked asks the voters for a lease when it is time, or when there is news of
// whom this node cannot reach. It says in how long to look again.
func (l *Lease) renewLocked(ctx context.Context, now time.Time) time.Duration {
	news := l.reportLocked(now)
	if wait := l.mu.renewed.Add(l.opts.Renew).Sub(now); wait > 0 && equal(news, l.mu.told) {
		return wait
	}
	l.mu.renewed, l.mu.told = now, news
	voters := l.opts.Replica.Voters()
	r := &round{quorum: newQuorum(voters), sent: now}
	me := l.mu.me
	body := encode(&renew{holder: me, Voters: voters, report: news})
	for _, v := range voters {
		l.running.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, l.opts.Term)
			defer cancel()
			b, err := l.opts.Net.Ask(ctx, v, l.opts.Group, AskRenew, body)
			var a renewed
			if err == nil {
				err = decode(b, &a)
			}
			if err != nil {
				l.opts.Logger.Debug("lease not renewed", "voter", v, "err", err)
				return
			}
			l.mu.Lock()
			defer l.mu.Unlock()
			l.takeLocked(r, me, v, a)
		})
	}
	return l.opts.Renew
}

// takeLocked takes a voter's answer.
func (l *Lease) takeLocked(r *round, me holder, voter string, a renewed) {
	switch {
	case me != l.mu.me, l.mu.revoked, l.mu.released:
		return
	case a.Ended:
		l.revokedLocked()
		l.Wake()
		return
	case !a.Granted:
		return
	}
	r.add(voter)
	until := r.until(l.opts.Term)
	if until.IsZero() {
		return
	}
	held := l.Held()
	l.until.Store(max(l.until.Load(), int64(until.Sub(l.began))))
	if !held {
		l.Wake()
	}
}

// reportLocked is whom this node cannot reach.
func (l *Lease) reportLocked(now time.Time) (r report) {
	for _, o := range l.sortedLocked() {
		if o.over {
			continue
		}
		if !o.lost.IsZero() && now.Sub(o.lost) >= l.opts.Broken {
			r.Down = append(r.Down, o.holder)
		}
		if o.gone {
			r.Gone = append(r.Gone, o.holder)
		}
	}
	return r
}

func equal(a, b report) bool { return slices.Equal(a.Down, b.Down) && slices.Equal(a.Gone, b.Gone) }

// voterLocked is this node as a voter, see voter for the order.
func (l *Lease) voterLocked() voter {
	v := voter{self: l.opts.Identity, voters: l.opts.Replica.Voters()}
	v.whole = l.opts.Replica.Whole()
	v.state = l.opts.Meta.State()
	// When it is whole, no configuration is in the log that this does not know.
	if c := l.opts.Replica.Configured(); c != l.mu.configured {
		l.mu.configured, l.mu.since = c, time.Now()
	}
	return v
}

// answerRenew is a raftnet.Handler.
func (l *Lease) answerRenew(from string, _ uint16, body []byte, reply func([]byte, error)) {
	var m renew
	if err := decode(body, &m); err != nil {
		reply(nil, err)
		return
	}
	l.mu.Lock()
	v := l.voterLocked()
	if v.state != nil && v.state.Nodes[m.Node].Identity == from {
		news := !equal(l.mu.heard[m.Node].report, m.report)
		l.mu.heard[m.Node] = heard{holder: m.holder, at: time.Now(), report: m.report}
		if news {
			l.Wake()
		}
	}
	a := v.grants(from, &m)
	if a.Granted {
		l.mu.granted[m.holder] = time.Now()
	}
	l.mu.Unlock()
	reply(encode(&a), nil)
}

// answerEnded is a raftnet.Handler.
func (l *Lease) answerEnded(_ string, _ uint16, body []byte, reply func([]byte, error)) {
	var m ended
	if err := decode(body, &m); err != nil {
		reply(nil, err)
		return
	}
	l.mu.Lock()
	v := l.voterLocked()
	a := endedAnswer{Ended: v.ends(&m)}
	if a.Ended {
		a.Since = time.Since(granted(l.mu.granted[m.holder], l.began, l.mu.since))
	}
	l.mu.Unlock()
	reply(encode(&a), nil)
}

// leadLocked revokes whom it must, on the node that leads meta. All voters look who
// that would be, so that the next leader need not begin to when the one before fell
// silent.
func (l *Lease) leadLocked(ctx context.Context, now time.Time, s *meta.State) {
	if !slices.Contains(l.opts.Replica.Voters(), l.opts.Identity) {
		l.mu.heeds, l.mu.suspect = time.Time{}, holder{}
		return
	}
	if l.mu.heeds.IsZero() {
		l.mu.heeds = now
	}
	h, dead, ok := decide(l.viewLocked(now, s))
	if l.mu.suspect != h {
		l.mu.suspect, l.mu.suspected = h, now
	}
	if !l.opts.Replica.Leading() {
		return
	}
	// After a pause, this node's or that one's, the latest report may be an old one.
	if ok && !dead && now.Sub(l.mu.suspected) < l.opts.Confirm {
		return
	}
	if ok && l.proposeLocked(ctx, &meta.Revoke{Node: h.Node, Generation: h.Generation}) {
		l.opts.Logger.Warn("revoking a node that others cannot reach", "node", h.Node, "identity", s.Nodes[h.Node].Identity)
	}
}

// viewLocked is what this node, which votes, knows of who reaches whom.
func (l *Lease) viewLocked(now time.Time, s *meta.State) view {
	voters := l.opts.Replica.Voters()
	v := view{
		self: l.mu.me.Node, voters: len(voters),
		broken: make(map[[2]uint32]bool), gone: make(map[uint32]int),
	}
	tell := func(from uint32, r report) {
		for _, h := range r.Down {
			if s.Nodes[h.Node].Generation == h.Generation {
				v.broken[pair(from, h.Node)] = true
			}
		}
		for _, h := range r.Gone {
			if s.Nodes[h.Node].Generation == h.Generation {
				v.gone[h.Node]++
			}
		}
	}
	for number, n := range s.Nodes {
		if n.Revoked {
			continue
		}
		v.nodes = append(v.nodes, member{
			holder: holder{number, n.Generation}, admitted: n.Admitted, voter: slices.Contains(voters, n.Identity),
		})
		if number == v.self {
			tell(number, l.reportLocked(now))
			continue
		}
		since := l.mu.heeds // a new voter gives everybody time to be heard
		if o := l.mu.others[number]; o != nil && o.seen.After(since) {
			since = o.seen
		}
		h := l.mu.heard[number]
		if h.Generation == n.Generation && h.at.After(since) {
			since = h.at
		}
		switch {
		case now.Sub(since) >= l.opts.Broken:
			v.broken[pair(v.self, number)] = true
		case h.Generation == n.Generation && now.Sub(h.at) < l.still():
			tell(number, h.report)
		}
	}
	return v
}
