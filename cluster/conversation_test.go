package cluster

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"dunlin/proto/clusterpb"
)

// An outbox and an inbox, joined by streams that break at any moment and lose
// what is on them in both directions, against what Forward promises: every
// reliable frame is accepted once, in order, and confirmed once it is done;
// unless the inbox is forgotten, when what is not confirmed may be lost.
func TestConversationAgainstModel(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 1))
		forgets := seed%3 == 0
		o := DefaultOptions()
		number := uint64(0)
		numbers := func() uint64 { number++; return number }
		ob := newOutbox(numbers(), o, new(buffers))
		in := &inbox{numbers: numbers}

		var (
			accepted  []uint64           // numbers, in order
			dones     []func()           // not called yet
			settled   = map[Token]bool{} // token, lost
			sent      uint64             // numbers given to Forward
			stream    *inStream
			up        [][]byte // batches on their way
			down      []span
			unwritten []outgoing
			fresh     uint64 // numbers below it were put before a loss (P7)
		)
		settle := func(tokens []Token, lost bool) {
			for _, tk := range tokens {
				if _, ok := settled[tk]; ok {
					t.Fatalf("seed %d: token %d settled twice", seed, tk)
				}
				settled[tk] = lost
				if lost && !forgets {
					t.Fatalf("seed %d: token %d lost", seed, tk)
				}
			}
		}
		deliver := func(body []byte, done func()) {
			number := binary.LittleEndian.Uint64(body)
			if number < fresh {
				t.Fatalf("seed %d: %d overtakes one that is lost", seed, number)
			}
			accepted = append(accepted, number)
			dones = append(dones, done)
		}
		breakStream := func() {
			if stream != nil {
				ob.detach(unwritten)
				stream, up, down, unwritten = nil, nil, nil, nil
			}
		}
		connect := func() {
			breakStream()
			h := &clusterpb.Hello{}
			h.Sender, h.Receiver = ob.conversation()
			var w clusterpb.Welcome
			st := in.attach(h, &w)
			if r.IntN(4) == 0 {
				return // the Welcome is lost
			}
			if st == nil {
				if lost := ob.restart(numbers()); len(lost) > 0 {
					settle(lost, true)
					fresh = sent
				}
				return
			}
			if _, ok := ob.attach(w.Receiver, w.Accepted, 1<<10); !ok {
				t.Fatalf("seed %d: the inbox accepted more than was sent", seed)
			}
			stream = st
		}
		step := func(k int) {
			switch k {
			case 0, 1:
				b := binary.LittleEndian.AppendUint64(nil, sent)
				if !ob.put(Frame{Body: b, Reliable: true, Token: Token(sent)}) {
					t.Fatal("not taken")
				}
				sent++
			case 2, 3: // write some
				if stream == nil {
					connect()
					return
				}
				items := append(slices.Clone(unwritten), ob.take(nil)...)
				n := r.IntN(len(items) + 1)
				var b []byte
				for _, it := range items[:n] {
					b = appendFrame(b, frame{kind: frameRecords, reliable: true, seq: it.seq, body: it.body})
					ob.wrote(it.seq)
				}
				up, unwritten = append(up, b), items[n:]
			case 4, 5: // receive some
				if len(up) == 0 {
					return
				}
				b := &batch{data: up[0]}
				up = up[1:]
				if err := b.each(1<<10, func(f frame) error { return in.accept(stream, f, deliver) }); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
			case 6: // done with any
				if len(dones) > 0 {
					i := r.IntN(len(dones))
					dones[i]()
					dones = slices.Delete(dones, i, i+1)
				}
			case 7:
				if stream != nil {
					down = append(down, in.take(stream, nil)...)
				}
			case 8:
				for _, s := range down {
					tokens, ok := ob.confirm(s, nil)
					if !ok {
						t.Fatalf("seed %d: confirmed what was not sent", seed)
					}
					settle(tokens, false)
				}
				down = nil
			case 9:
				if r.IntN(4) == 0 {
					breakStream()
				}
			case 10:
				if forgets && r.IntN(20) == 0 {
					breakStream()
					in = &inbox{numbers: numbers}
				}
			}
			ob.check()
		}
		for range 2000 {
			step(r.IntN(11))
		}
		for i := 0; len(settled) < int(sent); i++ {
			if i > 1_000_000 {
				t.Fatalf("seed %d: %d of %d settled", seed, len(settled), sent)
			}
			step(2 + i%7)
		}
		for i := 1; i < len(accepted); i++ {
			if accepted[i] <= accepted[i-1] {
				t.Fatalf("seed %d: %d accepted after %d", seed, accepted[i], accepted[i-1])
			}
		}
		if !forgets && len(accepted) != int(sent) {
			t.Fatalf("seed %d: %d of %d accepted", seed, len(accepted), sent)
		}
		if b, n := ob.unconfirmed(); b != 0 || n != 0 {
			t.Fatalf("seed %d: %d bytes of %d frames held at the end", seed, b, n)
		}
	}
}

func TestOutboxRefusesFalseConfirmations(t *testing.T) {
	ob := newOutbox(1, DefaultOptions(), new(buffers))
	if _, ok := ob.attach(2, 1, 1<<10); ok {
		t.Error("accepted before it was sent")
	}
	ob.put(Frame{Body: []byte("x"), Reliable: true})
	if _, ok := ob.confirm(span{1, 1}, nil); ok {
		t.Error("confirmed before it was sent")
	}
}

func TestInboxRefusesGaps(t *testing.T) {
	in := &inbox{numbers: func() uint64 { return 1 }}
	st := in.attach(&clusterpb.Hello{Sender: 1}, new(clusterpb.Welcome))
	for _, seq := range []uint64{0, 2} {
		if err := in.accept(st, frame{kind: frameRecords, reliable: true, seq: seq}, nil); err == nil {
			t.Errorf("took %d first", seq)
		}
	}
}
