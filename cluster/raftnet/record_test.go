package raftnet

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// row is n records of various sizes.
func row(rnd *rand.Rand, n int) (b []byte, rs []record) {
	for range n {
		r := record{
			kind:    1 + kind(rnd.IntN(int(kinds)-1)),
			group:   uint16(rnd.Uint32()),
			id:      rnd.Uint32(),
			payload: bytes.Repeat([]byte{byte(rnd.Uint32())}, rnd.IntN(1<<rnd.IntN(10))),
		}
		if r.kind == kindAsk || r.kind == kindPush {
			r.ask = uint8(rnd.Uint32())
		}
		start := len(b)
		b = append(openRecord(b, r.kind, r.ask, r.group, r.id), r.payload...)
		closeRecord(b, start)
		rs = append(rs, r)
	}
	return b, rs
}

func TestRecordsSurviveAnyCut(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	for range 300 {
		b, want := row(rnd, 30)
		a := assembler{bound: 1 << 20}
		var got []record
		for most := 1 + rnd.IntN(600); len(b) > 0; {
			n := min(rnd.IntN(most)+1, len(b))
			piece := bytes.Clone(b[:n])
			err := a.add(piece, func(r record) error {
				r.payload = bytes.Clone(r.payload)
				got = append(got, r)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			clear(piece) // it was borrowed
			b = b[n:]
		}
		if len(a.tail) != 0 {
			t.Fatalf("%d bytes left", len(a.tail))
		}
		if len(got) != len(want) {
			t.Fatalf("%d records of %d", len(got), len(want))
		}
		for i := range want {
			if g, w := got[i], want[i]; g.kind != w.kind || g.ask != w.ask || g.group != w.group || g.id != w.id ||
				!bytes.Equal(g.payload, w.payload) {
				t.Fatalf("record %d is %v, not %v", i, g, w)
			}
		}
	}
}

func TestRecordOutOfBounds(t *testing.T) {
	good, _ := row(rand.New(rand.NewPCG(1, 1)), 1)
	for name, spoil := range map[string]func(b []byte){
		"kind 0":       func(b []byte) { b[0] = 0 },
		"unknown kind": func(b []byte) { b[0] = byte(kinds) },
		"ask":          func(b []byte) { b[0], b[1] = byte(kindVote), 1 },
		"length":       func(b []byte) { b[7] = 255 },
	} {
		b := bytes.Clone(good)
		spoil(b)
		a := assembler{bound: 1 << 20}
		// Also byte by byte: the bound holds before memory is taken.
		var err error
		for i := 0; i < len(b) && err == nil; i++ {
			err = a.add(b[i:i+1], func(record) error { return nil })
		}
		if !errors.Is(err, ErrMalformed) || cap(a.tail) > 1<<10 {
			t.Errorf("%s: %v, %d bytes", name, err, cap(a.tail))
		}
	}
}

// messages is one of each of Raft's, and how it is packed and read.
func messages() map[string]struct {
	packed []byte
	want   any
	read   func([]byte) (any, error)
} {
	h := raft.RPCHeader{ProtocolVersion: 3, ID: []byte("n1"), Addr: []byte("n1")}
	type m = struct {
		packed []byte
		want   any
		read   func([]byte) (any, error)
	}
	app := &raft.AppendEntriesRequest{
		RPCHeader: h, Term: 7, PrevLogEntry: 1 << 40, PrevLogTerm: 6, LeaderCommitIndex: 1<<40 - 3,
		Entries: []*raft.Log{
			{Index: 1<<40 + 1, Term: 6, Type: raft.LogCommand, Data: []byte("one"), AppendedAt: time.Unix(1e9, 5)},
			{Index: 1<<40 + 2, Term: 7, Type: raft.LogNoop, AppendedAt: time.Unix(1e9, 1)},
			{Index: 1<<40 + 3, Term: 7, Type: raft.LogConfiguration, Data: []byte("c"), Extensions: []byte("x")},
		},
	}
	beat := &raft.AppendEntriesRequest{RPCHeader: h, Term: 7}
	appReply := &raft.AppendEntriesResponse{RPCHeader: h, Term: 9, LastLog: 300, NoRetryBackoff: true}
	vote := &raft.RequestVoteRequest{RPCHeader: h, Term: 2, LastLogIndex: 3, LastLogTerm: 1, LeadershipTransfer: true}
	pre := &raft.RequestPreVoteRequest{RPCHeader: h, Term: 2, LastLogIndex: 3, LastLogTerm: 1}
	voteReply := &raft.RequestVoteResponse{RPCHeader: h, Term: 5, Granted: true}
	install := &raft.InstallSnapshotRequest{
		RPCHeader: h, SnapshotVersion: 1, Term: 4, Leader: h.Addr, LastLogIndex: 9, LastLogTerm: 3,
		Configuration: []byte("conf"), ConfigurationIndex: 8, Size: 1 << 33,
	}
	return map[string]m{
		"append":    {appendAppend(nil, app), app, func(b []byte) (any, error) { return readAppend(b, "n1") }},
		"heartbeat": {appendAppend(nil, beat), beat, func(b []byte) (any, error) { return readAppend(b, "n1") }},
		"append reply": {appendAppendReply(nil, appReply), appReply, func(b []byte) (any, error) {
			var a raft.AppendEntriesResponse
			err := readAppendReply(b, "n1", &a)
			return &a, err
		}},
		"vote":     {appendVote(nil, vote), vote, func(b []byte) (any, error) { return readVote(b, "n1") }},
		"pre-vote": {appendPreVote(nil, pre), pre, func(b []byte) (any, error) { return readPreVote(b, "n1") }},
		"vote reply": {appendGranted(nil, 3, 5, true), voteReply, func(b []byte) (any, error) {
			var v raft.RequestVoteResponse
			var err error
			v.RPCHeader, v.Term, v.Granted, err = readGranted(b, "n1")
			return &v, err
		}},
		"timeout now": {appendVersion(nil, h), h, func(b []byte) (any, error) { return readVersion(b, "n1") }},
		"snapshot":    {appendInstall(nil, install), install, func(b []byte) (any, error) { return readInstall(b, "n1") }},
		"report": {appendReport(nil, report{group: 9, leader: "n2", term: 4, last: position{3, 77}}),
			report{group: 9, leader: "n2", term: 4, last: position{3, 77}}, func(b []byte) (any, error) {
				r, rest, err := readReport(b)
				if err == nil && len(rest) > 0 {
					err = malformed("rest")
				}
				return r, err
			}},
	}
}

func TestRaftMessagesGoThrough(t *testing.T) {
	for name, m := range messages() {
		got, err := m.read(m.packed)
		if err != nil || !reflect.DeepEqual(got, m.want) {
			t.Errorf("%s: %v\n got %+v\nwant %+v", name, err, got, m.want)
		}
		for i := range m.packed {
			if _, err := m.read(m.packed[:i]); !errors.Is(err, ErrMalformed) {
				t.Errorf("%s cut at %d: %v", name, i, err)
			}
		}
		if _, err := m.read(append(bytes.Clone(m.packed), 1)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s with a byte more: %v", name, err)
		}
	}
	var a raft.AppendEntriesRequest
	a.Entries = []*raft.Log{{Index: 1, Data: []byte("x")}}
	if size, got := sizeAppend(&a), len(appendAppend(nil, &a)); got > size {
		t.Errorf("%d bytes are more than %d", got, size)
	}
}

func TestShorten(t *testing.T) {
	for _, c := range []struct {
		sizes []int
		want  int
	}{
		{nil, 0},
		{[]int{10 << 20}, 1}, // one goes however large
		{[]int{10, 10 << 20, 10}, 1},
		{[]int{400 << 10, 400 << 10, 400 << 10}, 2},
		{[]int{1, 2, 3}, 3},
	} {
		var a raft.AppendEntriesRequest
		for _, n := range c.sizes {
			a.Entries = append(a.Entries, &raft.Log{Data: make([]byte, n)})
		}
		if shorten(&a); len(a.Entries) != c.want {
			t.Errorf("%v: %d entries", c.sizes, len(a.Entries))
		}
	}
}

// FuzzStream feeds the bytes of a peer's stream, cut at at, and reads whatever
// they say: an error at worst, memory in proportion, and what is read of Raft's
// messages packs to what reads the same.
func FuzzStream(f *testing.F) {
	b, _ := row(rand.New(rand.NewPCG(1, 1)), 5)
	f.Add(b, 7)
	at := 0
	for _, m := range messages() {
		at++
		for k := kindBeat; k < kinds; k++ {
			f.Add(closeRecord(append(openRecord(nil, k, 0, 1, 2), m.packed...), 0), at)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, at int) {
		a := assembler{bound: 1 << 20}
		at = max(0, min(at, len(b)))
		read := func(r record) error {
			own := bytes.Clone(r.payload)
			switch r.kind {
			case kindAppend, kindHeartbeat:
				m, err := readAppend(own, "p")
				if err != nil {
					return err
				}
				again, err := readAppend(appendAppend(nil, m), "p")
				if err != nil || again.Term != m.Term || len(again.Entries) != len(m.Entries) {
					t.Errorf("%+v reads as %+v, %v", m, again, err)
				}
			case kindVote:
				_, _ = readVote(own, "p")
			case kindPreVote:
				_, _ = readPreVote(own, "p")
			case kindTimeoutNow:
				_, _ = readVersion(own, "p")
			case kindSnapshot:
				_, _ = readInstall(own, "p")
			case kindReply:
				_ = readAppendReply(own, "p", new(raft.AppendEntriesResponse))
				_, _, _, _ = readGranted(own, "p")
			case kindBeat:
				for len(own) > 0 {
					var err error
					if _, own, err = readReport(own); err != nil {
						return err
					}
				}
			}
			return nil
		}
		if a.add(b[:at], read) == nil {
			_ = a.add(b[at:], read)
		}
		if cap(a.tail) > 4*len(b)+64 {
			t.Errorf("%d bytes kept of %d", cap(a.tail), len(b))
		}
	})
}
