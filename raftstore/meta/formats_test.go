package meta

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"dunlin/raftstore/formattest"
	"dunlin/raftstore/level"
)

var update = flag.Bool("update", false, "make the fixture "+newestFixture)

// newestFixture is the fixture that -update makes; it has every command.
const newestFixture = "v1.2"

// everyCommand leads to a state with something in every field.
var everyCommand = []Command{
	&Form{Cluster: "0123456789abcdef0123456789abcdef", Shards: 16, Factor: 3},
	&Enter{Identity: "1111111111111111", Name: "n1", Start: 1},
	&Enter{Identity: "2222222222222222", Name: "n2", Start: 4},
	&Enter{Identity: "3333333333333333", Name: "n3", Start: 2},
	&Enter{Identity: "4444444444444444", Name: "n4", Start: 1},
	&Admit{Node: 1, Generation: 1},
	&Admit{Node: 2, Generation: 1},
	&Admit{Node: 3, Generation: 1},
	&Revoke{Node: 2, Generation: 1},
	&Rejoin{Node: 2, Generation: 1},
	&Revoke{Node: 3, Generation: 1, Released: true},
	&Place{Group: 0, Version: 0, Replicas: []Replica{{Node: 1, Voter: true}, {Node: 2, Voter: true}, {Node: 3, Voter: true}}},
	&Place{Group: 3, Version: 0, Replicas: []Replica{{Node: 1, Voter: true}}},
	&Place{Group: 3, Version: 1, Replicas: []Replica{{Node: 1, Voter: true}, {Node: 2}}},
	&Set{Name: "kept", Value: "value"},
	&Set{Name: "deleted", Value: "value"},
	&Set{Name: "deleted"},
	&SetFactor{Factor: 5},
	&Leave{Node: 3},
	&Leave{Node: 2},
	&Leave{Node: 2, Stays: true},
	&Retire{Node: 4},
	&Retire{Node: 1},
	&PutRecord{Kind: KindUser, Name: "bob", Value: "first"},
	&PutRecord{Kind: KindUser, Name: "ann", Value: "<a & \"b\">\n"},
	&PutRecord{Kind: KindUser, Name: "bob", Value: "second", Was: revision(1)},
	&PutRecord{Kind: KindUser, Name: "gone", Value: "", Was: revision(0)},
	&PutRecord{Kind: KindRules, Name: "rules", Value: "rules: []"},
	&RemoveRecord{Kind: KindUser, Name: "gone", Was: revision(4)},
	&RemoveRecord{Kind: KindRules, Name: "rules"},
	&Raise{Level: level.NodeRelease, Starts: map[uint32]uint64{1: 1, 2: 4, 3: 2}},
	&Enter{Identity: "2222222222222222", Name: "n2", Start: 5, Release: "v1.2.3", Levels: level.Span{Oldest: level.First, Newest: level.NodeRelease}},
}

func revision(n uint64) *uint64 { return &n }

func dump(t *testing.T, m *Machine) []byte {
	t.Helper()
	b, err := json.MarshalIndent(m.State(), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(b, '\n')
}

// TestFormats reads what each version of the formats of log entries and snapshots
// wrote.
func TestFormats(t *testing.T) {
	if *update {
		m := NewMachine(level.Known(), nil)
		var entries bytes.Buffer
		var snapshot sink
		for i, c := range everyCommand {
			e := Encode(c)
			m.Apply(&raft.Log{Index: uint64(i) + 10, Data: e})
			fmt.Fprintf(&entries, "%d %s\n", e[0], e[1:])
		}
		if err := (frozen{m.State()}).Persist(&snapshot); err != nil {
			t.Fatal(err)
		}
		if err := formattest.Make(newestFixture, map[string][]byte{
			"entries.txt": entries.Bytes(), "snapshot": snapshot.Bytes(), "state.json": dump(t, m),
		}); err != nil {
			t.Fatal(err)
		}
	}
	names, err := formattest.Names()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, name := range names {
		replayed, restored := NewMachine(level.Known(), nil), NewMachine(level.Known(), nil)
		entries, err := formattest.Read(name, "entries.txt")
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(strings.TrimSpace(string(entries)), "\n") {
			version, body, _ := strings.Cut(line, " ")
			var v byte
			if _, err := fmt.Sscan(version, &v); err != nil {
				t.Fatal(err)
			}
			replayed.Apply(&raft.Log{Index: uint64(i) + 10, Data: append([]byte{v}, body...)})
			var e entry
			if err := json.Unmarshal([]byte(body), &e); err != nil {
				t.Fatal(err)
			}
			found[e.Name] = true
		}
		snapshot, err := formattest.Read(name, "snapshot")
		if err != nil {
			t.Fatal(err)
		}
		if err := restored.Restore(io.NopCloser(bytes.NewReader(snapshot))); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, m := range []*Machine{replayed, restored} {
			if err := formattest.Compare(name, "state.json", dump(t, m)); err != nil {
				t.Error(err)
			}
		}
	}
	for name := range commands {
		if !found[name] {
			t.Errorf("no fixture has the command %s: make a new one, with it", name)
		}
	}
}

// TestUnknownVersions: what a later release wrote is refused by name.
func TestUnknownVersions(t *testing.T) {
	later := Encode(&SetFactor{Factor: 3})
	later[0]++
	_, err := Decode(later)
	if want := "meta: entry: format version 2, this release reads 1"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v instead of: %s", err, want)
	}
	var b sink
	if err := (frozen{newState()}).Persist(&b); err != nil {
		t.Fatal(err)
	}
	b.Bytes()[0]++
	err = NewMachine(level.Known(), nil).Restore(io.NopCloser(&b))
	if want := "meta: bad snapshot: format version 2, this release reads 1"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v instead of: %s", err, want)
	}
}
