package meta

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"dunlin/raftstore/level"
)

// Each change of a kind is a revision of its own, which says what was changed; those of
// other kinds are not concerned.
func TestRecords(t *testing.T) {
	m := NewMachine(level.Known(), nil)
	expect(t, "too early", do(m, &PutRecord{Kind: KindUser, Name: "a"}), Result{Err: ErrNotFormed})
	expect(t, "too early", do(m, &RemoveRecord{Kind: KindUser, Name: "a"}), Result{Err: ErrNotFormed})
	m = formed(t)
	if all := m.State().Records[KindUser]; len(all.All()) != 0 {
		t.Fatal("records of a kind that has none")
	}
	put := func(kind Kind, name, value string) *PutRecord {
		return &PutRecord{Kind: kind, Name: name, Value: value}
	}
	expect(t, "first", do(m, put(KindUser, "bob", "1")), Result{Revision: 1})
	expect(t, "before it", do(m, put(KindUser, "ann", "2")), Result{Revision: 2})
	expect(t, "other kind", do(m, put(KindBan, "bob", "3")), Result{Revision: 1})
	before := m.State().Records[KindUser]
	expect(t, "replaced", do(m, put(KindUser, "bob", "4")), Result{Revision: 3})
	expect(t, "not there", do(m, &RemoveRecord{Kind: KindUser, Name: "eve"}), Result{Err: ErrNoRecord})
	expect(t, "no such kind", do(m, &RemoveRecord{Kind: "x", Name: "ann"}), Result{Err: ErrNoRecord})
	expect(t, "removed", do(m, &RemoveRecord{Kind: KindUser, Name: "ann"}), Result{Revision: 4})
	if x, ok := before.Find("bob"); !ok || x.Value != "1" || x.Revision != 1 || len(before.All()) != 2 {
		t.Errorf("records that others hold were written: %+v", before)
	}
	now := m.State().Records[KindUser]
	if x, ok := now.Find("bob"); !ok || x != (Record{"bob", "4", 3}) || now.Revision != 4 || len(now.All()) != 1 {
		t.Errorf("%+v, %+v", now, x)
	}
	if _, ok := now.Find("ann"); ok {
		t.Error("a record that was removed is found")
	}
	if x, _ := m.State().Records[KindBan].Find("bob"); x.Value != "3" {
		t.Errorf("of the other kind: %+v", x)
	}
}

// Who says what he has seen changes nothing else.
func TestRecordsAsSeen(t *testing.T) {
	m := formed(t)
	put := func(value string, was uint64) *PutRecord {
		return &PutRecord{Kind: KindUser, Name: "a", Value: value, Was: revision(was)}
	}
	expect(t, "not there", do(m, put("1", 1)), Result{Err: ErrChanged})
	expect(t, "new", do(m, put("1", 0)), Result{Revision: 1})
	expect(t, "new again", do(m, put("2", 0)), Result{Err: ErrChanged})
	expect(t, "seen", do(m, put("2", 1)), Result{Revision: 2})
	expect(t, "seen before", do(m, put("3", 1)), Result{Err: ErrChanged})
	remove := func(was uint64) *RemoveRecord { return &RemoveRecord{Kind: KindUser, Name: "a", Was: revision(was)} }
	expect(t, "remove what was", do(m, remove(1)), Result{Err: ErrChanged})
	expect(t, "remove", do(m, remove(2)), Result{Revision: 3})
	expect(t, "removed", do(m, remove(3)), Result{Err: ErrNoRecord})
	expect(t, "back", do(m, put("4", 0)), Result{Revision: 4}) // a revision is never given twice
}

// Names and values are bounded, and text.
func TestRecordsRefused(t *testing.T) {
	m := formed(t)
	for what, c := range map[string]*PutRecord{
		"no name":         {Kind: KindUser},
		"long name":       {Kind: KindUser, Name: strings.Repeat("x", MaxRecordName+1)},
		"newline in name": {Kind: KindUser, Name: "a\nb"},
		"escape in name":  {Kind: KindUser, Name: "a\x1b[31m"},
		"NUL in name":     {Kind: KindUser, Name: "a\x00"},
		"C1 in name":      {Kind: KindUser, Name: "a\u0085"},
		"no kind":         {Name: "a"},
		"no word":         {Kind: "User", Name: "a"},
		"long kind":       {Kind: Kind(strings.Repeat("k", maxKindName+1)), Name: "a"},
	} {
		if err := c.Check(); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
		expect(t, what, do(m, c), Result{Err: ErrInvalid})
	}
	// These would not come through JSON as they are, so that they must not be sent.
	for what, c := range map[string]*PutRecord{
		"name":  {Kind: KindUser, Name: "a\xff"},
		"value": {Kind: KindUser, Name: "a", Value: "\xff"},
	} {
		if err := c.Check(); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s that is not UTF-8: %v", what, err)
		}
	}
	expect(t, "most", do(m, &PutRecord{Kind: KindRules, Name: "a", Value: strings.Repeat("x", MaxRecord)}), Result{Revision: 1})
	expect(t, "too much", do(m, &PutRecord{Kind: KindRules, Name: "a", Value: strings.Repeat("x", MaxRecord+1)}), Result{Err: ErrTooLarge})
	if x, _ := m.State().Records[KindRules].Find("a"); len(x.Value) != MaxRecord || x.Revision != 1 {
		t.Errorf("a refused command changed a record: %d bytes", len(x.Value))
	}
}

// put has m hold records that nobody has put.
func (m *Machine) put(k Kind, all *Records) {
	if all != nil {
		all.count()
	}
	s := m.State().clone()
	s.setRecords(k, all)
	m.publish(s)
}

// A kind has so many records and bytes, and there are so many kinds; what is there may
// be replaced and removed.
func TestRecordsBounded(t *testing.T) {
	m := formed(t)
	// All but the last are put there at once: one after another they take their time.
	const n = maxKindBytes / (MaxRecord + 3)
	value := strings.Repeat("x", MaxRecord)
	almost := &Records{Revision: n - 1}
	for i := range n - 1 {
		almost.List = append(almost.List, &Record{Name: fmt.Sprintf("%03d", i), Value: value, Revision: 1})
	}
	m.put(KindRules, almost)
	expect(t, "last", do(m, &PutRecord{Kind: KindRules, Name: "last", Value: value}), Result{Revision: n})
	more := &PutRecord{Kind: KindRules, Name: "more", Value: value}
	expect(t, "too many bytes", do(m, more), Result{Err: ErrFull})
	expect(t, "replaced", do(m, &PutRecord{Kind: KindRules, Name: "000", Value: value}), Result{Revision: n + 1})
	again := NewMachine(level.Known(), nil) // that counts the bytes it reads
	if err := again.Restore(io.NopCloser(bytes.NewReader(snapshot(t, m)))); err != nil {
		t.Fatal(err)
	}
	m = again
	expect(t, "too many bytes, restored", do(m, more), Result{Err: ErrFull})
	expect(t, "removed", do(m, &RemoveRecord{Kind: KindRules, Name: "001"}), Result{Revision: n + 2})
	expect(t, "room", do(m, more), Result{Revision: n + 3})

	for i := 1; i < maxKinds; i++ {
		expect(t, "kind", do(m, &PutRecord{Kind: Kind(rune('a' + i)), Name: "a"}), Result{Revision: 1})
	}
	expect(t, "too many kinds", do(m, &PutRecord{Kind: "more", Name: "a"}), Result{Err: ErrFull})
	expect(t, "known kind", do(m, &PutRecord{Kind: "b", Name: "b"}), Result{Revision: 2})

	all := &Records{Revision: 1}
	for i := range MaxRecords {
		all.List = append(all.List, &Record{Name: fmt.Sprintf("%06d", i), Revision: 1})
	}
	m.put("b", all)
	expect(t, "too many", do(m, &PutRecord{Kind: "b", Name: "more"}), Result{Err: ErrFull})
	expect(t, "replaced", do(m, &PutRecord{Kind: "b", Name: "000000", Value: "x"}), Result{Revision: 2})
	if err := m.State().Check(); err != nil {
		t.Error(err)
	}
}

// A snapshot with records that no replica would have made is refused.
func TestRecordsDamaged(t *testing.T) {
	for what, all := range map[string]*Records{
		"no order": {Revision: 2, List: []*Record{{Name: "b", Revision: 1}, {Name: "a", Revision: 2}}},
		"twice":    {Revision: 2, List: []*Record{{Name: "a", Revision: 1}, {Name: "a", Revision: 2}}},
		"later":    {Revision: 1, List: []*Record{{Name: "a", Revision: 2}}},
		"never":    {Revision: 1, List: []*Record{{Name: "a"}}},
		"nothing":  {Revision: 1, List: []*Record{nil}},
		"no name":  {Revision: 1, List: []*Record{{Revision: 1}}},
		"none":     nil,
	} {
		m := formed(t)
		m.put(KindUser, all)
		if err := NewMachine(level.Known(), nil).Restore(io.NopCloser(bytes.NewReader(snapshot(t, m)))); !errors.Is(err, ErrSnapshot) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
