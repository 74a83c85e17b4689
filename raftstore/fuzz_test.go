package raftstore

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"dunlin/session"
)

// FuzzApply gives two replicas, of which one leads, entries that never went through
// Submit. They may stop only as apply says, and alike; what they do not refuse leaves
// sound states that are the same, as is one that is restored from either (D6).
func FuzzApply(f *testing.F) {
	for seed := range uint64(4) {
		in := &inputs{Rand: rand.New(rand.NewPCG(seed, 0)), epochs: map[string][]session.Epoch{}}
		b := appendEntryHead(nil, entryHead{time: 7})
		for range 12 {
			if k, body := in.command(0).encode(nil, func() session.Time { return 0 }); k != kindTransient {
				b = appendCommand(b, k, body)
			}
		}
		f.Add(b)
	}
	addEveryKind(f)
	snapshot := snapshotOf(f, populated(1, 100))
	f.Fuzz(func(t *testing.T, entry []byte) {
		var replicas [2]*state
		var refused [2]bool
		for i := range replicas {
			st := restored(t, snapshot)
			st.fx.leads = i == 0
			took := allocated(func() { refused[i] = applied(st, entry) })
			if bound := 8<<20 + 64*uint64(len(entry)); took > bound {
				t.Errorf("an entry of %d bytes took %d bytes of memory", len(entry), took)
			}
			replicas[i] = st
		}
		if refused[0] != refused[1] {
			t.Fatalf("one replica stops, the other does not: %v", refused)
		}
		if refused[0] {
			return
		}
		one, other := replicas[0], replicas[1]
		again := restored(t, snapshotOf(t, one))
		for _, entry := range [][]byte{nil, appendEntryHead(nil, entryHead{time: one.now + session.Seconds(100)})} {
			for _, st := range []*state{one, other, again} {
				if entry != nil && applied(st, entry) {
					t.Fatal("an empty entry is refused")
				}
				if err := st.check(); err != nil {
					t.Fatal(err)
				}
				if st.hash() != one.hash() {
					t.Fatal("replicas part")
				}
			}
		}
	})
}

// addEveryKind adds each command of the first release's entry, as a proposer's.
func addEveryKind(f *testing.F) {
	all, err := hex.DecodeString(firstRelease)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(all)
	head, r := openEntry(all)
	s := source{node: 2, start: 3, low: 4}
	var seen [kindDelivered + 1]bool
	for len(r.b) > 0 {
		k, body := r.command()
		seen[k] = true
		b := appendEntryHead(nil, head)
		if k.numbered() && k != kindFrom {
			b = appendCommand(b, kindFrom, s.encode(nil, 5))
		}
		f.Add(appendCommand(b, k, body.b))
	}
	for k, there := range seen[1:] {
		if !there {
			f.Errorf("no seed has a command of kind %d", k+1)
		}
	}
}

func restored(t testing.TB, snapshot []byte) *state {
	t.Helper()
	st, err := restoreState(0, bytes.NewReader(snapshot))
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// applied applies an entry and says whether it was refused, as only a panic of apply says.
func applied(st *state, entry []byte) (refused bool) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case string:
			if refused = strings.HasPrefix(r, "raftstore: shard 0"); !refused {
				panic(r)
			}
		default:
			panic(r)
		}
	}()
	st.apply(entry, nil)
	return false
}

// allocated is how many bytes f takes from the heap, whether it gives them back or not.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// FuzzRestore reads snapshots whose bytes are any, and whose checksums are right or wrong:
// they are refused or good, and take memory in proportion.
func FuzzRestore(f *testing.F) {
	for seed := range uint64(2) {
		f.Add(snapshotOf(f, populated(seed, 40)), seed == 0)
	}
	f.Add(snapshotOf(f, newState(0)), true)
	f.Add([]byte{byte(sectionHead), 0xFF, 0xFF, 0xFF, 0xFF}, true)
	f.Fuzz(func(t *testing.T, b []byte, mend bool) {
		if mend {
			b = mended(b)
		}
		var st *state
		var err error
		took := allocated(func() { st, err = restoreState(0, bytes.NewReader(b)) })
		if bound := 1<<20 + 1024*uint64(len(b)); took > bound {
			t.Errorf("a snapshot of %d bytes took %d bytes of memory", len(b), took)
		}
		if err != nil {
			if !errors.Is(err, ErrSnapshot) {
				t.Errorf("refused with %v", err)
			}
			return
		}
		if err := st.check(); err != nil {
			t.Fatal(err)
		}
		if again := restored(t, snapshotOf(t, st)); again.hash() != st.hash() {
			t.Fatal("differs after a round trip")
		}
	})
}

// mended is b with right checksums of all chunks that are whole.
func mended(b []byte) []byte {
	b = bytes.Clone(b)
	for rest := b; len(rest) >= chunkHead; {
		n := uint64(binary.BigEndian.Uint32(rest[1:]))
		if n > uint64(len(rest)-chunkHead) {
			break
		}
		binary.BigEndian.PutUint64(rest[5:], checksum(section(rest[0]), rest[chunkHead:chunkHead+n]))
		rest = rest[chunkHead+n:]
	}
	return b
}
