package router

import (
	"math/bits"
	"slices"
)

// seen remembers what is in an answer already. Marks are numbered by the call,
// so that none have to be wiped before the next.
type seen struct {
	call   uint32
	nodes  []uint32 // by NodeID: the last call that had it
	shards []uint32 // by ShardID

	// subscribers is an open hash table of places in Matches.Local, a power of
	// two; count are this call's.
	subscribers []seenSubscriber
	count       int
	ids         []foundID
}

type seenSubscriber struct{ call, at uint32 }

// foundID is a subscription identifier of the subscriber at Matches.Local[at].
type foundID struct{ at, id uint32 }

func (s *seen) reset() {
	if s.call++; s.call == 0 { // once in four thousand million calls
		clear(s.nodes)
		clear(s.shards)
		clear(s.subscribers)
		s.call = 1
	}
	s.count = 0
	s.ids = s.ids[:0]
}

func (s *seen) node(n NodeID) (isNew bool)    { return mark(&s.nodes, int(n), s.call) }
func (s *seen) shard(sh ShardID) (isNew bool) { return mark(&s.shards, int(sh), s.call) }

func mark(marks *[]uint32, i int, call uint32) (isNew bool) {
	for i >= len(*marks) {
		*marks = append(*marks, 0)
	}
	isNew = (*marks)[i] != call
	(*marks)[i] = call
	return isNew
}

// merge is for several sources, which may have the same subscribers. The work
// is linear in their number: the smaller sources go into a hash table, and the
// largest, perhaps of a hundred thousand beside one watcher of everything, is
// only looked up in that.
func (ms *Matches) merge(largest int, from Subscriber) {
	for i, e := range ms.hits {
		if i != largest {
			ms.mergeEntry(e, from, true)
		}
	}
	ms.mergeEntry(ms.hits[largest], from, false)
	ms.layOutIDs()
}

func (ms *Matches) mergeEntry(e *entry, from Subscriber, keep bool) {
	switch e.kind {
	case kindSubscriber:
		ms.mergeOne(Subscriber(e.party), e.asks, from, keep)
	case kindMany:
		if r := e.set().roster.Load(); r != nil {
			for who, a := range r.all {
				ms.mergeOne(who, a, from, keep)
			}
		}
	}
}

// mergeOne adds a subscription. With keep later ones of the same subscriber find
// it.
func (ms *Matches) mergeOne(who Subscriber, a asks, from Subscriber, keep bool) {
	if a.noLocal() && who == from {
		return
	}
	at, found := ms.seen.find(who, ms.Local)
	if !found {
		at = uint32(len(ms.Local))
		ms.Local = append(ms.Local, Match{Subscriber: who})
		if keep {
			ms.seen.keep(at, ms.Local)
		}
	}
	m := &ms.Local[at]
	m.QoS = max(m.QoS, a.qos())
	m.RetainAsPublished = m.RetainAsPublished || a.retain()
	if id := a.id(); id != 0 {
		ms.seen.ids = append(ms.seen.ids, foundID{at, id})
	}
}

func (s *seen) find(who Subscriber, local []Match) (at uint32, found bool) {
	if s.count == 0 {
		return 0, false
	}
	for p := s.start(who); s.subscribers[p].call == s.call; p = (p + 1) & (len(s.subscribers) - 1) {
		if at := s.subscribers[p].at; local[at].Subscriber == who {
			return at, true
		}
	}
	return 0, false
}

func (s *seen) keep(at uint32, local []Match) {
	if 2*s.count >= len(s.subscribers) {
		s.subscribers = make([]seenSubscriber, max(16, 2*len(s.subscribers)))
		for i := range at { // all before at are kept too
			s.insert(i, local)
		}
	}
	s.insert(at, local)
	s.count++
}

func (s *seen) insert(at uint32, local []Match) {
	p := s.start(local[at].Subscriber)
	for s.subscribers[p].call == s.call {
		p = (p + 1) & (len(s.subscribers) - 1)
	}
	s.subscribers[p] = seenSubscriber{s.call, at}
}

func (s *seen) start(who Subscriber) int {
	return int(uint64(who) * 0x9e3779b97f4a7c15 >> (64 - bits.Len(uint(len(s.subscribers)-1))))
}

// layOutIDs brings the identifiers of each subscriber together: it counts,
// gives each its span, and fills that.
func (ms *Matches) layOutIDs() {
	if len(ms.seen.ids) == 0 {
		return
	}
	for _, f := range ms.seen.ids {
		ms.Local[f.at].ids[1]++
	}
	var sum uint32
	for i := range ms.Local {
		ids := &ms.Local[i].ids
		count := ids[1]
		ids[0], ids[1] = sum, sum
		sum += count
	}
	ms.ids = slices.Grow(ms.ids[:0], int(sum))[:sum]
	for _, f := range ms.seen.ids {
		ids := &ms.Local[f.at].ids
		ms.ids[ids[1]] = f.id
		ids[1]++
	}
}
