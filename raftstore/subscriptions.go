package raftstore

import (
	"cmp"
	"slices"

	"dunlin/router"
	"dunlin/session"
)

// subscriptions is the index of the ordinary filters of the shard's sessions, and
// of the share groups that are queues here. It follows from the records of both,
// so that a snapshot leaves it out.
type subscriptions struct {
	table   *router.Table
	matches router.Matches
	found   []match
	shared  []string // share groups that are queues and want the topic of the last match, in order
}

// match is one session that wants a topic.
type match struct {
	slot   uint32
	qos    uint8
	retain bool // as published
	ids    []uint32
}

func newSubscriptions() subscriptions {
	t := subscriptions{table: router.NewTable()}
	t.table.KeepChanges(0) // until this node leads
	return t
}

// keptChanges is how many changes to a shard's filters its leader keeps for the
// nodes that are behind.
const keptChanges = 1 << 16

// subscriber is the handle of a slot in the table.
func subscriber(slot uint32) router.Subscriber { return router.Subscriber(slot) + 1 }

func (t *subscriptions) add(f router.Filter, slot uint32, o router.Options) {
	t.table.Subscribe(f, subscriber(slot), o)
}

func (t *subscriptions) remove(f router.Filter, slot uint32) {
	t.table.Unsubscribe(f, subscriber(slot))
}

// match finds the sessions that want topic, by slot, so that every replica takes
// them in the same order. from is the publisher's handle, or 0. The answer is
// borrowed until the next call.
func (t *subscriptions) match(topic router.Topic, from router.Subscriber) []match {
	t.table.Match(topic, from, &t.matches)
	t.found = t.found[:0]
	for _, m := range t.matches.Local {
		t.found = append(t.found, match{
			slot: uint32(m.Subscriber - 1), qos: m.QoS, retain: m.RetainAsPublished, ids: t.matches.IDs(m),
		})
	}
	if len(t.found) > 1 {
		slices.SortFunc(t.found, func(a, b match) int { return cmp.Compare(a.slot, b.slot) })
	}
	for i := range t.found {
		slices.Sort(t.found[i].ids)
	}
	t.shared = t.shared[:0]
	for _, g := range t.matches.Groups {
		t.shared = append(t.shared, g.Filter().String())
	}
	slices.Sort(t.shared)
	return t.found
}

// indexed says that a subscription belongs into the table.
func indexed(f router.Filter) bool { return f.Group() == "" }

// index adds all of a session's filters, as after a restore.
func (t *subscriptions) index(slot uint32, d *session.Durable) {
	for s := range d.Subscriptions {
		if indexed(s.Filter) {
			t.add(s.Filter, slot, s.Options)
		}
	}
}
