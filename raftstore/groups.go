package raftstore

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"

	"dunlin/proto/mqtt"
	"dunlin/router"
	"dunlin/session"

	"github.com/cespare/xxhash/v2"
)

// groups is the table of the share groups that this shard keeps, by the text of
// their filter.
type groups struct{ of map[string]*group }

// group is one share group: who is in it and, if it is a queue, what waits for
// them (P9).
//
// Invariants:
//
//  1. a group is a queue from its first stored member on, until nobody is
//     subscribed; exactly then the shard's table of subscriptions has its filter;
//  2. a group that is none holds no message;
//  3. a member that is not subscribed is kept only while something is given to it;
//  4. numbers rise along the queue, up to last; bytes sums up the sizes;
//  5. subscribed and stored count the members; ready are those with room.
type group struct {
	filter  router.Filter
	queues  bool
	members seats
	turn    string // client identifier of the member that was given the latest message

	ready              seats
	subscribed, stored int // members, and those whose session is stored

	queue []waitingMessage
	last  uint64 // number of the latest message
	bytes int
}

// waitingMessage is a message that no member has.
type waitingMessage struct {
	number uint64
	ref    uint32
}

// groupMember is a session in a group, as its shard last said.
type groupMember struct {
	news
	clientID string
	shard    router.ShardID // of the session
	given    uint32         // messages it was given and is not known to be done with
}

// news is what a session is in a group.
type news struct {
	asOf       uint64 // command of its shard that this is known from
	subscribed bool
	stored     bool // the session may outlive its connection
	attached   bool
	room       uint16 // how many messages it takes at once
	options    router.Options
}

func (m *groupMember) hasRoom() bool { return m.attached && m.given < uint32(m.room) }

// seats are members by client identifier.
type seats []*groupMember

// find is the place of a member, or where it would be.
func (s seats) find(clientID string) (i int, ok bool) {
	return slices.BinarySearchFunc(s, clientID, func(m *groupMember, id string) int {
		return strings.Compare(m.clientID, id)
	})
}

func (s *seats) add(m *groupMember) {
	i, _ := s.find(m.clientID)
	*s = slices.Insert(*s, i, m)
}

func (s *seats) remove(m *groupMember) {
	i, _ := s.find(m.clientID)
	*s = slices.Delete(*s, i, i+1)
}

func newGroups() groups { return groups{of: make(map[string]*group)} }

// GroupShard is the shard of a share group, by its filter, share prefix included.
func GroupShard(f router.Filter, shards int) router.ShardID {
	return router.ShardID(xxhash.Sum64String(f.String()) % uint64(shards))
}

// applyMember takes a session's news from its broker, which waits for them. The
// session's shard has sent them too, and knows besides whether it is connected;
// where these were not first, or the session is gone since, it is asked.
func (st *state) applyMember(body *reader, _ *Result) {
	l, shard := body.member()
	if body.err != nil {
		return
	}
	if g := st.groups.of[l.group.String()]; g != nil {
		if m := g.member(l.clientID); m != nil && m.asOf >= l.news.asOf {
			return
		}
	}
	st.hear(&l, shard)
	st.send(shard, letter{kind: letterAsk, group: l.group, clientID: l.clientID})
}

// hear takes the news of a session, which lives in the shard from.
func (st *state) hear(l *letter, from router.ShardID) {
	g := st.groups.of[l.group.String()]
	if g == nil {
		if !l.news.subscribed {
			return
		}
		g = &group{filter: l.group}
		st.groups.of[l.group.String()] = g
	}
	m := g.member(l.clientID)
	switch {
	case m == nil && !l.news.subscribed || m != nil && m.asOf > l.news.asOf:
		return
	case m == nil:
		m = &groupMember{clientID: l.clientID}
		g.members.add(m)
	}
	g.change(m, func() { m.news, m.shard = l.news, from })
	st.settle(g, m)
}

// change has f change m, and counts again.
func (g *group) change(m *groupMember, f func()) {
	had := m.hasRoom()
	g.tally(m, -1)
	f()
	g.tally(m, 1)
	switch has := m.hasRoom(); {
	case has && !had:
		g.ready.add(m)
	case had && !has:
		g.ready.remove(m)
	}
}

func (g *group) tally(m *groupMember, by int) {
	if m.subscribed {
		g.subscribed += by
	}
	if m.subscribed && m.stored {
		g.stored += by
	}
}

// settle does what follows from a change of m, a member or nil: the group becomes
// a queue, or ends; and who has room is given what waits.
func (st *state) settle(g *group, m *groupMember) {
	if g.stored > 0 && !g.queues {
		g.queues = true
		st.subscriptions.table.Subscribe(g.filter, groupSubscriber, router.Options{QoS: 2})
	}
	if m != nil && !m.subscribed && m.given == 0 {
		g.members.remove(m)
	}
	if g.subscribed == 0 {
		st.fx.drop(dropNoMember, len(g.queue))
		for _, w := range g.queue {
			st.messages.unkeep(w.ref)
			st.messages.Release(w.ref)
		}
		g.queue, g.bytes = nil, 0
		if g.queues {
			g.queues = false
			st.subscriptions.table.Unsubscribe(g.filter, groupSubscriber)
		}
		if len(g.members) == 0 {
			delete(st.groups.of, g.filter.String())
		}
		return
	}
	st.assign(g)
}

// groupSubscriber stands for a group's queue in the shard's table.
const groupSubscriber router.Subscriber = 1

func (g *group) member(clientID string) *groupMember {
	if i, ok := g.members.find(clientID); ok {
		return g.members[i]
	}
	return nil
}

// queueUp adds a stored message to a group's queue, if it is one and has room.
// The reference is the caller's.
func (st *state) queueUp(g *group, ref uint32, res *Result) {
	size := st.messages.Size(ref)
	if g.full(&st.limits, size) {
		st.dropExpired(g)
	}
	if g.full(&st.limits, size) {
		res.Dropped++
		st.fx.drop(dropQueueFull, 1)
		return
	}
	st.messages.Retain(ref)
	st.messages.keep(ref)
	g.last++
	g.queue = append(g.queue, waitingMessage{g.last, ref})
	g.bytes += size
	st.assign(g)
}

// full says whether a message does not fit behind those that wait, if any do.
func (g *group) full(l *Limits, size int) bool {
	return len(g.queue) > 0 && (len(g.queue) >= l.QueueMessages || g.bytes+size > l.QueueBytes)
}

func (st *state) dropExpired(g *group) {
	g.queue = slices.DeleteFunc(g.queue, func(w waitingMessage) bool { return st.expired(g, w) })
}

// expired lets go of a waiting message if it has expired.
func (st *state) expired(g *group, w waitingMessage) bool {
	if t := st.messages.Deadline(w.ref); t == session.Never || t > st.now {
		return false
	}
	g.bytes -= st.messages.Size(w.ref)
	st.messages.unkeep(w.ref)
	st.messages.Release(w.ref)
	st.fx.drop(dropExpired, 1)
	return true
}

// assign gives what waits to members with room, in turn.
func (st *state) assign(g *group) {
	for len(g.queue) > 0 && len(g.ready) > 0 {
		w := g.queue[0]
		g.queue = g.queue[1:]
		if st.expired(g, w) {
			continue
		}
		m := g.draw()
		stored := &st.messages.slots[w.ref]
		qos, retain := storedFlags(stored.packed)
		st.send(m.shard, letter{
			kind: letterGive, group: g.filter, clientID: m.clientID, count: w.number,
			options: router.Options{
				QoS: min(m.options.QoS, uint8(qos)), RetainAsPublished: retain && m.options.RetainAsPublished, ID: m.options.ID,
			},
			packed: stored.packed, deadline: stored.deadline,
		})
		g.change(m, func() { m.given++ })
		g.bytes -= st.messages.Size(w.ref)
		st.messages.unkeep(w.ref)
		st.messages.Release(w.ref)
	}
	if len(g.queue) == 0 {
		g.queue = nil
	}
}

// draw is the next member in turn that has room; there is one.
func (g *group) draw() *groupMember {
	i, found := g.ready.find(g.turn)
	if found {
		i++
	}
	m := g.ready[i%len(g.ready)]
	g.turn = m.clientID
	return m
}

// storedFlags are QoS and retain flag of a message as it was published.
func storedFlags(packed []byte) (mqtt.QoS, bool) {
	var m session.Message
	if _, err := m.Parse(packed, session.Never); err != nil {
		panic("raftstore: stored message: " + err.Error())
	}
	return m.QoS, m.Retain
}

// back takes a message that a member did not finish to its old place.
func (st *state) back(l *letter) {
	g := st.groups.of[l.group.String()]
	if g == nil {
		st.fx.drop(dropNoMember, 1)
		return
	}
	m := g.finished(l.clientID, 1)
	switch {
	case !g.queues:
		st.fx.drop(dropNoMember, 1)
	case l.deadline != session.Never && l.deadline <= st.now:
		st.fx.drop(dropExpired, 1)
	default:
		ref := st.messages.put(l.packed, l.deadline)
		st.messages.keep(ref)
		g.insert(waitingMessage{l.count, ref})
		g.bytes += messageSize(l.packed)
	}
	st.settle(g, m)
}

// insert has w wait in its old place.
func (g *group) insert(w waitingMessage) {
	i, twice := slices.BinarySearchFunc(g.queue, w.number, func(w waitingMessage, n uint64) int {
		return cmp.Compare(w.number, n)
	})
	if twice || w.number > g.last { // not one of the group's: it does not happen
		g.last++
		i, w.number = len(g.queue), g.last
	}
	g.queue = slices.Insert(g.queue, i, w)
}

// done takes that a member is done with some messages.
func (st *state) done(l *letter) {
	if g := st.groups.of[l.group.String()]; g != nil {
		st.settle(g, g.finished(l.clientID, l.count))
	}
}

// finished takes that a member has n messages less, and returns it; nil for none.
func (g *group) finished(clientID string, n uint64) *groupMember {
	m := g.member(clientID)
	if m != nil {
		g.change(m, func() { m.given -= uint32(min(n, uint64(m.given))) })
	}
	return m
}

// applyShare queues a message for one group alone.
func (st *state) applyShare(body *reader, res *Result) {
	f := body.group()
	var m session.Message
	packed := body.message(&m, st.now)
	if body.err != nil {
		return
	}
	g := st.groups.of[f.String()]
	if g == nil || !g.queues {
		return
	}
	res.Known = true
	e := enqueuing{m: &m, packed: packed, deadline: session.Never}
	if m.HasExpiry {
		e.deadline = st.now + session.Seconds(m.Expiry)
	}
	st.enqueueShared(g, &e, res)
	st.stored(&e)
}

// enqueueShared queues a message for a group.
func (st *state) enqueueShared(g *group, e *enqueuing, res *Result) {
	if st.hold(e, res) {
		st.queueUp(g, e.ref, res)
	}
}

// refoundGroups has the groups begin anew after a backup: nobody is connected, and
// what members hold is theirs.
func (st *state) refoundGroups() {
	for _, text := range slices.Sorted(maps.Keys(st.groups.of)) {
		g := st.groups.of[text]
		for _, m := range slices.Clone(g.members) {
			g.change(m, func() { m.asOf, m.attached, m.given = 0, false, 0 })
			st.settle(g, m)
		}
	}
}

// check verifies the group's invariants, by number.
func (g *group) check(st *state) error {
	subscribed, stored, bytes := 0, 0, 0
	var ready seats
	for i, m := range g.members {
		if i > 0 && m.clientID <= g.members[i-1].clientID {
			return fmt.Errorf("group %q: member %q after %q", g.filter, m.clientID, g.members[i-1].clientID)
		}
		if !m.subscribed && (m.given == 0 || m.attached) {
			return fmt.Errorf("group %q: invariant 3: member %q", g.filter, m.clientID)
		}
		if m.subscribed {
			subscribed++
			if m.stored {
				stored++
			}
		}
		if m.hasRoom() {
			ready = append(ready, m)
		}
	}
	if subscribed != g.subscribed || stored != g.stored || !slices.Equal(ready, g.ready) {
		return fmt.Errorf("group %q: invariant 5", g.filter)
	}
	routed := st.subscriptions.table.Group(g.filter) != nil
	if g.queues != routed || g.queues && subscribed == 0 || stored > 0 && !g.queues || len(g.members) == 0 {
		return fmt.Errorf("group %q: invariant 1: queue %t, route %t, %d members", g.filter, g.queues, routed, len(g.members))
	}
	last := uint64(0)
	for _, w := range g.queue {
		if w.number <= last || w.number > g.last {
			return fmt.Errorf("group %q: invariant 4: message %d after %d, last %d", g.filter, w.number, last, g.last)
		}
		last = w.number
		bytes += st.messages.Size(w.ref)
	}
	if bytes != g.bytes || len(g.queue) > 0 && !g.queues {
		return fmt.Errorf("group %q: invariants 2 and 4: %d bytes wait, counted %d", g.filter, bytes, g.bytes)
	}
	return nil
}

// snapshot encodes each group, in the order of their filters.
func (t *groups) snapshot() (items [][]byte) {
	for _, text := range slices.Sorted(maps.Keys(t.of)) {
		g := t.of[text]
		b := appendBytes(appendBool(appendBytes(nil, text), g.queues), g.turn)
		b = binary.AppendUvarint(b, g.last)
		b = binary.AppendUvarint(b, uint64(len(g.members)))
		for _, m := range g.members {
			b = appendBytes(b, m.clientID)
			b = binary.AppendUvarint(b, uint64(m.shard))
			b = binary.AppendUvarint(b, uint64(m.given))
			b = m.news.encode(b)
		}
		b = binary.AppendUvarint(b, uint64(len(g.queue)))
		for _, w := range g.queue {
			b = binary.AppendUvarint(b, w.number)
			b = binary.AppendUvarint(b, uint64(w.ref))
		}
		items = append(items, b)
	}
	return items
}

func (rs *restoring) group(r *reader) {
	st := rs.st
	g := &group{filter: r.group(), queues: r.bool(), turn: r.string(), last: r.uvarint()}
	for range r.count(8) {
		m := &groupMember{clientID: r.string(), shard: r.shardID(), given: uint32(min(r.uvarint(), 1<<32-1))}
		m.news = r.news()
		g.members = append(g.members, m)
		if g.tally(m, 1); m.hasRoom() {
			g.ready = append(g.ready, m)
		}
	}
	for range r.count(2) {
		w := waitingMessage{r.uvarint(), uint32(min(r.uvarint(), 1<<32-1))}
		if r.err != nil || rs.Size(w.ref) == 0 {
			r.fail()
			return
		}
		st.messages.Retain(w.ref)
		if st.messages.body(w.ref) == nil {
			rs.fail(st.messages.fetch(w.ref))
		}
		st.messages.keep(w.ref)
		g.bytes += st.messages.Size(w.ref)
		g.queue = append(g.queue, w)
	}
	if st.groups.of[g.filter.String()] != nil || r.err != nil {
		r.fail()
		return
	}
	st.groups.of[g.filter.String()] = g
	if g.queues {
		st.subscriptions.table.Subscribe(g.filter, groupSubscriber, router.Options{QoS: 2})
	}
}

func (n *news) encode(b []byte) []byte {
	flags := byte(0)
	for i, set := range [...]bool{n.subscribed, n.stored, n.attached} {
		if set {
			flags |= 1 << i
		}
	}
	b = append(binary.AppendUvarint(b, n.asOf), flags)
	b = binary.AppendUvarint(b, uint64(n.room))
	return appendOptions(b, &n.options)
}

func (r *reader) news() (n news) {
	n.asOf = r.uvarint()
	flags := r.byte()
	n.subscribed, n.stored, n.attached = flags&1 != 0, flags&2 != 0, flags&4 != 0
	n.room, n.options = uint16(r.uvarint()), r.options()
	if flags > 7 || n.attached && !n.subscribed {
		r.fail()
	}
	return n
}
