package router

import "strings"

// Match is one subscriber with what its matching subscriptions together ask
// for: the highest QoS, and retain as published if any of them has it.
type Match struct {
	Subscriber        Subscriber
	QoS               uint8
	RetainAsPublished bool
	ids               [2]uint32 // span in Matches.ids
}

// Matches is the answer for one topic, reused from call to call by one caller
// at a time.
type Matches struct {
	Local  []Match   // each subscriber of this node once
	Nodes  []NodeID  // each node with ordinary subscribers once, this one never
	Shards []ShardID // each shard with ordinary subscribers once
	Groups []*Group  // each share group (group, filter) that has a member on any node and is no queue
	Steps  int       // nodes of the table of wildcards that were looked at: what the topic costs, fewer than there are such filters
	ids    []uint32

	hits    []*entry // what matches
	holders []NodeID // of the topic's fingerprint
	walk    walk
	seen    seen
}

// IDs returns the subscription identifiers of m, borrowed from ms: one for each
// matching subscription that has one [MQTT-3.3.4-4], the same one perhaps twice.
func (ms *Matches) IDs(m Match) []uint32 { return ms.ids[m.ids[0]:m.ids[1]] }

// Match finds who wants t. Subscriptions with NoLocal of the subscriber from
// are left out. It allocates nothing once ms has grown.
//
// A subscription that stood during the whole call is found, and one that stood
// at no time of it is not.
func (tb *Table) Match(t Topic, from Subscriber, ms *Matches) {
	ms.reset()
	if !tb.exact.isEmpty() {
		if e := tb.exact.find(hash(t.s), t.s); e != nil {
			ms.hits = append(ms.hits, e)
		}
	}
	if tb.remote.live.Load() > 0 {
		ms.holders = tb.remote.appendNodes(ms.holders[:0], t.Hash())
		for _, n := range ms.holders {
			ms.addNode(n)
		}
	}
	if !tb.wild.root.isEmpty() {
		tb.wild.match(t.s, ms)
	}
	ms.gather(from)
	clear(ms.hits) // they may be all that keeps what is removed in memory
}

func (ms *Matches) reset() {
	clear(ms.Groups)
	ms.Local, ms.Nodes, ms.Shards, ms.Groups = ms.Local[:0], ms.Nodes[:0], ms.Shards[:0], ms.Groups[:0]
	ms.ids, ms.hits, ms.Steps = ms.ids[:0], ms.hits[:0], 0
	ms.seen.reset()
}

// walk is the way through the trie for one topic.
type walk struct {
	topic  string
	levels []level
	next   int // where the level after these begins; beyond the topic if there is none
	todo   []step
}

type level struct {
	start, end int // in topic
	hash       uint64
}

// step is a node that the topic's first levels lead to.
type step struct {
	node  *node
	level int // how many they are
}

// match appends the entries of all patterns that match topic to ms.hits. It
// looks at those nodes only whose levels match, each once.
func (tr *trie) match(topic string, ms *Matches) {
	w := &ms.walk
	w.topic, w.levels, w.next = topic, w.levels[:0], 0
	w.todo = append(w.todo[:0], step{&tr.root, 0})
	for ; len(w.todo) > 0; ms.Steps++ {
		s := w.todo[len(w.todo)-1]
		w.todo = w.todo[:len(w.todo)-1]
		// A wildcard in the first level leaves topics with $ alone [MQTT-4.7.2-1].
		wild := s.level > 0 || topic[0] != '$'
		if e := s.node.hash.Load(); e != nil && wild {
			ms.hits = append(ms.hits, e) // also the parent level (section 4.7.1.2)
		}
		if !w.reach(s.level) {
			if e := s.node.end.Load(); e != nil {
				ms.hits = append(ms.hits, e)
			}
			continue
		}
		if e := s.node.plus.Load(); e != nil && wild {
			ms.follow(e, s.level)
		}
		l := &w.levels[s.level]
		if e := s.node.levels.find(l.hash, topic[l.start:l.end]); e != nil {
			ms.follow(e, s.level)
		}
	}
	w.topic = "" // borrowed
}

// reach makes level i known and says whether the topic has it.
func (w *walk) reach(i int) bool {
	for i >= len(w.levels) {
		if w.next > len(w.topic) {
			return false
		}
		l := level{start: w.next, end: len(w.topic)}
		if n := strings.IndexByte(w.topic[l.start:], '/'); n >= 0 {
			l.end = l.start + n
		}
		l.hash = hash(w.topic[l.start:l.end])
		w.levels = append(w.levels, l)
		w.next = l.end + 1
	}
	return true
}

// follow goes on with an entry whose first level matches that of the topic.
func (ms *Matches) follow(e *entry, level int) {
	w := &ms.walk
	if e.kind != kindBranch {
		if matchLevels(e.text(), w.topic[w.levels[level].start:]) {
			ms.hits = append(ms.hits, e)
		}
		return
	}
	label, more := e.text(), true
	for more {
		if !w.reach(level) {
			return
		}
		var name string
		name, label, more = strings.Cut(label, "/")
		if l := &w.levels[level]; name != "+" && name != w.topic[l.start:l.end] {
			return
		}
		level++
	}
	w.todo = append(w.todo, step{e.node(), level})
}

// gather makes the answer of the hits.
func (ms *Matches) gather(from Subscriber) {
	sources, largest, most := 0, 0, -1 // hits with subscribers; the one with most
	for i, e := range ms.hits {
		n := 0
		switch e.kind {
		case kindSubscriber:
			n = 1
		case kindNode:
			ms.addNode(NodeID(e.party))
		case kindMany:
			n = ms.addOthers(e.set())
		}
		if n > 0 {
			sources++
			if n > most {
				largest, most = i, n
			}
		}
	}
	switch sources {
	case 0:
	case 1:
		ms.takeAll(ms.hits[largest], from)
	default:
		ms.merge(largest, from)
	}
}

// addOthers adds all of s but its subscribers, and returns about how many of
// those there are.
func (ms *Matches) addOthers(s *set) (subscribers int) {
	if ns := s.nodes.Load(); ns != nil {
		for _, n := range *ns {
			ms.addNode(n)
		}
	}
	if l := s.groups.Load(); l != nil {
		for g := range l.all {
			if n := NodeID(g.queue.Load()); n != 0 {
				ms.addNode(n)
			} else {
				ms.Groups = append(ms.Groups, g)
			}
		}
	}
	if r := s.roster.Load(); r != nil {
		return int(r.used.Load())
	}
	return 0
}

// addNode adds a node, or the shard that it stands for.
func (ms *Matches) addNode(n NodeID) {
	sh, isShard := n.shard()
	switch {
	case !isShard && ms.seen.node(n):
		ms.Nodes = append(ms.Nodes, n)
	case isShard && ms.seen.shard(sh):
		ms.Shards = append(ms.Shards, sh)
	}
}

// takeAll is for a single source: it has each subscriber once.
func (ms *Matches) takeAll(e *entry, from Subscriber) {
	if e.kind == kindSubscriber {
		ms.take(Subscriber(e.party), e.asks, from)
		return
	}
	if r := e.set().roster.Load(); r != nil {
		for who, a := range r.all {
			ms.take(who, a, from)
		}
	}
}

func (ms *Matches) take(who Subscriber, a asks, from Subscriber) {
	if a.noLocal() && who == from {
		return
	}
	at := uint32(len(ms.ids))
	if id := a.id(); id != 0 {
		ms.ids = append(ms.ids, id)
	}
	// Filled in place: a literal would be built and then copied, which stalls the
	// processor on the hottest of paths.
	ms.Local = append(ms.Local, Match{})
	m := &ms.Local[len(ms.Local)-1]
	m.Subscriber = who
	m.QoS, m.RetainAsPublished = a.qos(), a.retain()
	m.ids[0], m.ids[1] = at, uint32(len(ms.ids))
}
