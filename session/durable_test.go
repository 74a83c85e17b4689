package session

import (
	"bytes"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"dunlin/proto/mqtt"
	"dunlin/router"
)

// shelf is a Bodies of messages that are all of one size, with references
// counted.
type shelf struct {
	refs      map[uint32]int
	deadlines map[uint32]Time
}

const shelfSize = 100

func newShelf() *shelf { return &shelf{refs: map[uint32]int{}, deadlines: map[uint32]Time{}} }

func (s *shelf) Size(uint32) int          { return shelfSize }
func (s *shelf) Deadline(ref uint32) Time { return s.deadlines[ref] }
func (s *shelf) Retain(ref uint32)        { s.refs[ref]++ }
func (s *shelf) Release(ref uint32) {
	if s.refs[ref]--; s.refs[ref] < 0 {
		panic("released once too often")
	} else if s.refs[ref] == 0 {
		delete(s.refs, ref)
	}
}

func attached(t testing.TB, terms Terms) *Durable {
	t.Helper()
	d := NewDurable(1)
	d.Attach(1, terms)
	return &d
}

func must(t testing.TB, d *Durable, b Bodies) {
	t.Helper()
	if err := d.Check(b); err != nil {
		t.Fatal(err)
	}
}

var roomy = Terms{Expiry: 60, Inflight: 3, MaxQueueMessages: 1 << 20, MaxQueueBytes: 1 << 30, InflightBytes: 1 << 30}

func TestWindowIndices(t *testing.T) {
	b := newShelf()
	d := attached(t, roomy)
	var sent []uint64
	fill := func() {
		for {
			o, _, ok := d.Next(1, b)
			if !ok {
				return
			}
			sent = append(sent, o.Index)
		}
	}
	for ref := range uint32(6) {
		d.Enqueue(ref, 1, false, nil, 1, b)
		fill()
	}
	if !slices.Equal(sent, []uint64{1, 2, 3}) {
		t.Fatalf("window %v", sent)
	}
	d.Ack(2, false, b) // out of order: room for one more, nothing leaves
	fill()
	d.Ack(2, false, b) // once more: frees nothing (S4)
	d.Ack(9, false, b)
	d.Ack(0, false, b)
	d.Ack(1, true, b) // PUBREC for QoS 1
	fill()
	if !slices.Equal(sent, []uint64{1, 2, 3, 4}) {
		t.Fatalf("window %v", sent)
	}
	must(t, d, b)
	var resent []uint64
	for o := range d.Window {
		resent = append(resent, o.Index)
	}
	if !slices.Equal(resent, []uint64{1, 3, 4}) {
		t.Fatalf("resends %v (S3)", resent)
	}
}

// P10: the window holds so many bytes, and one message whatever its size; what
// PUBREC is committed for holds none.
func TestWindowBytes(t *testing.T) {
	b := newShelf()
	terms := roomy
	terms.Inflight, terms.InflightBytes = 10, 3*shelfSize-1
	d := attached(t, terms)
	var sent []uint64
	fill := func() {
		for {
			o, _, ok := d.Next(1, b)
			if !ok {
				break
			}
			sent = append(sent, o.Index)
		}
		must(t, d, b)
	}
	for ref := range uint32(6) {
		d.Enqueue(ref, 2, false, nil, 1, b)
	}
	fill()
	d.Ack(2, true, b)
	fill()
	d.Ack(2, false, b) // freed before
	fill()
	if !slices.Equal(sent, []uint64{1, 2, 3}) {
		t.Fatalf("window %v", sent)
	}
	terms.InflightBytes = 1
	d.Attach(2, terms)
	d.Ack(1, false, b)
	fill()
	if len(sent) != 3 {
		t.Fatalf("window %v", sent)
	}
	d.Ack(3, false, b)
	fill()
	if !slices.Equal(sent, []uint64{1, 2, 3, 4}) {
		t.Fatalf("window %v", sent)
	}
}

// S1: one delivery that is never acknowledged keeps the window from growing to
// where two would share a packet identifier.
func TestWindowSpan(t *testing.T) {
	b := newShelf()
	d := attached(t, roomy)
	var last uint64
	for ref := range uint32(70_000) {
		d.Enqueue(ref, 1, false, nil, 1, b)
		for {
			o, _, ok := d.Next(1, b)
			if !ok {
				break
			}
			if last = o.Index; last > 1 {
				d.Ack(last, false, b)
			}
		}
	}
	if last != maxSpan {
		t.Fatalf("the window reached %d", last)
	}
	must(t, d, b)
	d.Ack(1, false, b)
	if o, _, ok := d.Next(1, b); !ok || o.Index != maxSpan+1 {
		t.Fatalf("after the acknowledgement: %+v, %t", o, ok)
	}
	must(t, d, b)
}

// S2: a committed PUBREC frees the message, and PUBCOMP the index.
func TestReceivedHoldsNoMessage(t *testing.T) {
	b := newShelf()
	d := attached(t, roomy)
	d.Enqueue(7, 2, true, []uint32{4, 5}, 1, b)
	o, _, _ := d.Next(1, b)
	if o.QoS != 2 || !o.Retain || !slices.Equal(o.IDs, []uint32{4, 5}) {
		t.Fatalf("%+v", o)
	}
	if !d.Ack(1, true, b) || len(b.refs) != 0 {
		t.Fatalf("holds %v", b.refs)
	}
	must(t, d, b)
	d.Ack(1, true, b) // a second PUBREC changes nothing
	for o := range d.Window {
		if !o.Received || o.Index != 1 {
			t.Fatalf("%+v", o)
		}
	}
	if !d.Ack(1, false, b) || d.Ack(1, false, b) {
		t.Fatal("PUBCOMP counts once")
	}
	must(t, d, b)
}

// S5: what is in the window is neither dropped nor expires.
func TestWindowIsNeverDropped(t *testing.T) {
	b := newShelf()
	terms := roomy
	terms.Inflight, terms.MaxQueueMessages, terms.DropOldest = 1, 2, true
	d := attached(t, terms)
	for ref := range uint32(10) {
		b.deadlines[ref] = 100
		d.Enqueue(ref, 1, false, nil, 1, b)
		d.Next(1, b)
	}
	if len(b.refs) != 3 || b.refs[0] != 1 || b.refs[8] != 1 || b.refs[9] != 1 {
		t.Fatalf("holds %v", b.refs)
	}
	if due := d.Due(); due != 100 {
		t.Fatalf("due at %d", due)
	}
	if _, _, dropped := d.Expire(100, b); dropped != 2 || b.refs[0] != 1 {
		t.Fatalf("dropped %d, holds %v", dropped, b.refs)
	}
	must(t, d, b)
}

func TestInboundIdentifiers(t *testing.T) {
	d := attached(t, roomy)
	for id := range uint16(5) {
		if seq, known, ok := d.Receive(id + 1); seq != uint64(id+1) || known || !ok {
			t.Fatal(seq, known, ok)
		}
	}
	if seq, known, _ := d.Receive(3); seq != 3 || !known {
		t.Fatal("a resend has the number of the first (R1)")
	}
	d.Release(1)
	d.Release(2)
	if d.Low() != 3 || d.Release(2) {
		t.Fatal(d.Low())
	}
	// One identifier that is never released stops the client in the end.
	refused := false
	for range maxInboundSpan + 1 {
		if _, _, ok := d.Receive(9); !ok {
			refused = true
			break
		}
		d.Release(9)
	}
	if !refused {
		t.Error("numbers lie apart without bound (R2)")
	}
	must(t, d, newShelf())
}

// durableSteps has random bytes choose what is done to a session, and holds it
// to its invariants and to its own snapshots after each step.
func durableSteps(t *testing.T, steps []byte) {
	steps = steps[:min(len(steps), 4000)]
	b := newShelf()
	d := attached(t, roomy)
	now, epoch, ref := Time(1), Epoch(1), uint32(0)
	filters := []string{"a", "a/+", "#", "$share/g/a"}
	for len(steps) >= 2 {
		op, arg := steps[0], steps[1]
		steps = steps[2:]
		switch op % 13 {
		case 0, 1, 2:
			ref++
			if arg%4 == 0 {
				b.deadlines[ref] = now + Seconds(uint32(arg%16))
			}
			d.Enqueue(ref, mqtt.QoS(1+arg%2), arg%3 == 0, []uint32{1, 2, 3}[:arg%4], now, b)
		case 3:
			d.Next(now, b)
		case 4, 5:
			var base uint64
			if d.out != nil {
				base = d.out.base
			}
			d.Ack(base+uint64(arg%8), arg&16 != 0, b)
		case 6:
			f, err := router.ParseFilter([]byte(filters[arg%4]))
			if err != nil {
				t.Fatal(err)
			}
			if arg&16 == 0 {
				d.Subscribe(Subscription{Filter: f, Options: router.Options{QoS: arg % 3, ID: uint32(arg)}, RetainHandling: arg % 3})
			} else {
				d.Unsubscribe(f)
			}
		case 7:
			if arg&1 == 0 {
				d.Receive(uint16(arg) + 1)
			} else {
				d.Release(uint16(arg))
			}
		case 8:
			now += Seconds(uint32(arg % 8))
			if _, ended, _ := d.Expire(now, b); ended {
				d.End(b)
				if len(b.refs) > 0 {
					t.Fatalf("an ended session holds %v", b.refs)
				}
				*d = NewDurable(uint64(epoch))
				epoch++
				d.Attach(epoch, roomy)
			}
		case 10:
			ref++
			d.EnqueueShared(ref, mqtt.QoS(1+arg%2), arg&4 != 0, uint32(arg%5), b)
		case 11:
			if ref, ok := d.GiveBack(uint64(arg%32), b); ok {
				b.Release(ref)
			}
		case 12:
			if arg%4 == 0 {
				d.Reclaim(math.MaxUint64, b, b.Release)
			}
		case 9:
			if d.Attached() && arg&1 == 0 {
				d.Detach(arg&2 != 0, 1+uint32(arg%32), now)
				break
			}
			terms := Terms{
				Expiry: uint32(arg), Inflight: uint16(arg % 5), DropOldest: arg&64 != 0,
				MaxQueueMessages: uint32(arg % 7), MaxQueueBytes: shelfSize * uint32(arg%9),
				InflightBytes: shelfSize * uint32(arg>>4%6),
			}
			if arg&2 != 0 {
				m := Message{Topic: someTopic(t), Payload: []byte("w")}
				terms.Will = &Will{Packed: m.Append(nil, 0), Delay: uint32(arg % 8)}
			}
			epoch++
			d.Attach(epoch, terms)
		}
		must(t, d, b)
		image := d.Append(nil)
		held := newShelf()
		again, rest, err := ParseDurable(append(image, 1, 2, 3), held)
		if err != nil || len(rest) != 3 {
			t.Fatal(err, len(rest))
		}
		must(t, &again, held)
		if !bytes.Equal(again.Append(nil), image) || len(held.refs) != len(b.refs) {
			t.Fatal("a restored session differs")
		}
	}
}

func someTopic(t *testing.T) router.Topic {
	to, err := router.ParseTopic([]byte("w"))
	if err != nil {
		t.Fatal(err)
	}
	return to
}

func TestDurableRandomSteps(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 50 {
		steps := make([]byte, 600)
		for i := range steps {
			steps[i] = byte(rng.Uint32())
		}
		durableSteps(t, steps)
	}
}

func FuzzDurable(f *testing.F) {
	f.Add([]byte{0, 1, 0, 2, 3, 0, 4, 0, 9, 0, 9, 3, 3, 0, 4, 17})
	f.Add([]byte{6, 0, 6, 16, 7, 0, 7, 1, 8, 7, 9, 2, 8, 7, 9, 1})
	f.Fuzz(durableSteps)
}

// FuzzParseDurable reads bytes that no checksum has vouched for.
func FuzzParseDurable(f *testing.F) {
	d := attached(f, roomy)
	d.Enqueue(1, 2, true, []uint32{1, 2}, 1, newShelf())
	d.Receive(4)
	f.Add(d.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		held := newShelf()
		d, _, err := ParseDurable(b, held)
		if err != nil || d.Check(held) != nil {
			return
		}
		again, _, err := ParseDurable(d.Append(nil), newShelf())
		if err != nil || !bytes.Equal(again.Append(nil), d.Append(nil)) {
			t.Fatal("differs after a round trip")
		}
	})
}

// P9: a member that leaves gives back what it had not acknowledged, but for what
// of QoS 2 may have been sent; what it has of its own stays.
func TestReclaim(t *testing.T) {
	b := newShelf()
	d := attached(t, roomy) // a window of 3
	give := func(ref uint32, qos mqtt.QoS) { d.EnqueueShared(ref, qos, false, 7, b) }
	d.Enqueue(1, 1, false, nil, 1, b)
	give(2, 1)
	give(3, 2)
	for range 3 {
		d.Next(1, b)
	}
	give(4, 2)
	d.Enqueue(5, 2, false, nil, 1, b)
	give(6, 1)
	must(t, d, b)
	var back []uint32
	sent := d.Reclaim(math.MaxUint64, b, func(ref uint32) {
		back = append(back, ref)
		b.Release(ref)
	})
	must(t, d, b)
	if sent != 1 || !slices.Equal(back, []uint32{2, 4, 6}) {
		t.Fatalf("%v came back, %d of QoS 2 were sent", back, sent)
	}
	if len(b.refs) != 3 || b.refs[1]+b.refs[3]+b.refs[5] != 3 {
		t.Fatalf("holds %v", b.refs)
	}
	if d.Ack(2, false, b) {
		t.Fatal("what was given back was acknowledged (S4)")
	}
	if ref, ok := d.GiveBack(3, b); !ok || ref != 3 {
		t.Fatal("what was not sent after all can be given back")
	}
	b.Release(3)
	if _, ok := d.GiveBack(1, b); ok {
		t.Fatal("the session's own was given back")
	}
	must(t, d, b)
}

// S5: the overflow of a session's queue drops nothing that another member of a
// group may have.
func TestOverflowSparesWhatGroupsGave(t *testing.T) {
	b := newShelf()
	terms := roomy
	terms.Inflight, terms.MaxQueueMessages, terms.DropOldest = 1, 2, true
	d := attached(t, terms)
	d.Enqueue(1, 1, false, nil, 1, b)
	d.Next(1, b)
	d.EnqueueShared(2, 1, false, 0, b)
	for ref := range uint32(4) {
		d.Enqueue(10+ref, 1, false, nil, 1, b)
		must(t, d, b)
	}
	if len(b.refs) != 3 || b.refs[2] != 1 || b.refs[13] != 1 {
		t.Fatalf("holds %v", b.refs)
	}
	d.EnqueueShared(3, 1, false, 0, b)
	if o, _ := d.Enqueue(20, 1, false, nil, 1, b); o != QueueFull {
		t.Fatalf("%v, with nothing to drop", o)
	}
}

// FuzzParseReplay reads how far replays have come: what is read is written and read alike
// again.
func FuzzParseReplay(f *testing.F) {
	of, err := router.ParseFilter([]byte("a/#"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(AppendReplay(nil, &Replay{Filter: of, Cuts: []Cut{{Shard: 1, Index: 1 << 40}, {Shard: 2}}, Shard: 7, Cursor: "a/b"}))
	f.Add(AppendCuts(nil, []Cut{{Shard: 1, Index: 2}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, _, ok := ParseReplay(b); ok {
			again, rest, ok := ParseReplay(AppendReplay(nil, &r))
			if !ok || len(rest) > 0 || !reflect.DeepEqual(again, r) {
				t.Fatalf("%+v is read as %+v", r, again)
			}
		}
		if cuts, _, ok := ParseCuts(b); ok {
			again, rest, ok := ParseCuts(AppendCuts(nil, cuts))
			if !ok || len(rest) > 0 || !slices.Equal(again, cuts) || len(cuts) > len(b) {
				t.Fatalf("%+v is read as %+v", cuts, again)
			}
		}
	})
}
