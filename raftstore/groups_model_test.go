package raftstore

import (
	"maps"
	"slices"

	"dunlin/proto/mqtt"
	"dunlin/router"
	"dunlin/session"
)

// This file is the model's share groups (P9). What shards write to one another is
// a list of functions, called in order by settle, or as a log says.

type modelGroup struct {
	queues  bool
	members map[string]*modelMember
	turn    string
	last    uint64
	queue   []*modelGift
}

type modelMember struct {
	asOf                         uint64
	subscribed, stored, attached bool
	room, given                  int
	options                      router.Options
}

// modelGift is a message of a group.
type modelGift struct {
	group, client string
	number        uint64
	payload       string
	qos           mqtt.QoS
	retain        bool
	size          int
}

func (m *model) post(f func()) { m.mail = append(m.mail, f) }

// deliver does the next letter.
func (m *model) deliver() {
	f := m.mail[0]
	m.mail = m.mail[1:]
	f()
	m.finish()
}

func (m *model) settle() {
	for len(m.mail) > 0 {
		m.deliver()
	}
}

// tell has the groups of a session know what it is.
func (m *model) tell(id string, only func(router.Filter) bool) {
	s := m.sessions[id]
	for _, sub := range s.subs {
		if sub.Filter.Group() == "" || !only(sub.Filter) {
			continue
		}
		news := modelMember{
			asOf: m.index, subscribed: true, stored: s.stored, attached: s.attached, room: max(s.inflight/2, 1),
			options: sub.Options,
		}
		m.post(func() { m.hear(sub.Filter.String(), id, news) })
	}
}

func all(router.Filter) bool { return true }

func (m *model) left(f router.Filter, id string) {
	if f.Group() != "" {
		asOf := m.index
		m.post(func() { m.hear(f.String(), id, modelMember{asOf: asOf}) })
	}
}

func (m *model) hear(group, id string, news modelMember) {
	g := m.groups[group]
	if g == nil {
		g = &modelGroup{members: map[string]*modelMember{}}
		m.groups[group] = g
	}
	if old := g.members[id]; old == nil {
		if news.subscribed {
			g.members[id] = &news
		}
	} else if news.asOf >= old.asOf {
		news.given = old.given
		*old = news
	}
	m.assign(group)
}

// ask has a session tell what it is.
func (m *model) ask(group, id string) {
	m.post(func() {
		f := filter(group)
		if s := m.sessions[id]; s != nil && s.find(f) >= 0 {
			m.tell(id, func(of router.Filter) bool { return of == f })
		} else {
			m.left(f, id)
		}
	})
}

// assign gives what waits to who has room.
func (m *model) assign(group string) {
	g := m.groups[group]
	members := 0
	for id, mm := range g.members {
		switch {
		case mm.subscribed:
			members++
			g.queues = g.queues || mm.stored
		case mm.given == 0:
			delete(g.members, id)
		}
	}
	if members == 0 {
		g.queues, g.queue = false, nil
		if len(g.members) == 0 {
			delete(m.groups, group)
		}
		return
	}
	for len(g.queue) > 0 {
		to := ""
		for _, id := range append(slices.Sorted(maps.Keys(g.members)), slices.Sorted(maps.Keys(g.members))...) {
			if mm := g.members[id]; mm.attached && mm.given < mm.room && to <= g.turn && (to == "" || id > g.turn) {
				to = id
			}
		}
		if to == "" {
			return
		}
		gift := *g.queue[0]
		g.queue, g.turn = g.queue[1:], to
		mm := g.members[to]
		mm.given++
		gift.client = to
		o := mm.options
		m.post(func() { m.given(&gift, o) })
	}
}

// given is a message at the session of a member.
func (m *model) given(gift *modelGift, o router.Options) {
	s := m.sessions[gift.client]
	f := filter(gift.group)
	if s == nil || s.find(f) < 0 {
		m.left(f, gift.client)
	}
	if s == nil || s.find(f) < 0 || !s.attached {
		m.back(gift)
		return
	}
	it := &modelItem{
		payload: gift.payload, qos: min(gift.qos, mqtt.QoS(o.QoS)), retain: gift.retain && o.RetainAsPublished, gift: gift,
		size: gift.size,
	}
	if o.ID != 0 {
		it.ids = []uint32{o.ID}
	}
	if it.qos == 0 {
		m.push(s, it)
		m.finished = append(m.finished, gift)
		return
	}
	s.waiting = append(s.waiting, it)
	m.move(s)
}

// back returns a message to its place in the group.
func (m *model) back(gift *modelGift) {
	m.post(func() {
		g := m.groups[gift.group]
		g.members[gift.client].given--
		if g.queues {
			at := slices.IndexFunc(g.queue, func(w *modelGift) bool { return w.number > gift.number })
			if at < 0 {
				at = len(g.queue)
			}
			g.queue = slices.Insert(g.queue, at, gift)
		}
		m.assign(gift.group)
	})
}

// reclaim gives back what a detached session holds of groups, of QoS 2 what is
// beyond the index taken.
func (m *model) reclaim(s *modelSession, taken uint64) {
	for _, it := range s.window {
		if it.gift != nil && (it.qos == 1 || it.index > taken && !it.received) && !it.done {
			it.done = true
			m.back(it.gift)
		}
	}
	s.waiting = slices.DeleteFunc(s.waiting, func(it *modelItem) bool {
		if it.gift != nil {
			m.back(it.gift)
		}
		return it.gift != nil
	})
}

// isDone has the group know of it, if the message is of one.
func (m *model) isDone(it *modelItem) {
	if it.gift != nil && !it.done && !it.received {
		m.finished = append(m.finished, it.gift)
	}
}

// finish tells the groups what is done since it was last called.
func (m *model) finish() {
	for len(m.finished) > 0 {
		g, n := m.finished[0], 1
		for n < len(m.finished) && m.finished[n].group == g.group && m.finished[n].client == g.client {
			n++
		}
		m.finished = m.finished[n:]
		m.post(func() {
			m.groups[g.group].members[g.client].given -= n
			m.assign(g.group)
		})
	}
}

// share queues a message for one group.
func (m *model) share(group string, msg *session.Message) (dropped int) {
	g := m.groups[group]
	if len(g.queue) >= m.queue {
		return 1
	}
	g.last++
	g.queue = append(g.queue, &modelGift{
		group: group, number: g.last, payload: string(msg.Payload), qos: msg.QoS, retain: msg.Retain,
		size: messageSize(msg.Append(nil, msg.Received)),
	})
	m.assign(group)
	return 0
}

// wanting lists the groups that are queues and want a topic.
func (m *model) wanting(to router.Topic) (names []string) {
	for _, name := range slices.Sorted(maps.Keys(m.groups)) {
		if m.groups[name].queues && filter(name).Matches(to) {
			names = append(names, name)
		}
	}
	return names
}

// pass gives a QoS 0 message to a member with room.
func (m *model) pass(group string, msg *session.Message) {
	var ids []string
	for id, mm := range m.groups[group].members {
		if mm.attached && mm.given < mm.room {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return
	}
	slices.Sort(ids)
	m.turn++
	id := ids[m.turn%len(ids)]
	mm := m.groups[group].members[id]
	it := &modelItem{payload: string(msg.Payload), retain: msg.Retain && mm.options.RetainAsPublished}
	if mm.options.ID != 0 {
		it.ids = []uint32{mm.options.ID}
	}
	m.post(func() {
		if s := m.sessions[id]; s != nil && s.attached {
			m.push(s, it)
		}
	})
}

// bySlot are the clients in the order of the shard's slots.
func (m *model) bySlot() []string {
	return slices.SortedFunc(maps.Keys(m.sessions), func(a, b string) int { return m.sessions[a].slot - m.sessions[b].slot })
}
