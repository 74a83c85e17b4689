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
		asks := len(b) > 1 && b[0] == frameVersion && b[1] == frameRead
		s.Serve(0, b, func(answer []byte) {
			r := reader{b: answer}
			if asks {
				_, _ = r.page(0) // one of what there is, or none
			} else if _, whole := r.answer(0); whole || r.err != nil {
				t.Error("a frame was answered that nobody worked off")
			}
			answered = true
		})
		sh.pages.running.Wait() // a query of what is known to be there is worked off beside
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

// Whatever Err a result may have, it comes back from the form; a number that this
// release does not know is malformed, and so is a field it does not know.
func TestResultErrorsKeepTheirNumbers(t *testing.T) {
	for _, err := range resultErrors {
		b := appendResult(nil, &Result{Err: err, Known: true, Index: 1 << 40, Seq: 2, Dropped: 3})
		r := reader{b: b}
		var got Result
		r.result(&got)
		expect(t, "Err", got.Err, err)
		expect(t, "rest", [...]any{got.Known, got.Index, got.Seq, got.Dropped, r.err, len(r.b)},
			[...]any{true, uint64(1 << 40), uint64(2), 3, nil, 0})
	}
	for name, b := range map[string][]byte{
		"a later error": {resultError, 1, byte(len(resultErrors))},
		"error 0":       {resultError, 1, 0},
		"a later field": {resultFlags + 1, 1},
	} {
		r := reader{b: b}
		var got Result
		r.result(&got)
		expect(t, name, r.err, errMalformed)
	}
}
