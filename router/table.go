package router

import (
	"slices"
	"sync"
	"sync/atomic"
)

// Subscriber is an opaque handle of a subscriber on this node. Zero is nobody.
type Subscriber uint64

// NodeID is a peer's index in this process: small, dense, never reused for
// another peer while its routes stand. Zero is this node.
type NodeID uint16

// MaxNodes bounds NodeID.
const MaxNodes = 4096

// ShardID numbers a shard, from 0.
type ShardID uint16

// Options are what a subscription asks for.
type Options struct {
	QoS               uint8
	NoLocal           bool
	RetainAsPublished bool
	ID                uint32 // subscription identifier, 0 for none
}

// Match is one subscriber with what its matching subscriptions together ask
// for: the highest QoS, and retain as published if any of them has it.
type Match struct {
	Subscriber        Subscriber
	QoS               uint8
	RetainAsPublished bool
	ids               [2]uint32 // span in Matches.ids
}

// Matches is the answer for one topic, reused from call to call.
type Matches struct {
	Local  []Match   // each subscriber of this node once
	Nodes  []NodeID  // each node with ordinary subscribers once, this one never
	Shards []ShardID // each shard with ordinary subscribers once
	Groups []*Group  // each share group (group, filter) that has a member on any node
	ids    []uint32
}

// IDs returns the subscription identifiers of m, borrowed from ms.
func (ms *Matches) IDs(m Match) []uint32 { return ms.ids[m.ids[0]:m.ids[1]] }

// Table is a node's route table. Match takes no lock and may run beside any
// writer; writers exclude one another.
type Table struct {
	mu     sync.RWMutex
	routes map[Filter]*route
	remote map[uint64]map[NodeID]bool
	own    map[uint64]int // exact filters of this node by fingerprint
	copies map[NodeID]map[Change]bool
	log    []Change
	notify func()
}

type route struct {
	f      Filter
	subs   map[Subscriber]Options
	shards map[ShardID]int
	nodes  map[NodeID]bool
	group  *Group
}

// Group is one share group of one filter, over all nodes. Its methods take no
// lock.
type Group struct {
	f       Filter
	turn    atomic.Uint64
	members atomic.Pointer[[]groupMember]
}

type groupMember struct {
	s    Subscriber
	o    Options
	node NodeID
}

// NewTable returns an empty table.
func NewTable() *Table {
	return &Table{routes: map[Filter]*route{}, remote: map[uint64]map[NodeID]bool{}, own: map[uint64]int{}, copies: map[NodeID]map[Change]bool{}}
}

// Match finds who wants t. Subscriptions with NoLocal of the subscriber from
// are left out. It allocates nothing once ms has grown.
func (tb *Table) Match(t Topic, from Subscriber, ms *Matches) {
	tb.mu.RLock()
	defer tb.mu.RUnlock()
	ms.Local, ms.Nodes, ms.Shards, ms.Groups, ms.ids = ms.Local[:0], ms.Nodes[:0], ms.Shards[:0], ms.Groups[:0], ms.ids[:0]
	type found struct {
		m   Match
		ids []uint32
	}
	var at = map[Subscriber]*found{}
	var order []*found
	for n := range tb.remote[t.Hash()] {
		ms.Nodes = append(ms.Nodes, n)
	}
	for _, r := range tb.routes {
		if !r.f.Matches(t) {
			continue
		}
		if r.group != nil {
			ms.Groups = append(ms.Groups, r.group)
			continue
		}
		for s, o := range r.subs {
			if o.NoLocal && s == from {
				continue
			}
			fd := at[s]
			if fd == nil {
				fd = &found{m: Match{Subscriber: s}}
				at[s], order = fd, append(order, fd)
			}
			fd.m.QoS = max(fd.m.QoS, o.QoS)
			fd.m.RetainAsPublished = fd.m.RetainAsPublished || o.RetainAsPublished
			if o.ID != 0 {
				fd.ids = append(fd.ids, o.ID)
			}
		}
		for sh := range r.shards {
			if !slices.Contains(ms.Shards, sh) {
				ms.Shards = append(ms.Shards, sh)
			}
		}
		for n := range r.nodes {
			if !slices.Contains(ms.Nodes, n) {
				ms.Nodes = append(ms.Nodes, n)
			}
		}
	}
	for _, fd := range order {
		fd.m.ids[0] = uint32(len(ms.ids))
		ms.ids = append(ms.ids, fd.ids...)
		fd.m.ids[1] = uint32(len(ms.ids))
		ms.Local = append(ms.Local, fd.m)
	}
}

// Subscribe adds or replaces s's subscription to f and says whether it existed.
// The returned version is the table's own version that has the change.
func (tb *Table) Subscribe(f Filter, s Subscriber, o Options) (existed bool, version uint64) {
	return tb.write(f, func(r *route) (existed bool) {
		_, existed = r.subs[s]
		r.subs[s] = o
		return existed
	})
}

// Unsubscribe removes it again and says whether it existed.
func (tb *Table) Unsubscribe(f Filter, s Subscriber) (existed bool, version uint64) {
	return tb.write(f, func(r *route) (existed bool) {
		_, existed = r.subs[s]
		delete(r.subs, s)
		return existed
	})
}

// SubscribeShard counts one more subscription to f in shard sh of this node's
// table; the first makes the route. The shard of a share group's queue gets
// every message of the group, so that only f's pattern counts here.
func (tb *Table) SubscribeShard(f Filter, sh ShardID) (version uint64) {
	_, version = tb.write(f.unshared(), func(r *route) bool { r.shards[sh]++; return true })
	return version
}

// UnsubscribeShard takes away what SubscribeShard counted.
func (tb *Table) UnsubscribeShard(f Filter, sh ShardID) (version uint64) {
	_, version = tb.write(f.unshared(), func(r *route) bool {
		if r.shards[sh]--; r.shards[sh] <= 0 {
			delete(r.shards, sh)
		}
		return true
	})
	return version
}

func (tb *Table) route(f Filter) *route {
	r := tb.routes[f]
	if r == nil {
		r = &route{f: f, subs: map[Subscriber]Options{}, shards: map[ShardID]int{}, nodes: map[NodeID]bool{}}
		if f.Group() != "" {
			r.group = &Group{f: f}
			r.group.members.Store(&[]groupMember{})
		}
		tb.routes[f] = r
	}
	return r
}

func (tb *Table) tidy(r *route) {
	if r.group != nil {
		var members []groupMember
		for s, o := range r.subs {
			members = append(members, groupMember{s: s, o: o})
		}
		for _, m := range *r.group.members.Load() {
			if m.node != 0 {
				members = append(members, m)
			}
		}
		r.group.members.Store(&members)
		if len(members) > 0 {
			return
		}
	}
	if len(r.subs)+len(r.shards)+len(r.nodes) == 0 {
		delete(tb.routes, r.f)
	}
}

func (tb *Table) write(f Filter, do func(*route) bool) (existed bool, version uint64) {
	tb.mu.Lock()
	before := len(tb.log)
	r := tb.route(f)
	n := len(r.subs) + len(r.shards)
	existed = do(r)
	now := len(r.subs) + len(r.shards)
	h := fingerprint(f.text)
	switch {
	case r.group != nil:
		if n != now {
			tb.log = append(tb.log, Change{Op: SetGroup, Filter: f.text, Members: uint32(now)})
		}
	case n == 0 && now > 0 && f.wild:
		tb.log = append(tb.log, Change{Op: AddWildcard, Filter: f.text})
	case n > 0 && now == 0 && f.wild:
		tb.log = append(tb.log, Change{Op: RemoveWildcard, Filter: f.text})
	case n == 0 && now > 0:
		if tb.own[h]++; tb.own[h] == 1 {
			tb.log = append(tb.log, Change{Op: AddExact, Fingerprint: h})
		}
	case n > 0 && now == 0:
		if tb.own[h]--; tb.own[h] == 0 {
			delete(tb.own, h)
			tb.log = append(tb.log, Change{Op: RemoveExact, Fingerprint: h})
		}
	}
	tb.tidy(r)
	version = uint64(len(tb.log))
	notify := tb.notify
	tb.mu.Unlock()
	if notify != nil && version != uint64(before) {
		notify()
	}
	return existed, version
}

// Filter is the group's filter, share prefix included.
func (g *Group) Filter() Filter { return g.f }

// Turn draws the group's next turn; a message takes one and gives it to each of
// its Picks.
func (g *Group) Turn() uint64 { return g.turn.Add(1) }

// Pick is the member whose turn it is, each member of the cluster as often as
// any other; nth > 0 are further ones, each another, for a message whose first
// choice had no room or is gone. node is 0 for a member here, otherwise that
// node chooses by PickLocal. ok is false when the group is empty or all were
// drawn.
func (g *Group) Pick(turn uint64, nth int) (m Match, id uint32, node NodeID, ok bool) {
	return pick(*g.members.Load(), turn, nth)
}

func pick(members []groupMember, turn uint64, nth int) (m Match, id uint32, node NodeID, ok bool) {
	if nth >= len(members) {
		return Match{}, 0, 0, false
	}
	p := members[(turn+uint64(nth))%uint64(len(members))]
	return Match{Subscriber: p.s, QoS: p.o.QoS, RetainAsPublished: p.o.RetainAsPublished}, p.o.ID, p.node, true
}

// PickLocal is Pick among this node's members.
func (g *Group) PickLocal(turn uint64, nth int) (m Match, id uint32, ok bool) {
	var local []groupMember
	for _, p := range *g.members.Load() {
		if p.node == 0 {
			local = append(local, p)
		}
	}
	m, id, _, ok = pick(local, turn, nth)
	return m, id, ok
}

// Group finds a share group by its filter, nil if nobody is in it.
func (tb *Table) Group(f Filter) *Group {
	tb.mu.RLock()
	defer tb.mu.RUnlock()
	if r := tb.routes[f]; r != nil {
		return r.group
	}
	return nil
}

// Version numbers this node's own changes; it rises by one with each.
func (tb *Table) Version() uint64 {
	tb.mu.RLock()
	defer tb.mu.RUnlock()
	return uint64(len(tb.log))
}

// Changes appends to dst the own changes after version since, oldest first, at
// most max, and the version reached. ok is false when the log no longer
// reaches back to since and a full copy is needed.
func (tb *Table) Changes(since uint64, max int, dst []Change) (out []Change, version uint64, ok bool) {
	tb.mu.RLock()
	defer tb.mu.RUnlock()
	if since > uint64(len(tb.log)) {
		return dst, since, false
	}
	end := min(len(tb.log), int(since)+max)
	return append(dst, tb.log[since:end]...), uint64(end), true
}

// Snapshot calls yield with chunks of changes that rebuild all own routes as of
// the version it returns. What changed after that may be in the chunks already;
// applied again from Changes it does no harm. A chunk is borrowed.
func (tb *Table) Snapshot(yield func([]Change) bool) (version uint64) {
	tb.mu.RLock()
	var cs []Change
	for h := range tb.own {
		cs = append(cs, Change{Op: AddExact, Fingerprint: h})
	}
	for f, r := range tb.routes {
		n := len(r.subs) + len(r.shards)
		switch {
		case n == 0:
		case r.group != nil:
			cs = append(cs, Change{Op: SetGroup, Filter: f.text, Members: uint32(n)})
		case f.wild:
			cs = append(cs, Change{Op: AddWildcard, Filter: f.text})
		}
	}
	version = uint64(len(tb.log))
	tb.mu.RUnlock()
	for chunk := range slices.Chunk(cs, 512) {
		if !yield(chunk) {
			break
		}
	}
	return version
}

// Notify has f called after own changes, from the writer's goroutine; f must
// not block.
func (tb *Table) Notify(f func()) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	tb.notify = f
}

// ApplyRemote applies a peer's changes. They may come from a hostile or newer
// peer: what does not parse is passed over and counted.
func (tb *Table) ApplyRemote(n NodeID, cs []Change) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	for _, c := range cs {
		if cp := tb.copies[n]; cp != nil {
			cp[Change{Op: c.Op, Fingerprint: c.Fingerprint, Filter: c.Filter}] = true
		}
		tb.apply(n, c)
	}
}

func (tb *Table) apply(n NodeID, c Change) {
	if c.Op == AddExact {
		if tb.remote[c.Fingerprint] == nil {
			tb.remote[c.Fingerprint] = map[NodeID]bool{}
		}
		tb.remote[c.Fingerprint][n] = true
		return
	}
	if c.Op == RemoveExact {
		delete(tb.remote[c.Fingerprint], n)
		return
	}
	f, err := ParseFilter([]byte(c.Filter))
	if err != nil || (c.Op == SetGroup) != (f.Group() != "") || c.Op != SetGroup && f.IsExact() {
		return
	}
	r := tb.route(f)
	switch c.Op {
	case AddWildcard:
		r.nodes[n] = true
	case RemoveWildcard:
		delete(r.nodes, n)
	case SetGroup:
		members := slices.DeleteFunc(slices.Clone(*r.group.members.Load()), func(m groupMember) bool { return m.node == n })
		for range c.Members {
			members = append(members, groupMember{node: n})
		}
		r.group.members.Store(&members)
	}
	tb.tidy(r)
}

// BeginRemote and EndRemote bracket a full copy: what the copy did not name is
// gone at the end, what stood before serves until then.
func (tb *Table) BeginRemote(n NodeID) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	tb.copies[n] = map[Change]bool{}
}

// EndRemote ends the copy that BeginRemote began.
func (tb *Table) EndRemote(n NodeID) { tb.sweep(n) }

// RemoveRemote forgets a node.
func (tb *Table) RemoveRemote(n NodeID) {
	tb.BeginRemote(n)
	tb.sweep(n)
}

func (tb *Table) sweep(n NodeID) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	named := tb.copies[n]
	delete(tb.copies, n)
	for h, nodes := range tb.remote {
		if !named[Change{Op: AddExact, Fingerprint: h}] {
			delete(nodes, n)
		}
	}
	for f, r := range tb.routes {
		if r.nodes[n] && !named[Change{Op: AddWildcard, Filter: f.text}] {
			tb.apply(n, Change{Op: RemoveWildcard, Filter: f.text})
		}
		if r.group != nil && !named[Change{Op: SetGroup, Filter: f.text}] {
			tb.apply(n, Change{Op: SetGroup, Filter: f.text})
		}
	}
}
