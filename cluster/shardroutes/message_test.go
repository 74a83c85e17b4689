package shardroutes

import (
	"bytes"
	"errors"
	"testing"

	"dunlin/cluster/feed"
	"dunlin/router"
)

// FuzzHold gives a node's bytes to one that holds something: what is no message is
// an error, and none takes away what is held but a whole copy, or a change that
// follows (case 53).
func FuzzHold(f *testing.F) {
	change := feed.AppendChange(nil, router.Change{Op: router.AddWildcard, Filter: "a/+"})
	f.Add(append(appendHold(nil, &hold{verb: verbCopy, reign: 4, last: true, version: 9}), change...))
	f.Add(append(appendHold(nil, &hold{verb: verbCopy, reign: 3, number: 1}), change...))
	f.Add(append(appendHold(nil, &hold{verb: verbChanges, reign: 3, version: 7}), change...))
	f.Add(append(appendHold(nil, &hold{verb: verbChanges, reign: 3, version: 6}), change...))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := readHold(b)
		if err != nil {
			if !errors.Is(err, errMalformed) {
				t.Fatal(err)
			}
			return
		}
		again := appendHold(nil, &m)
		for _, c := range m.changes {
			again = feed.AppendChange(again, c)
		}
		if back, err := readHold(again); err != nil || len(back.changes) != len(m.changes) || back.reign != m.reign {
			t.Fatalf("%x became %x: %v", b, again, err)
		}
		h := newHolding(router.NewTable(), 5)
		h.take(&hold{verb: verbCopy, reign: 3, last: true, version: 7,
			changes: []router.Change{{Op: router.AddWildcard, Filter: "kept/+"}}})
		said := h.take(&m)
		_, reign, version := h.state()
		switch said.verdict {
		case later, lacks, taken:
			if reign != 3 || version != 7 {
				t.Fatalf("%+v: %+v and holds version %d of %d", m, said, version, reign)
			}
		case holds:
			if reign < 3 || said.number != version {
				t.Fatalf("%+v: %+v and holds version %d of %d", m, said, version, reign)
			}
		default:
			t.Fatalf("%+v: %+v", m, said)
		}
		if h.take(&hold{verb: verbChanges, reign: 2}).verdict != later {
			t.Fatal("an earlier leader is heard")
		}
	})
}

// FuzzAnswers reads what comes back to a leader, and what nodes ask one.
func FuzzAnswers(f *testing.F) {
	f.Add(appendHeld(nil, held{holds, 1 << 40}))
	f.Add(appendQuestion(nil, question{verb: verbSynced, index: 77}))
	f.Add(appendQuestion(nil, question{verb: verbHolding, index: 77, reign: 1 << 50}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := readHeld(b); err == nil {
			if again, err := readHeld(appendHeld(nil, h)); err != nil || again != h {
				t.Fatalf("%+v became %+v, %v", h, again, err)
			}
		}
		if q, err := readQuestion(b); err == nil {
			if again, err := readQuestion(appendQuestion(nil, q)); err != nil || again != q {
				t.Fatalf("%+v became %+v, %v", q, again, err)
			}
		}
	})
}

// What a node refuses it fails, and goes on.
func TestStrangeAsksAreRefused(t *testing.T) {
	inBubble(t, func(t *testing.T) { // case 53
		w := newWorld(t, 6, 1, "a", "b")
		defer w.close()
		n := w.start("a")
		w.start("b")
		question := appendQuestion(nil, question{verb: verbSynced, index: 1})
		for _, ask := range []struct {
			kind  uint8
			group uint16
			body  []byte
		}{
			{askHold, 0, nil}, {askHold, 0, []byte{9}}, {askHold, 1, appendHold(nil, &hold{verb: verbChanges, reign: 1})},
			{askHold, 0, appendHold(nil, &hold{verb: verbSynced, reign: 1})}, {askHold, 0, bytes.Repeat([]byte{1}, maxMessage+1)},
			{askLeader, 0, nil}, {askLeader, 3, question}, {askLeader, 0, question}, {askLeader, 0, append(question, 0)},
		} {
			if answer, err := w.wires.ends["b"].Ask(t.Context(), "a", ask.group, ask.kind, ask.body); err == nil {
				t.Errorf("%+v is answered %x", ask, answer)
			}
		}
		if _, _, ok := n.Held(0); ok {
			t.Error("something is held")
		}
	})
}
