package meta

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"testing"

	"github.com/cespare/xxhash/v2"
	"github.com/hashicorp/raft"

	"dunlin/raftstore/level"
)

// every is of machines that understand whatever a fuzzer asks for.
var every = level.Span{Newest: math.MaxUint32}

// examples has a command of each kind.
func examples() []Command {
	return []Command{
		&Form{Cluster: "c", Shards: 16, Factor: 3}, &Enter{Identity: "a", Name: "n", Start: 1}, &Admit{Node: 1, Generation: 1},
		&Revoke{Node: 1, Generation: 1, Released: true}, &Rejoin{Node: 1, Generation: 1}, &Leave{Node: 1, Stays: true}, &Retire{Node: 1},
		&Place{Group: 1, Version: 2, Replicas: []Replica{{Node: 1, Voter: true}, {Node: 2}}}, &Set{Name: "a", Value: "b"}, &SetFactor{Factor: 3},
		&PutRecord{Kind: KindUser, Name: "a", Value: "b", Was: revision(0)}, &RemoveRecord{Kind: KindUser, Name: "a", Was: revision(1)},
		&Raise{Level: 2, Starts: map[uint32]uint64{1: 1, 2: 1}},
	}
}

// populated is a machine of two nodes, with something of each kind.
func populated(t testing.TB) *Machine {
	t.Helper()
	m := NewMachine(every, nil)
	for _, c := range []Command{
		&Form{Cluster: "c", Shards: 16, Factor: 3},
		&Enter{Identity: "a", Name: "n", Start: 1}, &Enter{Identity: "b", Start: 1}, &Admit{Node: 1, Generation: 1},
		&Place{Group: 1, Replicas: []Replica{{Node: 1, Voter: true}}}, &Set{Name: "a", Value: "b"},
		&PutRecord{Kind: KindUser, Name: "a", Value: "b"}, &PutRecord{Kind: KindBan, Name: "x", Value: "y"},
	} {
		if res := do(m, c); res.Err != nil {
			t.Fatalf("%#v: %v", c, res.Err)
		}
	}
	return m
}

// FuzzDecode gives two replicas entries of any bytes: what can be read is written alike
// again, has the same result for both and leaves them sound and the same, as is one that
// is restored (D6).
func FuzzDecode(f *testing.F) {
	seen := map[string]bool{}
	for _, c := range examples() {
		seen[name(c)] = true
		f.Add(Encode(c))
	}
	for name := range commands {
		if !seen[name] {
			f.Errorf("no seed has a command %s", name)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Decode(b)
		if err != nil {
			return
		}
		written := Encode(c)
		if again, err := Decode(written); err != nil || !bytes.Equal(Encode(again), written) {
			t.Fatalf("%q becomes %+v, %v", written, again, err)
		}
		one, other := populated(t), populated(t)
		index := one.State().Index + 1
		x, y := one.Apply(&raft.Log{Index: index, Data: b}).(Result), other.Apply(&raft.Log{Index: index, Data: written}).(Result)
		if x != y {
			t.Fatalf("%+v and %+v", x, y)
		}
		again := NewMachine(every, nil)
		if err := again.Restore(io.NopCloser(bytes.NewReader(snapshot(t, one)))); err != nil {
			t.Fatal(err)
		}
		for _, m := range []*Machine{one, other, again} {
			if err := m.State().Check(); err != nil {
				t.Fatal(err)
			}
			if m.State().Hash() != one.State().Hash() {
				t.Fatal("replicas part")
			}
		}
	})
}

// FuzzRestore reads snapshots of any bytes under a right checksum: they are refused, or
// good enough to be written, read again and lived with.
func FuzzRestore(f *testing.F) {
	f.Add(snapshot(f, populated(f))[snapshotHead:])
	f.Add(snapshot(f, NewMachine(every, nil))[snapshotHead:])
	f.Add([]byte(`{"records":{"user":{"revision":1,"list":[null]}},"nodes":{},"groups":{},"settings":{}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		b := binary.BigEndian.AppendUint64([]byte{snapshotVersion}, xxhash.Sum64(body))
		m := NewMachine(every, nil)
		if err := m.Restore(io.NopCloser(bytes.NewReader(append(b, body...)))); err != nil {
			if !errors.Is(err, ErrSnapshot) {
				t.Errorf("refused with %v", err)
			}
			return
		}
		again := NewMachine(every, nil)
		if err := again.Restore(io.NopCloser(bytes.NewReader(snapshot(t, m)))); err != nil {
			t.Fatal(err)
		}
		for _, c := range examples() {
			if x, y := do(m, c), do(again, c); fmt.Sprint(x) != fmt.Sprint(y) {
				t.Fatalf("%#v: %+v and %+v", c, x, y)
			}
			if err := m.State().Check(); err != nil {
				t.Fatalf("%#v: %v", c, err)
			}
		}
		if m.State().Hash() != again.State().Hash() {
			t.Fatal("replicas part")
		}
	})
}
