package router

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestFanOut(t *testing.T) {
	const many = 20000
	tb := NewTable()
	f := mustFilter(t, "news")
	for s := range Subscriber(many) {
		if _, v := tb.Subscribe(f, s+1, Options{QoS: uint8(s % 3)}); v != 1 {
			t.Fatalf("version %d: only the first subscriber makes a change", v)
		}
	}
	tb.Subscribe(mustFilter(t, "#"), 5, Options{ID: 1})
	tb.Subscribe(mustFilter(t, "+"), many+1, Options{QoS: 2, ID: 2})
	tb.Subscribe(mustFilter(t, "+"), 6, Options{QoS: 2, ID: 3})
	var ms Matches
	topic := mustTopic(t, "news")
	tb.Match(topic, 0, &ms)
	seen := map[Subscriber]bool{}
	for _, m := range ms.Local {
		seen[m.Subscriber] = true
		var ids []uint32
		qos := uint8((m.Subscriber - 1) % 3)
		switch m.Subscriber {
		case 5:
			ids = []uint32{1}
		case 6:
			ids, qos = []uint32{3}, 2
		case many + 1:
			ids, qos = []uint32{2}, 2
		}
		if !slices.Equal(ms.IDs(m), ids) || m.QoS != qos {
			t.Fatalf("%+v with identifiers %v", m, ms.IDs(m))
		}
	}
	if len(ms.Local) != many+1 || len(seen) != many+1 {
		t.Errorf("%d matches of %d subscribers", len(ms.Local), len(seen))
	}
	if n := testing.AllocsPerRun(10, func() { tb.Match(topic, 0, &ms) }); n != 0 {
		t.Errorf("a warm match allocates %v times", n)
	}
	for s := range Subscriber(many) {
		if existed, _ := tb.Unsubscribe(f, s+1); !existed {
			t.Fatalf("subscriber %d is gone", s+1)
		}
	}
	tb.mustCheck(t)
	if tb.Match(topic, 0, &ms); len(ms.Local) != 3 {
		t.Errorf("%d left, want the three with wildcards", len(ms.Local))
	}
}

// Case 24: one client, many overlapping filters, one delivery.
func TestOverlappingWildcards(t *testing.T) {
	const deep = 10
	tb := NewTable()
	for bits := range 1 << deep {
		levels := make([]string, deep)
		for i := range levels {
			levels[i] = "x"
			if bits>>i&1 == 1 {
				levels[i] = "+"
			}
		}
		tb.Subscribe(mustFilter(t, strings.Join(levels, "/")), 1, Options{ID: uint32(bits + 1)})
	}
	tb.mustCheck(t)
	var ms Matches
	topic := mustTopic(t, strings.Repeat("x/", deep-1)+"x")
	tb.Match(topic, 0, &ms)
	if len(ms.Local) != 1 || len(ms.IDs(ms.Local[0])) != 1<<deep {
		t.Errorf("%d matches", len(ms.Local))
	}
	if n := testing.AllocsPerRun(10, func() { tb.Match(topic, 0, &ms) }); n != 0 {
		t.Errorf("a warm match allocates %v times", n)
	}
}

// Case 15: filters as deep as may be make no more nodes than filters.
func TestDeepFilters(t *testing.T) {
	tb := NewTable()
	deep := strings.Repeat("a/", MaxLevels-1)
	for i := range 40 {
		tb.Subscribe(mustFilter(t, strings.Repeat("a/", i)+"#"), Subscriber(i+1), Options{})
		tb.Subscribe(mustFilter(t, strings.Repeat("a/", MaxLevels-1-i)+"+"), Subscriber(i+101), Options{})
	}
	tb.mustCheck(t)
	var ms Matches
	tb.Match(mustTopic(t, deep+"b"), 0, &ms)
	if len(ms.Local) != 41 {
		t.Errorf("%d matches, want 41", len(ms.Local))
	}
}

func TestMatchAllocatesNothing(t *testing.T) {
	tb := NewTable()
	for i := range 1000 {
		tb.Subscribe(mustFilter(t, fmt.Sprintf("d/%d/t", i)), 1, Options{ID: 1})
		tb.Subscribe(mustFilter(t, fmt.Sprintf("d/%d/+", i)), 2, Options{})
	}
	tb.Subscribe(mustFilter(t, "d/#"), 1, Options{ID: 2})
	tb.Subscribe(mustFilter(t, "$share/g/d/+/t"), 3, Options{})
	tb.ApplyRemote(ShardNode(3), []Change{{Op: AddExact, Fingerprint: fingerprint("d/7/t")}, {Op: AddWildcard, Filter: "d/+/t"}})
	tb.ApplyRemote(4, []Change{{Op: AddExact, Fingerprint: fingerprint("d/7/t")}, {Op: AddWildcard, Filter: "d/7/#"}})
	b := []byte("d/7/t")
	var ms Matches
	match := func() {
		topic, err := ParseTopic(b)
		if err != nil {
			t.Fatal(err)
		}
		tb.Match(topic, 0, &ms)
	}
	match()
	if len(ms.Local) != 2 || len(ms.Nodes) != 1 || len(ms.Shards) != 1 || len(ms.Groups) != 1 {
		t.Errorf("matches %s", describe(&ms))
	}
	if n := testing.AllocsPerRun(100, match); n != 0 {
		t.Errorf("a warm match allocates %v times", n)
	}
}

// Two filters of one node with the same fingerprint are one route, which ends
// with the second.
func TestFingerprintsOfTwoFilters(t *testing.T) {
	tb := NewTable()
	versions := []uint64{}
	for _, write := range []func(uint64){tb.addOwnLocked, tb.addOwnLocked, tb.addOwnLocked, tb.removeOwnLocked, tb.removeOwnLocked, tb.removeOwnLocked} {
		write(42)
		versions = append(versions, tb.Version())
	}
	if !slices.Equal(versions, []uint64{1, 1, 1, 1, 1, 2}) {
		t.Errorf("versions %v", versions)
	}
}

// A full copy keeps what it names, serves what stood before until its end, and
// ends what it did not name.
func TestFullCopy(t *testing.T) {
	tb := NewTable()
	cs := []Change{
		{Op: AddExact, Fingerprint: fingerprint("a/b")},
		{Op: AddWildcard, Filter: "a/+"},
		{Op: SetGroup, Filter: "$share/g/a/b", Members: 2},
	}
	tb.ApplyRemote(2, cs)
	tb.ApplyRemote(5, cs)
	var ms Matches
	matches := func() string {
		tb.mustCheck(t)
		tb.Match(mustTopic(t, "a/b"), 0, &ms)
		return describe(&ms)
	}
	all := matches()
	if all != "[2 5] [] [$share/g/a/b]" {
		t.Fatal(all)
	}
	tb.BeginRemote(2)
	if got := matches(); got != all {
		t.Errorf("during the copy: %s", got)
	}
	tb.ApplyRemote(2, cs[1:2])
	tb.ApplyRemote(2, []Change{{Op: AddWildcard, Filter: "x/#"}, {Op: RemoveWildcard, Filter: "x/#"}})
	tb.EndRemote(2)
	if got := matches(); got != all { // by the wildcard
		t.Errorf("after the copy: %s", got)
	}
	tb.ApplyRemote(2, []Change{{Op: RemoveWildcard, Filter: "a/+"}})
	if got := matches(); got != "[5] [] [$share/g/a/b]" {
		t.Errorf("the copy kept what it did not name: %s", got)
	}
	tb.RemoveRemote(5)
	if got := matches(); got != "[] [] []" {
		t.Errorf("after all: %s", got)
	}
}

// A peer may be of a newer release, or broken.
func TestApplyRemotePassesOverNonsense(t *testing.T) {
	tb := NewTable()
	tb.ApplyRemote(1, []Change{
		{Op: 0}, {Op: 99, Filter: "a/+"}, {Op: AddWildcard, Filter: "a"}, {Op: AddWildcard, Filter: "a#"}, {Op: AddWildcard},
		{Op: AddWildcard, Filter: "$share/g/+"}, {Op: SetGroup, Filter: "a/+", Members: 1}, {Op: SetGroup, Filter: "$share/g/a"},
		{Op: RemoveExact, Fingerprint: 1}, {Op: RemoveWildcard, Filter: "+"},
	})
	tb.mustCheck(t)
	if st := tb.Stats(); st != (Stats{}) {
		t.Errorf("%+v", st)
	}
}

func TestChangeLogIsBounded(t *testing.T) {
	l := changeLog{max: 128, maxBytes: 1000}
	for i := range 1000 {
		l.add(Change{Op: AddWildcard, Filter: fmt.Sprintf("%05d/#", i)})
	}
	if l.count != 128 || l.bytes != 128*7 {
		t.Errorf("%d changes of %d bytes", l.count, l.bytes)
	}
	out, reached, ok := l.since(872, 10, nil)
	if !ok || reached != 882 || len(out) != 10 || out[0].Filter != "00872/#" {
		t.Errorf("changes %v up to %d, %v", out, reached, ok)
	}
	for _, v := range []uint64{871, 1001} {
		if _, _, ok := l.since(v, 10, nil); ok {
			t.Errorf("the log reaches back to %d", v)
		}
	}
	if out, reached, ok := l.since(1000, 10, nil); !ok || reached != 1000 || len(out) != 0 {
		t.Errorf("changes %v up to %d, %v", out, reached, ok)
	}
	l.add(Change{Op: AddWildcard, Filter: strings.Repeat("x", 600)})
	if l.bytes > 1000 {
		t.Errorf("%d bytes", l.bytes)
	}
}

// A table that keeps no changes counts them; one that begins to keep them has
// those since.
func TestKeepChanges(t *testing.T) {
	tb := NewTable()
	tb.KeepChanges(0)
	tb.Subscribe(mustFilter(t, "a/+"), 1, Options{})
	if _, _, ok := tb.Changes(0, 10, nil); ok || tb.Version() != 1 {
		t.Errorf("version %d, changes from 0: %v", tb.Version(), ok)
	}
	tb.KeepChanges(64)
	tb.Subscribe(mustFilter(t, "b/+"), 1, Options{})
	cs, version, ok := tb.Changes(1, 10, nil)
	if !ok || version != 2 || len(cs) != 1 || cs[0].Filter != "b/+" {
		t.Errorf("changes %v to %d, %v", cs, version, ok)
	}
	tb.KeepChanges(0)
	if cs, version, ok := tb.Changes(2, 10, nil); !ok || version != 2 || len(cs) != 0 {
		t.Errorf("nothing is behind: %v to %d, %v", cs, version, ok)
	}
}
