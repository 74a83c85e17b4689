package raftstore

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"

	"dunlin/session"
)

func TestUnknownCommandStops(t *testing.T) {
	for name, entry := range map[string][]byte{
		"unknown kind": appendCommand(appendEntryHead(nil, 5), kindForget+1, nil),
		"transient":    appendCommand(appendEntryHead(nil, 5), kindTransient, nil),
		"no kind":      appendCommand(appendEntryHead(nil, 5), 0, nil),
		"cut command":  appendCommand(appendEntryHead(nil, 5), kindClaim, []byte{200}),
		"version":      {entryVersion + 1, 5},
		"empty":        {},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if r, _ := recover().(string); !strings.HasPrefix(r, "raftstore:") {
					t.Errorf("recovered %q", r)
				}
			}()
			newState(0).apply(entry, nil)
			t.Error("applied")
		})
	}
}

func TestShardTimeMovesForwardOnly(t *testing.T) {
	st := newState(0)
	for _, c := range []struct{ entry, want session.Time }{{5, 5}, {3, 5}, {9, 9}} {
		st.apply(appendEntryHead(nil, c.entry), nil)
		expect(t, "time", st.now, c.want)
	}
}

// FuzzApply gives a shard entries that never went through Submit. It may stop
// only as apply says, and what it does not refuse leaves a sound state.
func FuzzApply(f *testing.F) {
	for seed := range uint64(4) {
		in := &inputs{Rand: rand.New(rand.NewPCG(seed, 0)), epochs: map[string][]session.Epoch{}}
		b := appendEntryHead(nil, 7)
		for range 12 {
			if k, body := in.command(0).encode(nil, func() session.Time { return 0 }); k != kindTransient {
				b = appendCommand(b, k, body)
			}
		}
		f.Add(b)
	}
	snapshot := snapshotOf(f, populated(1, 100))
	f.Fuzz(func(t *testing.T, entry []byte) {
		st, err := restoreState(0, bytes.NewReader(snapshot))
		if err != nil {
			t.Fatal(err)
		}
		st.fx.leads = true
		refused := func() (refused bool) {
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
		}()
		if refused {
			return
		}
		if err := st.check(); err != nil {
			t.Fatal(err)
		}
	})
}
