package router

import (
	"strings"
	"sync"
)

// Subscriber is an opaque handle of a subscriber on this node. Zero is nobody.
type Subscriber uint64

// NodeID names whose routes they are: of this node (zero), of a peer (below
// MaxPeers: its index in this process, small, dense, never reused for another
// while its routes stand), or of a shard (see ShardNode).
type NodeID uint16

// ShardID numbers a shard, from 0 and below MaxShards.
type ShardID uint16

const (
	MaxNodes  = 1 << nodeBits // bounds NodeID
	MaxShards = 64
	MaxPeers  = MaxNodes - MaxShards // bounds the NodeIDs of peers
)

// ShardNode is the NodeID under which a table holds the routes of a shard: they
// come as those of a peer do, and Match tells the shard.
func ShardNode(sh ShardID) NodeID {
	if sh >= MaxShards {
		panic("router: shard beyond MaxShards")
	}
	return MaxPeers + NodeID(sh)
}

// shard is the reverse of ShardNode.
func (n NodeID) shard() (sh ShardID, ok bool) { return ShardID(n - MaxPeers), n >= MaxPeers }

// Options are what a subscription asks for.
type Options struct {
	QoS               uint8
	NoLocal           bool
	RetainAsPublished bool
	ID                uint32 // subscription identifier, 0 for none; 28 bits
}

// Table is a node's route table. Match takes no lock and may run beside any
// writer; writers exclude one another.
//
// What it holds for a pattern (a filter without its share prefix) is an entry:
// of an exact pattern in an index by its text, of one with wildcards in a trie.
// Exact filters of other nodes and of shards are not held as entries but as
// fingerprints.
type Table struct {
	exact  index        // entries of exact patterns
	wild   trie         // entries of patterns with wildcards
	groups index        // share groups by their filter; each is in its pattern's set too
	remote fingerprints // exact filters of other nodes and of shards

	mu struct {
		sync.Mutex
		own           fingerprints         // this node's exact filters, as peers hold them, under node self
		twins         map[uint64]int       // how many more own exact filters have the same fingerprint
		log           changeLog            // own changes
		copies        map[NodeID]*fullCopy // full copies under way
		notify        func()
		subscriptions int // of subscribers, share groups included
		writes        int // since the last costly check
	}
}

// self stands for this node in mu.own: fingerprints have no node 0.
const self NodeID = 1

// NewTable returns an empty table.
func NewTable() *Table {
	tb := &Table{}
	tb.mu.twins = map[uint64]int{}
	tb.mu.copies = map[NodeID]*fullCopy{}
	tb.mu.log.max, tb.mu.log.maxBytes = maxLogChanges, maxLogBytes
	return tb
}

// Subscribe adds or replaces s's subscription to f and says whether it existed.
// The returned version is the table's own version that has the change.
func (tb *Table) Subscribe(f Filter, s Subscriber, o Options) (existed bool, version uint64) {
	before := tb.begin()
	if f.at > 0 {
		existed = tb.joinLocked(f, s, o)
	} else {
		existed = tb.addLocked(f, s, o)
	}
	if !existed {
		tb.mu.subscriptions++
	}
	return existed, tb.end(before)
}

func (tb *Table) addLocked(f Filter, s Subscriber, o Options) (existed bool) {
	tb.editLocked(f, func(e *entry, text string) *entry {
		if e == nil || e.kind == kindSubscriber && e.party == uint64(s) {
			existed = e != nil
			return newOne(kindSubscriber, uint64(s), pack(o), text, f.IsExact())
		}
		set := setOf(e)
		existed = set.add(s, pack(o))
		return set.settled(e, text, f.IsExact())
	})
	return existed
}

func (tb *Table) joinLocked(f Filter, s Subscriber, o Options) (existed bool) {
	g := tb.openGroupLocked(f)
	if existed = g.join(s, pack(o)); !existed {
		tb.logLocked(Change{Op: SetGroup, Filter: f.text, Members: g.own()})
	}
	return existed
}

// Unsubscribe removes it again and says whether it existed.
func (tb *Table) Unsubscribe(f Filter, s Subscriber) (existed bool, version uint64) {
	if f.wild || f.at > 0 {
		f.text = strings.Clone(f.text) // peers are told of it: a change must not keep the memory of a list of filters
	}
	before := tb.begin()
	if f.at > 0 {
		existed = tb.leaveLocked(f, s)
	} else {
		existed = tb.removeLocked(f, s)
	}
	if existed {
		tb.mu.subscriptions--
	}
	return existed, tb.end(before)
}

func (tb *Table) removeLocked(f Filter, s Subscriber) (existed bool) {
	tb.editLocked(f, func(e *entry, text string) *entry {
		switch {
		case e == nil:
			return nil
		case e.kind == kindMany:
			existed = e.set().remove(s)
			return e.set().settled(e, text, f.IsExact())
		case e.kind == kindSubscriber && e.party == uint64(s):
			existed = true
			return nil
		}
		return e
	})
	return existed
}

func (tb *Table) leaveLocked(f Filter, s Subscriber) (existed bool) {
	g := tb.Group(f)
	if g == nil || !g.leave(s) {
		return false
	}
	tb.logLocked(Change{Op: SetGroup, Filter: f.text, Members: g.own()})
	tb.closeGroupLocked(g)
	return true
}

// Group finds a share group by its filter, nil if nobody is in it. It takes no
// lock.
func (tb *Table) Group(f Filter) *Group {
	if e := tb.groups.find(hash(f.text), f.text); e != nil {
		return e.group()
	}
	return nil
}

// openGroupLocked finds or makes the group of f.
func (tb *Table) openGroupLocked(f Filter) *Group {
	if g := tb.Group(f); g != nil {
		return g
	}
	g := newGroup(f)
	tb.editLocked(f.unshared(), func(e *entry, text string) *entry {
		set := setOf(e)
		set.addGroup(g)
		return set.settled(e, text, f.IsExact())
	})
	tb.groups.put(hash(f.text), f.text, newListed(g))
	return g
}

// closeGroupLocked forgets g if nobody is in it any more.
func (tb *Table) closeGroupLocked(g *Group) {
	if !g.isEmpty() {
		return
	}
	f := g.filter
	tb.editLocked(f.unshared(), func(e *entry, text string) *entry {
		e.set().removeGroup(g)
		return e.set().settled(e, text, f.IsExact())
	})
	tb.groups.put(hash(f.text), f.text, nil)
}

// editLocked replaces the entry of the ordinary filter f by what change makes of
// it (see trie.edit), and logs what that means to peers.
func (tb *Table) editLocked(f Filter, change func(e *entry, text string) *entry) {
	var was, is bool
	watched := func(e *entry, text string) *entry {
		was = e.isOwn() // before change: it may change e's set in place
		e = change(e, text)
		is = e.isOwn()
		return e
	}
	if f.wild {
		tb.wild.edit(f.text, watched)
	} else {
		p := place{index: &tb.exact, key: f.text, hash: hash(f.text)}
		e := p.load()
		if changed := watched(e, f.text); changed != e {
			p.store(changed)
		}
	}
	switch {
	case was == is:
	case f.wild && is:
		tb.logLocked(Change{Op: AddWildcard, Filter: f.text})
	case f.wild:
		tb.logLocked(Change{Op: RemoveWildcard, Filter: f.text})
	case is:
		tb.addOwnLocked(fingerprint(f.text))
	default:
		tb.removeOwnLocked(fingerprint(f.text))
	}
}

// addOwnLocked and removeOwnLocked tell peers of a fingerprint with its first
// filter and with its last.
func (tb *Table) addOwnLocked(fp uint64) {
	if !tb.mu.own.add(fp, self) {
		tb.mu.twins[fp]++
		return
	}
	tb.logLocked(Change{Op: AddExact, Fingerprint: fp})
}

func (tb *Table) removeOwnLocked(fp uint64) {
	if n := tb.mu.twins[fp]; n > 1 {
		tb.mu.twins[fp] = n - 1
	} else if n == 1 {
		delete(tb.mu.twins, fp)
	} else {
		tb.mu.own.remove(fp, self)
		tb.logLocked(Change{Op: RemoveExact, Fingerprint: fp})
	}
}

// begin and end bracket a write; end calls Notify's function after own changes.
func (tb *Table) begin() (version uint64) {
	tb.mu.Lock()
	return tb.mu.log.version()
}

func (tb *Table) end(before uint64) (version uint64) {
	version = tb.mu.log.version()
	notify := tb.mu.notify
	tb.checkSometimesLocked()
	tb.mu.Unlock()
	if version != before && notify != nil {
		notify()
	}
	return version
}
