package raftstore

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"dunlin/session"
)

// FuzzFrame gives a leader frames of other nodes: what is taken can be put into
// an entry, what is not says so.
func FuzzFrame(f *testing.F) {
	for seed := range uint64(3) {
		in := &inputs{Rand: rand.New(rand.NewPCG(seed, 0)), epochs: map[string][]session.Epoch{}}
		one := frame{first: seed}
		for range 5 {
			k, body := in.command(0).encode(nil, func() session.Time { return 0 })
			one.commands = appendCommand(one.commands, k, body)
		}
		f.Add(one.encode(source{node: 2, start: 3, low: 1}))
	}
	f.Add((&RetainedQuery{Filter: filter("a/#"), Cursor: "a/b", AsOf: 7, MaxMessages: 3, MaxBytes: 99}).encode(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		sh := newManual(DefaultOptions())
		sh.leading.Store(true)
		s := &Store{shards: []*shard{sh.shard}}
		answered := false
		s.Serve(0, b, func(answer []byte) {
			r := reader{b: answer}
			if _, whole := r.answer(0); whole || r.err != nil {
				t.Error("a frame was answered that nobody worked off")
			}
			answered = true
		})
		if n := len(sh.inbox.items); answered != (n == 0) {
			t.Fatalf("answered %t, %d taken", answered, n)
		}
		for i := range sh.inbox.items {
			if it := &sh.inbox.items[i]; it.from > it.to || it.to > len(sh.inbox.bodies) {
				t.Fatalf("command %d is %d to %d of %d bytes", i, it.from, it.to, len(sh.inbox.bodies))
			}
		}
	})
}

// FuzzAnswer reads answers of leaders; what is read is written alike again.
func FuzzAnswer(f *testing.F) {
	w := Resumed{Delivery: Delivery{Index: 7, Message: publish("a", "x", 1), QoS: 1, Retain: true, IDs: []uint32{3}}}
	f.Add(appendAnswer(nil, []Result{
		{Err: ErrQuota, Index: 5}, {Seq: 1, Low: 1, Known: true}, {Existed: []bool{true, false}}, {Dropped: 2},
		{Claim: Claimed{Epoch: 4, Present: true, Origin: 8, Inbound: []uint16{1}, Window: []Resumed{w},
			Subscriptions: []Subscription{subscription("a/#", 2)}}},
	}, true))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := reader{b: b}
		results, whole := r.answer(0)
		if !whole {
			return
		}
		one := appendAnswer(nil, results, true)
		again := reader{b: one}
		results, whole = again.answer(0)
		if two := appendAnswer(nil, results, true); !whole || !bytes.Equal(one, two) {
			t.Fatalf("%x became %x", one, two)
		}
	})
}
