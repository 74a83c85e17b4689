package router

import (
	"slices"
	"sync/atomic"
)

// set is who wants the topics of one filter when that is more than one party.
// Readers take no lock; a writer changes it in place. The subscribers are a log
// (see roster), so that the hundred-thousandth costs what the first did.
type set struct {
	roster atomic.Pointer[roster]   // nil without subscribers
	nodes  atomic.Pointer[[]NodeID] // other nodes and shards: few, copied to be changed; nil without any
	groups atomic.Pointer[groupLog] // nil without any
}

// setOf returns a set with e's parties: e itself if it is a many's.
func setOf(e *entry) *set {
	s := &set{}
	if e == nil {
		return s
	}
	switch e.kind {
	case kindMany:
		return e.set()
	case kindSubscriber:
		s.add(Subscriber(e.party), e.asks)
	case kindNode:
		s.setNodes([]NodeID{NodeID(e.party)})
	}
	return s
}

// settled returns the leanest entry for what s holds: nil for nothing, one
// party by itself, else a many, e if that is one with s already.
func (s *set) settled(e *entry, text string, whole bool) *entry {
	r, nodes := s.roster.Load(), s.allNodes()
	subs := 0
	if r != nil {
		subs = r.live()
	}
	if s.groups.Load() == nil && subs+len(nodes) <= 1 {
		switch {
		case subs == 1:
			for who, a := range r.all {
				return newOne(kindSubscriber, uint64(who), a, text, whole)
			}
		case len(nodes) == 1:
			return newOne(kindNode, uint64(nodes[0]), 0, text, whole)
		}
		return nil
	}
	if e != nil && e.kind == kindMany {
		return e
	}
	return newMany(s, text, whole)
}

func (s *set) isOwn() bool {
	r := s.roster.Load()
	return r != nil && r.live() > 0
}

func (s *set) hasNode(n NodeID) bool {
	return slices.Contains(s.allNodes(), n)
}

// add adds or replaces a subscriber and says whether it was there.
func (s *set) add(who Subscriber, a asks) (existed bool) {
	r := s.roster.Load()
	if r != nil {
		if i, ok := r.find(who); ok {
			r.seats[i].asks.Store(uint32(a))
			return true
		}
	}
	if r == nil || r.full() {
		r = r.rebuilt()
		r.add(who, a) // before the readers see it: they miss nobody
		s.roster.Store(r)
		return false
	}
	r.add(who, a)
	return false
}

// remove takes a subscriber away and says whether it was there.
func (s *set) remove(who Subscriber) (existed bool) {
	r := s.roster.Load()
	if r == nil {
		return false
	}
	i, ok := r.find(who)
	if !ok {
		return false
	}
	r.remove(i)
	switch live := r.live(); {
	case live == 0:
		s.roster.Store(nil)
	case int(r.dead.Load()) > 2*live+8:
		s.roster.Store(r.rebuilt())
	}
	return true
}

func (s *set) addNode(n NodeID) {
	if !s.hasNode(n) {
		s.setNodes(append(slices.Clip(s.allNodes()), n))
	}
}

func (s *set) removeNode(n NodeID) {
	ns := s.allNodes()
	if i := slices.Index(ns, n); i >= 0 {
		s.setNodes(slices.Delete(slices.Clone(ns), i, i+1))
	}
}

// allNodes returns what readers may be looking at.
func (s *set) allNodes() []NodeID {
	if ns := s.nodes.Load(); ns != nil {
		return *ns
	}
	return nil
}

func (s *set) setNodes(ns []NodeID) {
	if len(ns) == 0 {
		s.nodes.Store(nil)
		return
	}
	s.nodes.Store(&ns)
}
