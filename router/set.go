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
	others atomic.Pointer[parties]  // nil without any
	groups atomic.Pointer[groupLog] // nil without any
}

// parties are the shards of this node and the other nodes. They are few, and
// copied to be changed.
type parties struct {
	shards []shardCount
	nodes  []NodeID
}

type shardCount struct {
	shard ShardID
	count uint32 // the writer's; readers look at shard alone
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
	case kindShard:
		s.others.Store(&parties{shards: []shardCount{{ShardID(e.party), uint32(e.asks)}}})
	case kindNode:
		s.others.Store(&parties{nodes: []NodeID{NodeID(e.party)}})
	}
	return s
}

// settled returns the leanest entry for what s holds: nil for nothing, one
// party by itself, else a many, e if that is one with s already.
func (s *set) settled(e *entry, text string, whole bool) *entry {
	r, o := s.roster.Load(), s.others.Load()
	subs, shards, nodes := 0, 0, 0
	if r != nil {
		subs = r.live()
	}
	if o != nil {
		shards, nodes = len(o.shards), len(o.nodes)
	}
	if s.groups.Load() == nil && subs+shards+nodes <= 1 {
		switch {
		case subs == 1:
			for who, a := range r.all {
				return newOne(kindSubscriber, uint64(who), a, text, whole)
			}
		case shards == 1:
			return newOne(kindShard, uint64(o.shards[0].shard), asks(o.shards[0].count), text, whole)
		case nodes == 1:
			return newOne(kindNode, uint64(o.nodes[0]), 0, text, whole)
		}
		return nil
	}
	if e != nil && e.kind == kindMany {
		return e
	}
	return newMany(s, text, whole)
}

func (s *set) isOwn() bool {
	r, o := s.roster.Load(), s.others.Load()
	return r != nil && r.live() > 0 || o != nil && len(o.shards) > 0
}

func (s *set) hasNode(n NodeID) bool {
	o := s.others.Load()
	return o != nil && slices.Contains(o.nodes, n)
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

// addShard counts one more subscription of a shard.
func (s *set) addShard(sh ShardID) {
	o := s.copyOthers()
	if i := slices.IndexFunc(o.shards, func(c shardCount) bool { return c.shard == sh }); i >= 0 {
		s.others.Load().shards[i].count++
		return
	}
	o.shards = append(slices.Clip(o.shards), shardCount{sh, 1})
	s.setOthers(o)
}

// removeShard counts one less and says whether there was one.
func (s *set) removeShard(sh ShardID) (existed bool) {
	o := s.copyOthers()
	i := slices.IndexFunc(o.shards, func(c shardCount) bool { return c.shard == sh })
	if i < 0 {
		return false
	}
	if c := &s.others.Load().shards[i]; c.count > 1 {
		c.count--
		return true
	}
	o.shards = slices.Delete(slices.Clone(o.shards), i, i+1)
	s.setOthers(o)
	return true
}

func (s *set) addNode(n NodeID) {
	o := s.copyOthers()
	if !slices.Contains(o.nodes, n) {
		o.nodes = append(slices.Clip(o.nodes), n)
		s.setOthers(o)
	}
}

func (s *set) removeNode(n NodeID) {
	o := s.copyOthers()
	if i := slices.Index(o.nodes, n); i >= 0 {
		o.nodes = slices.Delete(slices.Clone(o.nodes), i, i+1)
		s.setOthers(o)
	}
}

// copyOthers returns a shallow copy: its slices are still the readers'.
func (s *set) copyOthers() parties {
	if o := s.others.Load(); o != nil {
		return *o
	}
	return parties{}
}

func (s *set) setOthers(o parties) {
	if len(o.shards)+len(o.nodes) == 0 {
		s.others.Store(nil)
		return
	}
	s.others.Store(&o)
}
