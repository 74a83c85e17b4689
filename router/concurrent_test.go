package router

import (
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
)

// watched is a subscription whose writer announces each change: odd while it is
// under way, then even; it stands when the changes done are an odd number.
type watched struct {
	filter  Filter
	party   uint64
	changes atomic.Uint64
}

func stands(changes uint64) bool { return changes/2%2 == 1 }

// TestMatchBesideWriters: a reader finds what stood during its whole call and
// nothing that stood at no time of it, while writers split and fold branches,
// grow and shrink indexes, and fill and empty sets around it.
func TestMatchBesideWriters(t *testing.T) {
	const (
		writers = 3
		readers = 2
		rounds  = 1500
	)
	patterns := []string{
		"a/b/c", "a/b", "+/b/c", "a/+/c", "a/b/+", "a/b/#", "a/#", "#", "+/+/+", "a/b/c/#", "a/+/+", "+/b/#",
		"a/b/d/+", "a/b/d/e/+", "x/y/+", "a/b/d", "$share/g/a/b/c", "$share/g/a/+/c", "$share/h/a/b/c",
	}
	topic := mustTopic(t, "a/b/c")
	tb := NewTable()
	var all [writers][]*watched
	for w := range writers {
		for i, p := range patterns {
			for s := range 4 {
				f := mustFilter(t, p)
				party := uint64(1 + w*1000 + i*10 + s)
				if f.Group() != "" {
					// A group is found or not as a whole: one writer each.
					if i%writers != w || s > 0 {
						continue
					}
				}
				all[w] = append(all[w], &watched{filter: f, party: party})
			}
		}
	}
	var done atomic.Bool
	var writing, reading sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			d := newDice(t, uint64(w))
			for range rounds {
				s := all[w][d.IntN(len(all[w]))]
				s.changes.Add(1)
				if stands(s.changes.Load()) {
					tb.Unsubscribe(s.filter, Subscriber(s.party))
				} else {
					tb.Subscribe(s.filter, Subscriber(s.party), Options{ID: uint32(s.party)})
				}
				s.changes.Add(1)
				// What does not match, and a peer's routes, keep the structure moving.
				other := mustFilter(t, "n/"+strconv.Itoa(d.IntN(3000))+d.of("", "/+", "/#", "/x/+"))
				if d.IntN(2) == 0 {
					tb.Subscribe(other, 9, Options{})
				} else {
					tb.Unsubscribe(other, 9)
				}
				n := NodeID(1 + w)
				tb.ApplyRemote(n, []Change{{Op: AddExact + Op(d.IntN(2)), Fingerprint: topic.Hash()}, {Op: AddWildcard + Op(d.IntN(2)), Filter: "a/b/#"}})
			}
		})
	}
	for range readers {
		reading.Go(func() {
			var ms Matches
			var before [writers][]uint64
			for !done.Load() {
				for w := range all {
					before[w] = before[w][:0]
					for _, s := range all[w] {
						before[w] = append(before[w], s.changes.Load())
					}
				}
				tb.Match(topic, 0, &ms)
				got := map[Subscriber]bool{}
				for _, m := range ms.Local {
					if got[m.Subscriber] {
						t.Errorf("subscriber %d twice", m.Subscriber)
					}
					got[m.Subscriber] = true
					if ids := ms.IDs(m); !slices.Equal(ids, []uint32{uint32(m.Subscriber)}) {
						t.Errorf("subscriber %d has the identifiers %v", m.Subscriber, ids)
					}
				}
				groups := map[string]bool{}
				for _, g := range ms.Groups {
					groups[g.Filter().String()] = true
					g.Pick(g.Turn(), 0)
				}
				for w := range all {
					for i, s := range all[w] {
						was := before[w][i]
						if was%2 == 1 || s.changes.Load() != was {
							continue // changed meanwhile: either is right
						}
						found := got[Subscriber(s.party)]
						if s.filter.Group() != "" {
							found = groups[s.filter.String()]
						}
						if want := stands(was) && s.filter.Matches(topic); found != want {
							t.Errorf("%q for %d: found %v, want %v", s.filter, s.party, found, want)
						}
					}
				}
				for _, ns := range [][]NodeID{ms.Nodes} {
					slices.Sort(ns)
					if len(slices.Compact(ns)) != len(ns) {
						t.Errorf("a node twice: %v", ns)
					}
				}
				if t.Failed() {
					return
				}
			}
		})
	}
	writing.Wait()
	done.Store(true)
	reading.Wait()
	tb.mustCheck(t)
}

// TestSteadyBesideRestructuring: what a writer moves about is found all the
// while. The loops are tight, so that readers meet the moments in between.
func TestSteadyBesideRestructuring(t *testing.T) {
	const steady, rounds = Subscriber(1), 20000
	toggle := func(tb *Table, f Filter, s Subscriber, i int) {
		if i%2 == 0 {
			tb.Subscribe(f, s, Options{})
		} else {
			tb.Unsubscribe(f, s)
		}
	}
	for _, c := range []struct {
		name, filter, topic string
		churn               func(tb *Table, i int)
	}{
		{"split and fold under it", "a/b/+", "a/b/c", func(tb *Table, i int) { toggle(tb, mustFilter(t, "a/b/+/x"), 2, i) }},
		{"split and fold above it", "a/b/+", "a/b/c", func(tb *Table, i int) { toggle(tb, mustFilter(t, "a/#"), 2, i) }},
		{"one and many", "a/b", "a/b", func(tb *Table, i int) { toggle(tb, mustFilter(t, "a/b"), 2, i) }},
		{"a group comes and goes", "+/b", "a/b", func(tb *Table, i int) { toggle(tb, mustFilter(t, "$share/g/+/b"), 2, i) }},
		{"its index grows and shrinks", "a/b", "a/b", func(tb *Table, i int) {
			toggle(tb, mustFilter(t, strconv.Itoa(i/2%50)), 2, i/100)
		}},
		{"its set grows and shrinks", "a/b", "a/b", func(tb *Table, i int) {
			toggle(tb, mustFilter(t, "a/b"), Subscriber(2+i%100), i/100)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			tb := NewTable()
			tb.Subscribe(mustFilter(t, c.filter), steady, Options{ID: 7})
			topic := mustTopic(t, c.topic)
			var done atomic.Bool
			var reading sync.WaitGroup
			for range 2 {
				reading.Go(func() {
					var ms Matches
					for !done.Load() {
						tb.Match(topic, 0, &ms)
						if !slices.ContainsFunc(ms.Local, func(m Match) bool { return m.Subscriber == steady }) {
							t.Error("a reader missed it")
							return
						}
					}
				})
			}
			for i := range rounds {
				c.churn(tb, i)
			}
			done.Store(true)
			reading.Wait()
			tb.mustCheck(t)
		})
	}
}

// TestFeedBesideWriters: a peer that takes full copies and changes while the
// table changes ends with the table's routes.
func TestFeedBesideWriters(t *testing.T) {
	tb, m := NewTable(), newModel()
	tb.mu.log.max, tb.mu.log.maxBytes = 64, 400 // so that full copies are needed
	var notified atomic.Int64
	tb.Notify(func() { notified.Add(1) })
	d := newDice(t, 1)
	var writing sync.WaitGroup
	var done atomic.Bool
	writing.Go(func() {
		defer done.Store(true)
		for range 4000 {
			f, s := d.filter(t), Subscriber(1+d.IntN(5))
			switch d.IntN(5) {
			case 0, 1:
				tb.Subscribe(f, s, Options{})
				m.subscribe(f, s, Options{})
			case 2, 3:
				tb.Unsubscribe(f, s)
				m.unsubscribe(f, s)
			case 4: // not its own, so that nobody is told
				tb.ApplyRemote(ShardNode(1), []Change{{Op: AddWildcard, Filter: f.Pattern()}})
			}
		}
	})
	peer := NewTable()
	const n = NodeID(7)
	var cs []Change
	version, copies := uint64(0), 0
	dice := newDice(t, 2)
	for last := false; !last; {
		last = done.Load()
		for {
			out, reached, ok := tb.Changes(version, 1+dice.IntN(20), cs[:0])
			if !ok {
				copies++
				peer.BeginRemote(n)
				version = tb.Snapshot(func(chunk []Change) bool {
					peer.ApplyRemote(n, chunk)
					return true
				})
				peer.EndRemote(n)
				continue
			}
			peer.ApplyRemote(n, out)
			if reached == version {
				break
			}
			version = reached
		}
	}
	writing.Wait()
	if version != tb.Version() || notified.Load() == 0 {
		t.Errorf("version %d of %d, notified %d times", version, tb.Version(), notified.Load())
	}
	t.Logf("%d changes, %d full copies", version, copies)
	peer.mustCheck(t)
	tb.mustCheck(t)
	want := newModel()
	want.nodes[n] = m.own()
	var ms Matches
	for range 2000 {
		topic := dice.topic(t)
		peer.Match(topic, 0, &ms)
		if got, want := describe(&ms), want.match(topic, 0); got != want {
			t.Fatalf("match of %q\n got %s\nwant %s", topic, got, want)
		}
	}
	for f, count := range want.nodes[n].groups {
		if got := (*peer.Group(f).remote.Load())[0].count; got != count {
			t.Errorf("%q has %d members, want %d", f, got, count)
		}
	}
}

// TestIndexIsAMap drives an index through splits and joins.
func TestIndexIsAMap(t *testing.T) {
	var ix index
	keys := make([]string, 20000)
	for i := range keys {
		keys[i] = fmt.Sprintf("device/%d", i)
	}
	check := func(from, to int) {
		t.Helper()
		if ix.count != to-from {
			t.Fatalf("%d entries, want %d", ix.count, to-from)
		}
		if err := ix.check(func(*entry) error { return nil }); err != nil {
			t.Fatal(err)
		}
		for i, key := range keys {
			if e := ix.find(hash(key), key); (e != nil) != (i >= from && i < to) {
				t.Fatalf("%q: found %v", key, e != nil)
			}
		}
	}
	for i, key := range keys {
		ix.put(hash(key), key, newOne(kindSubscriber, uint64(i), 0, key, true))
		if i&(i+1) == 0 {
			check(0, i+1)
		}
	}
	check(0, len(keys))
	for i, key := range keys {
		ix.put(hash(key), key, nil)
		if left := len(keys) - i - 1; left&(left+1) == 0 || i%5000 == 0 {
			check(i+1, len(keys))
		}
	}
	if ix.dir.Load() != nil {
		t.Error("an empty index keeps a directory")
	}
	// Coming and going at one size must not wear it out.
	for i, key := range keys {
		ix.put(hash(key), key, newOne(kindSubscriber, uint64(i), 0, key, true))
		if i >= 300 {
			ix.put(hash(keys[i-300]), keys[i-300], nil)
		}
	}
	check(len(keys)-300, len(keys))
	for i := range ix.dir.Load().segs {
		if seg := ix.dir.Load().segs[i].Load(); seg.spilled > len(seg.buckets)*7/8 {
			t.Errorf("%d of %d buckets are marked as spilled", seg.spilled, len(seg.buckets))
		}
	}
}
