package load

import (
	"math/rand/v2"
	"testing"
)

// deliverAll hands numbers to one subscriber of a ledger, in order.
func deliverAll(t *testing.T, l *ledger, subscriber, stream int, numbers ...uint64) (passed int) {
	t.Helper()
	for _, n := range numbers {
		p, ok := l.deliver(subscriber, stream, n)
		if !ok {
			t.Fatalf("message %d of stream %d is none of subscriber %d's", n, stream, subscriber)
		}
		passed += p
	}
	return passed
}

// TestLedgerFindsWhatWasPlanted: loss, repetition and wrong order, each alone and
// together.
func TestLedgerFindsWhatWasPlanted(t *testing.T) {
	for _, c := range []struct {
		name                         string
		numbers                      []uint64
		fresh, duplicates, reordered uint64
	}{
		{"all well", []uint64{0, 1, 2, 3}, 4, 0, 0},
		{"lost", []uint64{0, 2, 3}, 3, 0, 0},
		{"twice", []uint64{0, 1, 1, 2}, 3, 1, 0},
		{"twice, later", []uint64{0, 1, 2, 0}, 3, 1, 0},
		{"swapped", []uint64{0, 2, 1, 3}, 4, 0, 1},
		{"swapped and twice", []uint64{0, 2, 1, 1, 3}, 4, 1, 1},
		{"in the middle of a gap", []uint64{0, 9, 5, 5, 4, 6, 1, 8, 2, 3, 7}, 10, 1, 8},
		{"the first is lost", []uint64{1, 2}, 2, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, s := range []spread{pairs, every, shared} {
				l := newLedger(s, 5, 2, 7)
				passed := deliverAll(t, l, 6, 6, c.numbers...)
				reordered := c.reordered
				if s == shared { // between members there is no order
					reordered = 0
				}
				if l.fresh != c.fresh || l.duplicates != c.duplicates || l.reordered != reordered {
					t.Errorf("%d: %d fresh, %d twice, %d out of order", s, l.fresh, l.duplicates, l.reordered)
				}
				if s != shared && passed != int(c.numbers[len(c.numbers)-1])+1 && c.name[0] != 't' && c.name[0] != 'i' {
					t.Errorf("%d passed", passed)
				}
			}
		})
	}
}

// TestLedgerKnowsWhoseMessagesAreWhose: streams and subscribers are apart.
func TestLedgerKnowsWhoseMessagesAreWhose(t *testing.T) {
	p := newLedger(pairs, 10, 5, 20)
	if _, ok := p.deliver(11, 12, 0); ok {
		t.Error("a message of another pair is taken")
	}
	if _, ok := p.deliver(11, 20, 0); ok {
		t.Error("a stream that does not exist is taken")
	}
	e := newLedger(every, 10, 5, 3)
	for s := range 5 {
		for stream := range 3 {
			deliverAll(t, e, 10+s, stream, 0, 1)
		}
	}
	if e.fresh != 30 || e.duplicates+e.reordered != 0 {
		t.Errorf("%d fresh, %d twice, %d out of order", e.fresh, e.duplicates, e.reordered)
	}
	g := newLedger(shared, 0, 5, 1)
	deliverAll(t, g, 0, 0, 0, 2)
	deliverAll(t, g, 1, 0, 1, 2)
	if g.fresh != 3 || g.duplicates != 1 {
		t.Errorf("%d fresh, %d twice", g.fresh, g.duplicates)
	}
}

// TestLedgerAgainstASet compares it with a set of all numbers.
func TestLedgerAgainstASet(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		l, s := newLedger(pairs, 0, 1, 1), newLedger(shared, 0, 1, 1)
		came := map[uint64]bool{}
		var most, duplicates, reordered uint64
		for range 300 {
			n := uint64(r.IntN(200))
			switch {
			case came[n]:
				duplicates++
			case n < most:
				reordered++
			}
			came[n] = true
			most = max(most, n)
			deliverAll(t, l, 0, 0, n)
			deliverAll(t, s, 0, 0, n)
		}
		if l.fresh != uint64(len(came)) || l.duplicates != duplicates || l.reordered != reordered {
			t.Fatalf("%d fresh, %d twice, %d out of order; want %d, %d, %d", l.fresh, l.duplicates, l.reordered, len(came), duplicates, reordered)
		}
		if s.fresh != uint64(len(came)) || s.duplicates != duplicates {
			t.Fatalf("shared: %d fresh, %d twice; want %d, %d", s.fresh, s.duplicates, len(came), duplicates)
		}
	}
}

// TestLedgerIsBounded: nothing that comes makes it grow without end.
func TestLedgerIsBounded(t *testing.T) {
	l, s := newLedger(pairs, 0, 1, 1), newLedger(shared, 0, 1, 1)
	for n := uint64(0); n < 3*maxGaps; n += 2 {
		deliverAll(t, l, 0, 0, n)
		deliverAll(t, s, 0, 0, n)
	}
	if l.open > maxGaps || len(l.gaps[0]) > maxGaps {
		t.Errorf("%d gaps", l.open)
	}
	deliverAll(t, s, 0, 0, 1) // too late to tell
	if s.duplicates != 1 {
		t.Errorf("%d twice", s.duplicates)
	}
}

// TestStamp: what is put is read, and time wraps.
func TestStamp(t *testing.T) {
	b := make([]byte, MinSize)
	for _, s := range []stamp{
		{}, {tag: 0xffff, stream: maxStreams - 1, number: maxNumber - 1, due: 1<<dueBits - 1}, {tag: 1, stream: 2, number: 3 << 17, due: 4},
	} {
		s.put(b)
		if got := readStamp(b); got != s {
			t.Errorf("%+v instead of %+v", got, s)
		}
	}
	const due = 7<<dueBits - 3
	stamp{due: due}.put(b)
	if d := readStamp(b).since(due + 10); d != 10 {
		t.Errorf("%d", d)
	}
	if d := readStamp(b).since(due - 10); d != -10 {
		t.Errorf("%d", d)
	}
}
