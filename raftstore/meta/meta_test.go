package meta

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"dunlin/raftstore/level"
)

func do(m *Machine, c Command) Result { return m.Apply(&raft.Log{Data: Encode(c)}).(Result) }

func expect(t testing.TB, what string, got Result, want Result) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: %+v, want %+v", what, got, want)
	}
}

func formed(t testing.TB) *Machine {
	m := NewMachine(level.Known(), nil)
	expect(t, "form", do(m, &Form{Cluster: "c", Shards: 16, Factor: 3}), Result{})
	return m
}

func TestFormation(t *testing.T) {
	m := NewMachine(level.Known(), nil)
	expect(t, "too early", do(m, &Enter{Identity: "a", Start: 1}), Result{Err: ErrNotFormed})
	expect(t, "bad", do(m, &Form{Cluster: "c", Shards: 65, Factor: 3}), Result{Err: ErrInvalid})
	m = formed(t)
	expect(t, "again", do(m, &Form{Cluster: "d", Shards: 1, Factor: 1}), Result{Err: ErrFormed})
	if s := m.State(); s.Cluster != "c" || s.Shards != 16 || s.Factor != 3 {
		t.Fatalf("%+v", s)
	}
	expect(t, "factor", do(m, &SetFactor{Factor: 5}), Result{})
}

// D5: numbers are never given twice, and a start is known from the one before.
func TestNodes(t *testing.T) {
	m := formed(t)
	expect(t, "first", do(m, &Enter{Identity: "a", Name: "n", Start: 1}), Result{Node: 1, Start: 1, Generation: 1})
	expect(t, "second", do(m, &Enter{Identity: "b", Start: 1}), Result{Node: 2, Start: 1, Generation: 1})
	expect(t, "first again", do(m, &Enter{Identity: "a", Start: 3}), Result{Node: 1, Start: 3, Generation: 2})
	expect(t, "told twice", do(m, &Enter{Identity: "a", Start: 3}), Result{Node: 1, Start: 3, Generation: 2})
	expect(t, "older copy", do(m, &Enter{Identity: "a", Start: 2}), Result{Err: ErrStale})
	expect(t, "never started", do(m, &Enter{Identity: "c"}), Result{Err: ErrInvalid})
	expect(t, "nobody", do(m, &Admit{Node: 3, Generation: 1}), Result{Err: ErrNoNode})
	expect(t, "admit", do(m, &Admit{Node: 2, Generation: 1}), Result{})
	expect(t, "place", do(m, &Place{Group: 4, Replicas: []Replica{{Node: 2, Voter: true}}}), Result{})
	expect(t, "leave", do(m, &Leave{Node: 2}), Result{})
	expect(t, "retire", do(m, &Retire{Node: 2}), Result{Err: ErrHolds})
	expect(t, "empty", do(m, &Place{Group: 4, Version: 1, Replicas: []Replica{{Node: 1, Voter: true}}}), Result{})
	expect(t, "retire", do(m, &Retire{Node: 2}), Result{})
	expect(t, "back", do(m, &Enter{Identity: "b", Start: 7}), Result{Node: 3, Start: 7, Generation: 1})
	if n := m.State().Nodes[3]; n.Admitted || n.Leaving {
		t.Fatalf("%+v", n)
	}
}

// E4: a generation that was revoked stays so, and only a start or the node's own
// word begins another.
func TestGenerations(t *testing.T) {
	m := formed(t)
	do(m, &Enter{Identity: "a", Start: 1})
	entitled := func(generation uint64, want bool) {
		t.Helper()
		if m.State().Nodes[1].Entitled(generation) != want {
			t.Fatalf("entitled in %d: %v: %+v", generation, !want, m.State().Nodes[1])
		}
	}
	entitled(1, false)
	expect(t, "not entered yet", do(m, &Admit{Node: 1, Generation: 2}), Result{Err: ErrOver})
	expect(t, "not revoked", do(m, &Rejoin{Node: 1, Generation: 1}), Result{Err: ErrNotYet})
	expect(t, "admit", do(m, &Admit{Node: 1, Generation: 1}), Result{})
	entitled(1, true)
	expect(t, "revoke", do(m, &Revoke{Node: 1, Generation: 1}), Result{})
	entitled(1, false)
	if n := m.State().Nodes[1]; !n.Admitted {
		t.Fatalf("it is forgotten that a lease may run: %+v", n)
	}
	expect(t, "admit late", do(m, &Admit{Node: 1, Generation: 1}), Result{Err: ErrOver})
	expect(t, "release late", do(m, &Revoke{Node: 1, Generation: 1, Released: true}), Result{})
	expect(t, "revoke again", do(m, &Revoke{Node: 1, Generation: 1}), Result{})
	if n := m.State().Nodes[1]; !n.Released {
		t.Fatalf("%+v", n)
	}
	expect(t, "rejoin", do(m, &Rejoin{Node: 1, Generation: 1}), Result{Node: 1, Start: 1, Generation: 2})
	expect(t, "rejoin twice", do(m, &Rejoin{Node: 1, Generation: 1}), Result{Err: ErrOver})
	expect(t, "revoke late", do(m, &Revoke{Node: 1, Generation: 1}), Result{Err: ErrOver})
	expect(t, "admit", do(m, &Admit{Node: 1, Generation: 2}), Result{})
	entitled(2, true)
	expect(t, "start", do(m, &Enter{Identity: "a", Start: 2}), Result{Node: 1, Start: 2, Generation: 3})
	entitled(2, false)
	entitled(3, false)
}

// E4: a replica is whole once nothing that its log holds, but for what is not
// applied to a state, is still to come; across a snapshot too.
func TestWhole(t *testing.T) {
	m, log := NewMachine(level.Known(), nil), raft.NewInmemStore()
	whole := func(want bool) {
		t.Helper()
		if got, err := m.Whole(log); err != nil || got != want {
			t.Fatalf("whole: %v, %v", got, err)
		}
	}
	whole(true)
	entries := []*raft.Log{
		{Index: 1, Type: raft.LogConfiguration},
		{Index: 2, Type: raft.LogNoop},
		{Index: 3, Type: raft.LogCommand, Data: Encode(&Form{Cluster: "c", Shards: 1, Factor: 1})},
		{Index: 4, Type: raft.LogCommand, Data: Encode(&Form{Cluster: "c", Shards: 1, Factor: 1})}, // refused
		{Index: 5, Type: raft.LogNoop},
	}
	if err := log.StoreLogs(entries); err != nil {
		t.Fatal(err)
	}
	whole(false)
	m.StoreConfiguration(1, raft.Configuration{})
	whole(false)
	m.Apply(entries[2])
	whole(false)
	m.Apply(entries[3])
	whole(true)
	b := snapshot(t, m)
	m = NewMachine(level.Known(), nil) // a restart; the log still has what the snapshot covers
	whole(false)
	if err := m.Restore(io.NopCloser(bytes.NewReader(b))); err != nil {
		t.Fatal(err)
	}
	whole(true)
	if err := log.StoreLog(&raft.Log{Index: 6, Type: raft.LogConfiguration}); err != nil {
		t.Fatal(err)
	}
	whole(false)
	m.StoreConfiguration(6, raft.Configuration{})
	whole(true)
	if err := log.DeleteRange(1, 6); err != nil {
		t.Fatal(err)
	}
	whole(true)
}

func TestPlacement(t *testing.T) {
	m := formed(t)
	do(m, &Enter{Identity: "a", Start: 1})
	before := m.State()
	expect(t, "place", do(m, &Place{Group: 1, Replicas: []Replica{{Node: 1}}}), Result{})
	expect(t, "stale", do(m, &Place{Group: 1, Replicas: nil}), Result{Err: ErrConflict})
	expect(t, "twice on a node", do(m, &Place{Group: 2, Replicas: []Replica{{Node: 1}, {Node: 1}}}), Result{Err: ErrInvalid})
	expect(t, "nowhere", do(m, &Place{Group: 2, Replicas: []Replica{{Node: 9}}}), Result{Err: ErrNoNode})
	if len(before.Groups) != 0 || len(m.State().Groups) != 1 {
		t.Fatal("a state was written that others hold")
	}
}

func TestSettings(t *testing.T) {
	m := formed(t)
	expect(t, "set", do(m, &Set{Name: "a", Value: "1"}), Result{})
	expect(t, "too long", do(m, &Set{Name: "b", Value: strings.Repeat("x", maxSettingBytes)}), Result{Err: ErrTooLarge})
	for i := range maxSettings - 1 {
		do(m, &Set{Name: fmt.Sprint(i), Value: "1"})
	}
	expect(t, "too many", do(m, &Set{Name: "b", Value: "1"}), Result{Err: ErrTooLarge})
	expect(t, "replaced", do(m, &Set{Name: "a", Value: "2"}), Result{})
	expect(t, "deleted", do(m, &Set{Name: "a"}), Result{})
	if n := len(m.State().Settings); n != maxSettings-1 {
		t.Fatalf("%d settings", n)
	}
}

type sink struct{ bytes.Buffer }

func (*sink) ID() string    { return "" }
func (*sink) Cancel() error { return nil }
func (*sink) Close() error  { return nil }

func snapshot(t testing.TB, m *Machine) []byte {
	t.Helper()
	s, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	var to sink
	if err := s.Persist(&to); err != nil {
		t.Fatal(err)
	}
	return to.Bytes()
}

// Random commands on two replicas, one of which is restored from snapshots of
// itself: states stay equal and sound (D6).
func TestReplicas(t *testing.T) {
	for seed := range uint64(10) {
		r := rand.New(rand.NewPCG(seed, 0))
		every := level.Span{Newest: math.MaxUint32}
		a, b := NewMachine(every, nil), NewMachine(every, nil)
		for step := range 400 {
			var c Command
			node := uint32(r.IntN(8))
			generation := a.State().Nodes[node].Generation - uint64(r.IntN(2))
			switch r.IntN(14) {
			case 13:
				raise := &Raise{Level: a.State().Level + level.Level(r.IntN(3)), Starts: map[uint32]uint64{}}
				for number, n := range a.State().Nodes {
					raise.Starts[number] = n.Start
				}
				delete(raise.Starts, uint32(r.IntN(20)))
				c = raise
			case 10, 11:
				put := &PutRecord{Kind: []Kind{KindUser, KindBan, "Bad"}[r.IntN(3)], Name: fmt.Sprint(r.IntN(6)), Value: fmt.Sprint(step)}
				if r.IntN(2) == 0 {
					put.Was = revision(r.Uint64N(8))
				}
				c = put
			case 12:
				c = &RemoveRecord{Kind: KindUser, Name: fmt.Sprint(r.IntN(6))}
			case 0:
				c = &Form{Cluster: "c", Shards: 4, Factor: 3}
			case 1, 2:
				enter := &Enter{Identity: string(rune('a' + r.IntN(6))), Start: r.Uint64N(4)}
				if r.IntN(4) > 0 {
					enter.Levels = level.Span{Oldest: level.Level(r.IntN(4)), Newest: a.State().Level + level.Level(r.IntN(9))}
				}
				c = enter
			case 3:
				c = &Admit{Node: node, Generation: generation}
			case 7:
				c = &Revoke{Node: node, Generation: generation, Released: r.IntN(2) == 0}
			case 8:
				c = &Rejoin{Node: node, Generation: generation}
			case 4:
				c = &Leave{Node: node, Stays: r.IntN(2) == 0}
			case 5:
				c = &Retire{Node: node}
			case 6:
				g := uint16(r.IntN(5))
				p := &Place{Group: g, Version: a.State().Groups[g].Version}
				for range r.IntN(3) {
					p.Replicas = append(p.Replicas, Replica{Node: uint32(r.IntN(8)), Voter: r.IntN(2) == 0})
				}
				c = p
			default:
				c = &Set{Name: fmt.Sprint(r.IntN(5)), Value: []string{"", "x"}[r.IntN(2)]}
			}
			if one, two := do(a, c), do(b, c); one != two {
				t.Fatalf("seed %d: %#v: %+v and %+v", seed, c, one, two)
			}
			if err := a.State().Check(); err != nil {
				t.Fatalf("seed %d: %#v: %v", seed, c, err)
			}
			if step%20 == 0 {
				again := NewMachine(every, nil)
				if err := again.Restore(io.NopCloser(bytes.NewReader(snapshot(t, b)))); err != nil {
					t.Fatal(err)
				}
				b = again
			}
			if a.State().Hash() != b.State().Hash() {
				t.Fatalf("seed %d: %#v: replicas part", seed, c)
			}
		}
	}
}

func TestSnapshotDamage(t *testing.T) {
	m := formed(t)
	do(m, &Enter{Identity: "a", Start: 1})
	b := snapshot(t, m)
	for i := range b {
		bad := bytes.Clone(b)
		bad[i] ^= 1
		for _, bad := range [][]byte{bad, b[:i]} {
			if err := NewMachine(level.Known(), nil).Restore(io.NopCloser(bytes.NewReader(bad))); !errors.Is(err, ErrSnapshot) {
				t.Fatalf("at %d: %v", i, err)
			}
		}
	}
}

// Entries and snapshots outlive releases: these were written by the first.
func TestFirstRelease(t *testing.T) {
	m := NewMachine(level.Known(), nil)
	for _, e := range []string{
		"\x01" + `{"name":"form","body":{"cluster":"c","shards":16,"factor":3}}`,
		"\x01" + `{"name":"enter","body":{"identity":"a","name":"n","start":1}}`,
		"\x01" + `{"name":"admit","body":{"node":1,"generation":1}}`,
		"\x01" + `{"name":"place","body":{"group":2,"version":0,"replicas":[{"node":1,"voter":true}]}}`,
		"\x01" + `{"name":"set","body":{"name":"k","value":"v"}}`,
		"\x01" + `{"name":"set-factor","body":{"factor":1}}`,
		"\x01" + `{"name":"enter","body":{"identity":"b","name":"o","start":1}}`,
		"\x01" + `{"name":"leave","body":{"node":1,"stays":false}}`,
		"\x01" + `{"name":"revoke","body":{"node":2,"generation":1,"released":false}}`,
		"\x01" + `{"name":"rejoin","body":{"node":2,"generation":1}}`,
		"\x01" + `{"name":"revoke","body":{"node":2,"generation":2,"released":true}}`,
	} {
		if res := m.Apply(&raft.Log{Index: m.State().Index + 1, Data: []byte(e)}).(Result); res.Err != nil {
			t.Fatalf("%s: %v", e, res.Err)
		}
	}
	const golden = `{"index":11,"cluster":"c","shards":16,"factor":1,"numbered":2,` +
		`"nodes":{"1":{"identity":"a","name":"n","start":1,"leaving":true,` +
		`"generation":1,"admitted":true,"revoked":false,"released":false},` +
		`"2":{"identity":"b","name":"o","start":1,"leaving":false,` +
		`"generation":2,"admitted":false,"revoked":true,"released":true}},` +
		`"groups":{"2":{"version":1,"replicas":[{"node":1,"voter":true}]}},"settings":{"k":"v"}}`
	if got := string(m.State().encode()); got != golden {
		t.Fatal(got)
	}
}

func TestUnknownStops(t *testing.T) {
	for _, e := range []string{
		"", "\x02{}", "\x01{}", "\x01" + `{"name":"x","body":{}}`, "\x01" + `{"name":"retire","body":{"node":1,"more":1}}`,
		"\x01" + `{"name":"retire","body":{"node":1}} x`,
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%q was applied", e)
				}
			}()
			NewMachine(level.Known(), nil).Apply(&raft.Log{Data: []byte(e)})
		}()
	}
}
