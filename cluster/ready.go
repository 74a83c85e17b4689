package cluster

import (
	"errors"
	"fmt"

	"dunlin/proto/clusterpb"
)

// A node takes clients once it is ready. Ready must not come before every route
// whose SUBACK has been sent anywhere is in this node's table, or a publish here
// would miss its subscriber (P4). A SUBACK waits for every member that the
// subscriber's node A knows, so what is left to show is this:
//
//	If A sends a SUBACK without knowing of C, and C is ready later, then C holds
//	that route.
//
// C is ready only when (1) it holds a full copy of the routes of every member it
// knows, and (2) whoever any of these last told C it knows, C knows as well. It
// is enough that C knows A: A feeds C only after it knows C, which is after the
// SUBACK, and the copy is of that time.
//
// Does C know A? A was ready when it sent the SUBACK. Take any M that is a member
// for both (without one there are two clusters that have not met; a partition
// that heals is such a case, and is what leases are for). M lists members for a
// joiner only in the stream that it opens to it, after it has made the joiner a
// member itself. If M made A a member before C, then M's list for C has A, and C
// waits for A by (2). If M made C a member first, then M's list for A had C, and
// A, to become ready, waited for C's full copy: then A knew C. And if A and C
// have no M in common at first but M1 and M2 that know each other, then by (2)
// both have met both M1 and M2 before they are ready.
//
// A SUBACK need not wait either for a member C that A has not begun to feed: that
// is as good as not knowing it, for all of this holds for the copy that C will get.
// So a joiner whose port nobody can reach, and which is never ready, holds nobody
// up. But a C that A declares dead by mistake and meets again may be ready: it
// counts from the start, and so does any that says that it is.
//
// A list may name a dead node that M has not missed yet. C waits until M's next
// list, or until gossip tells C of that node.
//
// Once ready a node stays so: whoever joins later waits for this node, not the
// other way round.

// members is what this node tells its peers.
func (c *Cluster) members() *clusterpb.Members {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := &clusterpb.Members{Ready: c.mu.ready}
	for _, p := range c.mu.peers {
		m.Members = append(m.Members, &clusterpb.Members_Member{Identity: p.identity, Start: p.start})
	}
	return m
}

// tellings numbers what members says.
func (c *Cluster) tellings() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.tellings
}

func (c *Cluster) setTold(p *peer, m *clusterpb.Members) {
	c.mu.Lock()
	p.told = m
	c.mu.Unlock()
	if m.Ready {
		c.count(p)
	}
	c.reckon()
}

func (c *Cluster) setCopied(p *peer) {
	c.mu.Lock()
	p.copied = true
	c.mu.Unlock()
	c.reckon()
}

// setStreams runs set, which changes forwardUp or feedUp of a peer.
func (c *Cluster) setStreams(set func()) {
	c.mu.Lock()
	set()
	c.mu.Unlock()
	c.reckon()
	c.changed()
}

// reckon sees whether this node has become ready, and tells its peers.
func (c *Cluster) reckon() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.ready || c.missingLocked() != nil {
		return
	}
	c.mu.ready = true
	c.log.Info("joined", "members", 1+len(c.mu.peers))
	c.changedLocked(*c.byID.Load())
}

// Ready says whether this node has joined and holds the routes of all members;
// the error names what is missing.
func (c *Cluster) Ready() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.usurper != 0 {
		return errors.New("another process runs under this node's identity")
	}
	if c.mu.ready {
		return nil
	}
	return c.missingLocked()
}

// missingLocked is what this node lacks to be ready.
func (c *Cluster) missingLocked() error {
	formed := false // a member is ready, so the cluster is
	for _, p := range c.mu.peers {
		formed = formed || p.told != nil && p.told.Ready
	}
	expect := c.opts.BootstrapExpect
	switch met := 1 + len(c.mu.peers); {
	case formed:
	case expect == 0:
		return errors.New("no member of a running cluster has been met")
	case met < expect:
		return fmt.Errorf("%d of %d members have met", met, expect)
	}
	for _, p := range c.mu.peers {
		name := p.member.name
		switch {
		case p.told == nil:
			return fmt.Errorf("no word from %s yet", name)
		case !p.copied:
			return fmt.Errorf("no full copy of the routes of %s yet", name)
		case !p.forwardUp:
			return fmt.Errorf("no stream to %s yet", name)
		case p.holds.Load() == 0:
			return fmt.Errorf("%s does not hold this node's routes yet", name)
		}
		for _, m := range p.told.Members {
			if m.Identity == c.opts.Identity {
				continue
			}
			if q := c.mu.peers[m.Identity]; q == nil || q.start < m.Start {
				return fmt.Errorf("%s knows a member %s that this node has not met", name, m.Identity)
			}
		}
	}
	return nil
}
