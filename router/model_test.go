package router

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// model is the table as simply as it can be told: everything is compared with
// everything.
type model struct {
	subs  map[Filter]map[Subscriber]Options // share groups too
	nodes map[NodeID]*modelNode             // shards too
}

type modelNode struct {
	exact  map[string]bool
	wild   map[Filter]bool
	groups map[Filter]uint32
}

func newModel() *model {
	return &model{map[Filter]map[Subscriber]Options{}, map[NodeID]*modelNode{}}
}

func newModelNode() *modelNode {
	return &modelNode{map[string]bool{}, map[Filter]bool{}, map[Filter]uint32{}}
}

func (m *model) subscribe(f Filter, s Subscriber, o Options) (existed bool) {
	if m.subs[f] == nil {
		m.subs[f] = map[Subscriber]Options{}
	}
	_, existed = m.subs[f][s]
	m.subs[f][s] = o
	return existed
}

func (m *model) unsubscribe(f Filter, s Subscriber) (existed bool) {
	_, existed = m.subs[f][s]
	delete(m.subs[f], s)
	return existed
}

// own is what peers of the model's node hold of it.
func (m *model) own() *modelNode {
	o := newModelNode()
	note := func(f Filter) {
		if f.IsExact() {
			o.exact[f.Pattern()] = true
		} else {
			o.wild[f] = true
		}
	}
	for f, subs := range m.subs {
		switch {
		case len(subs) == 0:
		case f.Group() != "":
			o.groups[f] = uint32(len(subs))
		default:
			note(f)
		}
	}
	return o
}

// match tells the answer for t as text that compares.
func (m *model) match(t Topic, from Subscriber) string {
	type want struct {
		qos    uint8
		retain bool
		ids    []uint32
	}
	local := map[Subscriber]want{}
	groups, queues := map[string]bool{}, map[string]bool{}
	nodes := map[NodeID]bool{}
	shards := map[ShardID]bool{}
	for f, subs := range m.subs {
		if !naiveMatches(f.Pattern(), t.String()) {
			continue
		}
		for s, o := range subs {
			switch {
			case f.Group() != "":
				groups[f.String()] = true
			case !o.NoLocal || s != from:
				w := local[s]
				w.qos = max(w.qos, o.QoS)
				w.retain = w.retain || o.RetainAsPublished
				if o.ID != 0 {
					w.ids = append(w.ids, o.ID)
				}
				local[s] = w
			}
		}
	}
	for n, r := range m.nodes {
		wanted := r.exact[t.String()]
		for f := range r.wild {
			wanted = wanted || naiveMatches(f.Pattern(), t.String())
		}
		switch {
		case wanted && n >= ShardNode(0):
			shards[ShardID(n-ShardNode(0))] = true
		case wanted:
			nodes[n] = true
		}
		for f := range r.groups {
			switch {
			case !naiveMatches(f.Pattern(), t.String()):
			case n >= ShardNode(0): // the group's queue
				shards[ShardID(n-ShardNode(0))] = true
				queues[f.String()] = true
			default:
				groups[f.String()] = true
			}
		}
	}
	for f := range queues {
		delete(groups, f)
	}
	var b strings.Builder
	for _, s := range slices.Sorted(maps.Keys(local)) {
		w := local[s]
		slices.Sort(w.ids)
		fmt.Fprintf(&b, "%d:%d,%v,%v ", s, w.qos, w.retain, w.ids)
	}
	fmt.Fprint(&b, slices.Sorted(maps.Keys(nodes)), slices.Sorted(maps.Keys(shards)), slices.Sorted(maps.Keys(groups)))
	return b.String()
}

// describe tells a table's answer in the form of model.match.
func describe(ms *Matches) string {
	var b strings.Builder
	slices.SortFunc(ms.Local, func(a, b Match) int { return cmp.Compare(a.Subscriber, b.Subscriber) })
	for _, m := range ms.Local {
		ids := slices.Clone(ms.IDs(m))
		slices.Sort(ids)
		fmt.Fprintf(&b, "%d:%d,%v,%v ", m.Subscriber, m.QoS, m.RetainAsPublished, ids)
	}
	var groups []string
	for _, g := range ms.Groups {
		groups = append(groups, g.Filter().String())
	}
	slices.Sort(groups)
	slices.Sort(ms.Nodes)
	slices.Sort(ms.Shards)
	fmt.Fprint(&b, ms.Nodes, ms.Shards, groups)
	return b.String()
}

// naiveMatches is the specification's words on two lists of levels.
func naiveMatches(pattern, topic string) bool {
	p, t := strings.Split(pattern, "/"), strings.Split(topic, "/")
	if strings.HasPrefix(topic, "$") && (p[0] == "+" || p[0] == "#") {
		return false
	}
	for i, level := range p {
		switch {
		case level == "#":
			return len(t) >= i
		case i >= len(t), level != "+" && level != t[i]:
			return false
		}
	}
	return len(t) == len(p)
}

// dice makes filters and topics that meet often.
type dice struct{ *rand.Rand }

func newDice(t testing.TB, seed uint64) dice {
	t.Logf("seed %d", seed)
	return dice{rand.New(rand.NewPCG(seed, 1))}
}

func (d dice) of(words ...string) string { return words[d.IntN(len(words))] }

func (d dice) topic(t testing.TB) Topic {
	for {
		levels := []string{d.of("a", "b", "", "$x", "long-name")}
		for d.IntN(3) > 0 && len(levels) < 6 {
			levels = append(levels, d.of("a", "b", "", "c", "$x"))
		}
		if s := strings.Join(levels, "/"); s != "" {
			return mustTopic(t, s)
		}
	}
}

func (d dice) filter(t testing.TB) Filter {
	levels := strings.Split(d.topic(t).String(), "/")
	for i := range levels {
		if d.IntN(3) == 0 {
			levels[i] = "+"
		}
	}
	if d.IntN(4) == 0 {
		levels = append(levels[:d.IntN(len(levels)+1)], "#")
	}
	s := strings.Join(levels, "/")
	if d.IntN(6) == 0 {
		s = "$share/" + d.of("g", "h") + "/" + s
	}
	return mustFilter(t, s)
}

func (d dice) options() Options {
	o := Options{QoS: uint8(d.IntN(3)), NoLocal: d.IntN(4) == 0, RetainAsPublished: d.IntN(3) == 0}
	if d.IntN(2) == 0 {
		o.ID = uint32(1 + d.IntN(1<<28-1))
	}
	return o
}

func (tb *Table) mustCheck(t testing.TB) {
	t.Helper()
	tb.mu.Lock()
	defer tb.mu.Unlock()
	if err := tb.checkLocked(); err != nil {
		t.Fatal(err)
	}
}

// TestTableIsTheModel runs random writes on both, and compares their answers.
func TestTableIsTheModel(t *testing.T) {
	for seed := range uint64(12) {
		d := newDice(t, seed)
		tb, m := NewTable(), newModel()
		var ms Matches
		subscribers := 1 + d.IntN(60)
		grow := 8 // of ten, until half time; then the table shrinks
		for i := range 1000 {
			if i == 500 {
				grow = 2
			}
			f := d.filter(t)
			s := Subscriber(1 + d.IntN(subscribers))
			n := NodeID(1 + d.IntN(3))
			if d.IntN(2) == 0 {
				n = ShardNode(ShardID(d.IntN(3)) * 31)
			}
			if m.nodes[n] == nil {
				m.nodes[n] = newModelNode()
			}
			switch add := d.IntN(10) < grow; d.IntN(4) {
			case 0, 1:
				if add {
					o := d.options()
					if got, _ := tb.Subscribe(f, s, o); got != m.subscribe(f, s, o) {
						t.Fatalf("Subscribe(%q, %d) existed: %v", f, s, got)
					}
				} else {
					if len(m.subs) > 0 && d.IntN(4) > 0 { // one that may be there
						f = slices.SortedFunc(maps.Keys(m.subs), byText)[d.IntN(len(m.subs))]
					}
					if got, _ := tb.Unsubscribe(f, s); got != m.unsubscribe(f, s) {
						t.Fatalf("Unsubscribe(%q, %d) existed: %v", f, s, got)
					}
				}
			case 2, 3:
				if n >= ShardNode(0) && f.Group() != "" { // which hashes to one shard only
					n = ShardNode(ShardID(len(f.text)%3) * 31)
					if m.nodes[n] == nil {
						m.nodes[n] = newModelNode()
					}
				}
				applyBoth(tb, m, n, f, add, uint32(d.IntN(4)))
			}
			if i%40 == 0 {
				tb.mustCheck(t)
			}
			topic, from := d.topic(t), Subscriber(1+d.IntN(subscribers))
			tb.Match(topic, from, &ms)
			if got, want := describe(&ms), m.match(topic, from); got != want {
				t.Fatalf("seed %d step %d: match of %q from %d\n got %s\nwant %s", seed, i, topic, from, got, want)
			}
		}
		for f, subs := range m.subs {
			for s := range subs {
				tb.Unsubscribe(f, s)
			}
		}
		for n := range m.nodes {
			tb.RemoveRemote(n)
		}
		tb.mustCheck(t)
		if st := tb.Stats(); st.Exact+st.Wildcards+st.Groups+st.Remote+st.Own != 0 {
			t.Errorf("seed %d: an empty table has %+v", seed, st)
		}
	}
}

func byText(a, b Filter) int { return cmp.Compare(a.text, b.text) }

func applyBoth(tb *Table, m *model, n NodeID, f Filter, add bool, members uint32) {
	r := m.nodes[n]
	var c Change
	switch {
	case f.Group() != "":
		if !add {
			members = 0
		}
		c = Change{Op: SetGroup, Filter: f.String(), Members: members}
		if r.groups[f] = members; members == 0 {
			delete(r.groups, f)
		}
	case f.IsExact():
		c = Change{Op: RemoveExact, Fingerprint: fingerprint(f.Pattern())}
		if delete(r.exact, f.Pattern()); add {
			c.Op = AddExact
			r.exact[f.Pattern()] = true
		}
	default:
		c = Change{Op: RemoveWildcard, Filter: f.Pattern()}
		if delete(r.wild, f); add {
			c.Op = AddWildcard
			r.wild[f] = true
		}
	}
	tb.ApplyRemote(n, []Change{c})
}
