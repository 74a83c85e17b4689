package raftstore

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"dunlin/session"
)

// populated is a state that random commands have led to.
func populated(seed uint64, steps int) *state {
	in := &inputs{Rand: rand.New(rand.NewPCG(seed, 0)), epochs: map[string][]session.Epoch{}}
	sh := newManual(DefaultOptions())
	for range steps {
		if in.IntN(8) == 0 {
			sh.now += session.Seconds(1)
		}
		c := in.command(sh.now)
		if res := sh.do(c); res.Err == nil && res.Claim.Epoch != 0 {
			id := c.(Claim).ClientID
			in.epochs[id] = append(in.epochs[id], res.Claim.Epoch)
		}
	}
	return sh.st
}

func snapshotOf(t testing.TB, st *state) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := st.snapshot(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestSnapshotRoundTrip(t *testing.T) {
	for seed := range uint64(20) {
		st := populated(seed, 300)
		b := snapshotOf(t, st)
		again, err := restoreState(0, bytes.NewReader(b))
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if !bytes.Equal(b, snapshotOf(t, again)) || st.hash() != again.hash() {
			t.Fatalf("seed %d: restored state differs", seed)
		}
	}
}

// D6: what one entry has expire is the same on a replica that was restored, which
// knows nothing of retained messages that were replaced before their time.
func TestRetainedExpireAlikeAfterRestore(t *testing.T) {
	sh := newManual(DefaultOptions())
	for i := range 3 * maxExpirePerEntry {
		m := publish(fmt.Sprint("t/", i/3*2+i%3%2), "x", 1) // every other topic twice
		m.HasExpiry, m.Expiry, m.Received = true, 60, sh.now
		sh.do(Retain{Message: m})
	}
	if err := sh.restart(); err != nil {
		t.Fatal(err)
	}
	sh.now += session.Seconds(61)
	sh.do(Delete{})
	expect(t, "hash of the replica that was restored", sh.replica.hash(), sh.st.hash())
}

// A snapshot of many chunks: more items than fit into one.
func TestSnapshotInChunks(t *testing.T) {
	sh := newManual(DefaultOptions())
	for i := range 3000 {
		id := fmt.Sprint("client-", i)
		e := sh.do(Claim{ClientID: id, Expiry: 60, Inflight: 1}).Claim.Epoch
		sh.do(Subscribe{ClientID: id, Epoch: e, Filters: []Subscription{subscription(fmt.Sprint("t/", i%100), 1)}})
		sh.do(Retain{Message: publish(fmt.Sprint("t/", i), "some retained payload", 1)})
		if i%3 == 0 {
			sh.do(Delete{ClientID: id})
		}
	}
	for i := range 300 {
		sh.do(Enqueue{Message: publish(fmt.Sprint("t/", i), "some queued payload", 1)})
	}
	b := snapshotOf(t, sh.st)
	again, err := restoreState(0, bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if again.hash() != sh.st.hash() {
		t.Fatal("restored state differs")
	}
}

// A view is what the state was when it was frozen, whatever happens while it is
// streamed.
func TestFrozenView(t *testing.T) {
	for seed := range uint64(30) {
		sh := newManual(DefaultOptions())
		in := &inputs{Rand: rand.New(rand.NewPCG(seed, 0)), epochs: map[string][]session.Epoch{}}
		step := func() {
			if in.IntN(8) == 0 {
				sh.now += session.Seconds(1)
			}
			c := in.command(sh.now)
			if res := sh.do(c); res.Err == nil && res.Claim.Epoch != 0 {
				id := c.(Claim).ClientID
				in.epochs[id] = append(in.epochs[id], res.Claim.Epoch)
			}
		}
		for range 200 {
			step()
		}
		want := snapshotOf(t, sh.st)
		f := sh.st.freeze()
		var got []byte
		for more := true; more; {
			f.gather()
			step()
			part, left, err := f.write()
			if err != nil {
				t.Fatal(err)
			}
			got, more = append(got, part...), left
			step()
		}
		f.release()
		if !bytes.Equal(got, want) {
			t.Fatalf("seed %d: the view changed", seed)
		}
	}
}

func TestSnapshotDamage(t *testing.T) {
	b := snapshotOf(t, populated(1, 200))
	for cut := range b {
		if _, err := restoreState(0, bytes.NewReader(b[:cut])); !errors.Is(err, ErrSnapshot) {
			t.Fatalf("cut at %d: %v", cut, err)
		}
	}
	for i := range b {
		bad := bytes.Clone(b)
		bad[i] ^= 1 << (i % 8)
		if _, err := restoreState(0, bytes.NewReader(bad)); !errors.Is(err, ErrSnapshot) {
			t.Fatalf("bit flipped at %d: %v", i, err)
		}
	}
	if _, err := restoreState(1, bytes.NewReader(b)); !errors.Is(err, ErrSnapshot) {
		t.Fatalf("another shard's snapshot: %v", err)
	}
}

// FuzzSnapshotItems gives each section's reader bytes that no checksum has
// vouched for.
func FuzzSnapshotItems(f *testing.F) {
	for seed := range uint64(3) {
		b := snapshotOf(f, populated(seed, 60))
		r := snapshotReader{from: bytes.NewReader(b)}
		var parts [sectionEnd][]byte
		for {
			s, body, err := r.next()
			if err != nil || s == sectionEnd {
				break
			}
			parts[s] = append(parts[s], body.b...)
		}
		f.Add(parts[sectionHead], parts[sectionWills], parts[sectionProposers], parts[sectionMail],
			parts[sectionMessages], parts[sectionSessions], parts[sectionRetained], parts[sectionPublishers], parts[sectionGroups])
	}
	f.Fuzz(func(t *testing.T, head, wills, proposers, mail, messages, sessions, retained, publishers, groups []byte) {
		rs := restoring{st: newState(0)}
		for i, part := range [][]byte{head, wills, proposers, mail, messages, sessions, retained, publishers, groups} {
			r := reader{b: part}
			for len(r.b) > 0 {
				rs.item(sectionHead+section(i), &r)
			}
			if r.err != nil {
				return
			}
		}
		if !rs.seen[sectionSessions] || rs.finish() != nil {
			return
		}
		// What was accepted can be written, read again, and lived with.
		b := snapshotOf(t, rs.st)
		again, err := restoreState(0, bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		if again.hash() != rs.st.hash() {
			t.Fatal("differs after a round trip")
		}
		again.apply(appendEntryHead(nil, entryHead{time: again.now + session.Seconds(100)}), nil)
		if err := again.check(); err != nil {
			t.Fatal(err)
		}
	})
}
