package router

import (
	"slices"
	"sync/atomic"
)

// Group is one share group of one filter, over all nodes. Its methods take no
// lock. It is the same Group for as long as it has a member anywhere.
//
// A group that a shard names among its routes is a queue there: the shard gets
// what is published, and gives it to the members. Match then tells the shard and
// not the group; who is in it beside, is for as long as it is no queue.
type Group struct {
	filter Filter
	turn   atomic.Uint64
	locals atomic.Pointer[bench]
	remote atomic.Pointer[[]share] // never nil
	queue  atomic.Uint32           // NodeID of the shard that has the group's queue; 0 for none

	seats map[Subscriber]int // where a member sits on the bench; the writer's
	at    int                // the group's place in its set's groupLog; the writer's
}

// bench is this node's members without gaps, for drawing by number: the last
// takes the place of one that leaves. Who draws beside that may draw one twice
// or find nobody and looks again.
type bench struct {
	used    atomic.Int64
	members []atomic.Pointer[member]
}

type member struct {
	who  Subscriber
	asks asks
}

// share is another node's part in the group: so many members, and their number
// with all the shares before.
type share struct {
	node  NodeID
	count uint32
	upTo  uint64
}

func newGroup(f Filter) *Group {
	g := &Group{filter: f, seats: map[Subscriber]int{}}
	g.locals.Store(&bench{})
	g.remote.Store(&[]share{})
	return g
}

// Filter is the group's filter, share prefix included.
func (g *Group) Filter() Filter { return g.filter }

// Turn draws the group's next turn. A message takes one turn in a group and
// gives it to each of its picks there.
func (g *Group) Turn() uint64 { return g.turn.Add(1) }

// Pick is the member whose turn it is, each member of the cluster as often as
// any other; nth > 0 are further ones, each another, for a message whose first
// choice had no room or is gone. node is 0 for a member here; any other node
// chooses among its own by PickLocal. ok is false when the group is empty or
// all were drawn. (A group that changes between the picks of a message may show
// it a member twice or not at all.)
func (g *Group) Pick(turn uint64, nth int) (m Match, id uint32, node NodeID, ok bool) {
	for {
		remote := *g.remote.Load()
		b := g.locals.Load()
		local := uint64(b.used.Load())
		total := local
		if len(remote) > 0 {
			total += remote[len(remote)-1].upTo
		}
		if uint64(nth) >= total {
			return Match{}, 0, 0, false
		}
		at := (turn%total + uint64(nth)) % total
		if at >= local {
			at -= local
			i, _ := slices.BinarySearchFunc(remote, at, func(s share, at uint64) int {
				if s.upTo <= at {
					return -1
				}
				return 1
			})
			return Match{}, 0, remote[i].node, true
		}
		if p := b.members[at].Load(); p != nil {
			return p.match(), p.asks.id(), 0, true
		}
	}
}

// PickLocal is Pick among this node's members.
func (g *Group) PickLocal(turn uint64, nth int) (m Match, id uint32, ok bool) {
	for {
		b := g.locals.Load()
		local := uint64(b.used.Load())
		if uint64(nth) >= local {
			return Match{}, 0, false
		}
		if p := b.members[(turn%local+uint64(nth))%local].Load(); p != nil {
			return p.match(), p.asks.id(), true
		}
	}
}

func (p *member) match() Match {
	return Match{Subscriber: p.who, QoS: p.asks.qos(), RetainAsPublished: p.asks.retain()}
}

// own is the number of this node's members.
func (g *Group) own() uint32 { return uint32(g.locals.Load().used.Load()) }

func (g *Group) isEmpty() bool {
	return g.own() == 0 && len(*g.remote.Load()) == 0 && g.queue.Load() == 0
}

// Queue is the shard that has the group's queue, if it is one.
func (g *Group) Queue() (sh ShardID, ok bool) {
	n := NodeID(g.queue.Load())
	if n == 0 {
		return 0, false
	}
	return n.shard()
}

// join adds or replaces a member and says whether it was there.
func (g *Group) join(who Subscriber, a asks) (existed bool) {
	b := g.locals.Load()
	m := &member{who, a}
	if i, ok := g.seats[who]; ok {
		b.members[i].Store(m)
		return true
	}
	n := int(b.used.Load())
	if n == len(b.members) {
		b = b.resized(n + n/2 + 1)
		g.locals.Store(b)
	}
	b.members[n].Store(m)
	b.used.Store(int64(n + 1))
	g.seats[who] = n
	return false
}

// leave takes a member away and says whether it was there.
func (g *Group) leave(who Subscriber) (existed bool) {
	i, ok := g.seats[who]
	if !ok {
		return false
	}
	delete(g.seats, who)
	b := g.locals.Load()
	n := int(b.used.Load()) - 1
	if last := b.members[n].Load(); i != n {
		b.members[i].Store(last)
		g.seats[last.who] = i
	}
	b.used.Store(int64(n))
	b.members[n].Store(nil)
	if len(b.members) > 4*n+8 {
		g.locals.Store(b.resized(2 * n))
	}
	return true
}

func (b *bench) resized(size int) *bench {
	c := &bench{members: make([]atomic.Pointer[member], size)}
	n := b.used.Load()
	for i := range n {
		c.members[i].Store(b.members[i].Load())
	}
	c.used.Store(n)
	return c
}

// setShare sets the number of another node's members, or says whether the group
// is a queue in a shard.
func (g *Group) setShare(n NodeID, count uint32) {
	if _, isShard := n.shard(); isShard {
		switch {
		case count > 0:
			g.queue.Store(uint32(n))
		case g.hasShare(n):
			g.queue.Store(0)
		}
		return
	}
	shares := slices.DeleteFunc(slices.Clone(*g.remote.Load()), func(s share) bool { return s.node == n })
	if count > 0 {
		shares = append(shares, share{node: n, count: count})
	}
	// In the same order whatever the order of news, so that one node's news does
	// not shift the turns of the others.
	slices.SortFunc(shares, func(a, b share) int { return int(a.node) - int(b.node) })
	var sum uint64
	for i := range shares {
		sum += uint64(shares[i].count)
		shares[i].upTo = sum
	}
	g.remote.Store(&shares)
}

// hasShare says whether node n has members, or the group's queue.
func (g *Group) hasShare(n NodeID) bool {
	return g.queue.Load() == uint32(n) || slices.ContainsFunc(*g.remote.Load(), func(s share) bool { return s.node == n })
}

// groupLog is the groups of one pattern, a log for the same reason as roster:
// one client can make any number of groups of one filter.
type groupLog struct {
	used  atomic.Uint32
	dead  int // the writer's
	slots []atomic.Pointer[Group]
}

func (l *groupLog) all(yield func(*Group) bool) {
	slots := l.slots[:l.used.Load()]
	for i := range slots {
		if g := slots[i].Load(); g != nil && !yield(g) {
			return
		}
	}
}

func (l *groupLog) live() int { return int(l.used.Load()) - l.dead }

func (l *groupLog) add(g *Group) {
	n := l.used.Load()
	g.at = int(n)
	l.slots[n].Store(g)
	l.used.Store(n + 1)
}

func (l *groupLog) rebuilt() *groupLog {
	if l == nil {
		return &groupLog{slots: make([]atomic.Pointer[Group], 2)}
	}
	c := &groupLog{slots: make([]atomic.Pointer[Group], l.live()+l.live()/2+2)}
	for g := range l.all {
		c.add(g)
	}
	return c
}

// addGroup and removeGroup change which groups have the set's filter.
func (s *set) addGroup(g *Group) {
	l := s.groups.Load()
	if l != nil && int(l.used.Load()) < len(l.slots) {
		l.add(g)
		return
	}
	l = l.rebuilt()
	l.add(g)
	s.groups.Store(l)
}

func (s *set) removeGroup(g *Group) {
	l := s.groups.Load()
	l.slots[g.at].Store(nil)
	l.dead++
	switch live := l.live(); {
	case live == 0:
		s.groups.Store(nil)
	case l.dead > 2*live+8:
		s.groups.Store(l.rebuilt())
	}
}
