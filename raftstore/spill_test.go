package raftstore

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"dunlin/router"
	"dunlin/session"
)

// A shard that spills all it can does what the model does, and its state is at every
// step that of a replica that does not, but for what it was restored with.
func TestModelSpills(t *testing.T) {
	dir := t.TempDir()
	for seed := range uint64(30) {
		if err := runModel(seed, 400, filepath.Join(dir, fmt.Sprint(seed))); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

// spiller is a shard that holds few bytes of queued messages in memory, and the
// broker that its sessions are connected to.
type spiller struct {
	*manual
	logger
	t    *testing.T
	next uint64 // index that is taken next
	got  []string
}

func newSpiller(t *testing.T, share int) *spiller {
	t.Helper()
	o := DefaultOptions()
	o.ScratchDir, o.QueueMemory = filepath.Join(t.TempDir(), "scratch"), share
	s := &spiller{manual: newManual(o), t: t}
	s.world = world{alone{s}, s}
	t.Cleanup(func() {
		s.st.messages.scratch.close()
		s.store.running.Wait()
	})
	return s
}

func (s *spiller) Push(_ router.Subscriber, _ session.Epoch, ds []Delivery) {
	for i := range ds {
		if ds[i].Index == s.next {
			s.next++
			s.got = append(s.got, string(ds[i].Message.Payload))
		}
	}
}

func lasting(id string) Claim {
	return Claim{
		ClientID: id, Conn: 1, Expiry: session.Forever, Inflight: 10, MaxQueueMessages: 1 << 20, MaxQueueBytes: 1 << 30,
	}
}

// offline makes a session that is not connected.
func (s *spiller) offline(id, filter string) {
	e := s.do(lasting(id)).Claim.Epoch
	s.do(Subscribe{ClientID: id, Epoch: e, Filters: []Subscription{subscription(filter, 1)}})
	s.do(Detach{ClientID: id, Epoch: e})
}

// large is the payload of n bytes of message i.
func large(i, n int) string { return fmt.Sprintf("%08d", i) + strings.Repeat("x", n-8) }

// fill queues n messages of size bytes on a topic.
func (s *spiller) fill(to string, n, size int) (sent []string) {
	for i := range n {
		sent = append(sent, large(i, size))
		if r := s.do(Enqueue{Message: publish(to, sent[i], 1)}); r.Err != nil || r.Dropped > 0 {
			s.t.Fatalf("message %d: %+v", i, r)
		}
	}
	return sent
}

// connect claims a session; told is called with the answer.
func (s *spiller) connect(id string, told func(Result)) {
	s.submit(lasting(id), func(r Result) {
		s.next, s.got = r.Claim.Next, nil
		for _, w := range r.Claim.Window {
			s.got = append(s.got, string(w.Message.Payload))
		}
		told(r)
	})
	s.settle()
}

// drain connects a session and acknowledges all that it has, until nothing comes.
func (s *spiller) drain(id string) []string {
	s.t.Helper()
	var r Result
	s.connect(id, func(res Result) { r = res })
	if r.Err != nil || r.Claim.Epoch == 0 {
		s.t.Fatalf("%s connects: %+v", id, r)
	}
	for first, acked := r.Claim.Next-uint64(len(r.Claim.Window)), 0; acked < len(s.got); {
		var a Acks
		for ; acked < len(s.got); acked++ {
			a.Items = append(a.Items, Ack{ClientID: id, Epoch: r.Claim.Epoch, Index: first + uint64(acked)})
		}
		s.do(a)
	}
	s.do(Detach{ClientID: id, Epoch: r.Claim.Epoch})
	return s.got
}

// Queues of ten times what may be held in memory are kept, across a restart too, and
// delivered in order; their files go with them.
func TestSpilledQueues(t *testing.T) {
	const share, size, n = 512 << 10, 4 << 10, 600
	s := newSpiller(t, share)
	s.offline("a", "a/#")
	s.offline("b", "b/#")
	s.offline("c", "#")
	want := map[string][]string{"a": s.fill("a/1", n, size), "b": s.fill("b/1", n, size)}
	want["c"] = slices.Concat(want["a"], want["b"])
	bounded := func() {
		t.Helper()
		if m := &s.st.messages; m.memory() > 2*share || m.spilled == 0 {
			t.Fatalf("%d bytes in memory, %d spilled, of %d; %d may be", m.memory(), m.spilled, m.bytes, share)
		}
	}
	bounded()
	snapshot := snapshotOf(t, s.st)
	st, err := s.store.restore(0, bytes.NewReader(snapshot))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(snapshot, snapshotOf(t, st)) {
		t.Fatal("the restored state differs")
	}
	s.adopt(st)
	s.lead(st.now, 2)
	bounded()
	for _, id := range []string{"b", "c", "a"} {
		if got := s.drain(id); !slices.Equal(got, want[id]) {
			t.Fatalf("%s was told %d messages of %d, or in another order", id, len(got), len(want[id]))
		}
		if err := s.st.check(); err != nil {
			t.Fatal(err)
		}
	}
	s.settle()
	if m := &s.st.messages; m.bytes != 0 || m.spilled != 0 || m.scratch.live != 0 || len(m.scratch.segments) > 1 {
		t.Errorf("%d bytes queued, %d spilled, %d of %d files' are needed", m.bytes, m.spilled, m.scratch.live, m.scratch.file)
	}
}

// A claim that finds its window spilled is answered when it was read, with all of
// it; one that was overtaken meanwhile is refused.
func TestClaimOfSpilledWindow(t *testing.T) {
	s := newSpiller(t, 0)
	e := s.do(lasting("a")).Claim.Epoch
	s.next = 1
	s.do(Subscribe{ClientID: "a", Epoch: e, Filters: []Subscription{subscription("#", 1)}})
	want := s.fill("t", 40, 100)
	if !slices.Equal(s.got, want[:10]) {
		t.Fatalf("told %d messages", len(s.got))
	}
	s.do(Detach{ClientID: "a", Epoch: e})
	for s.st.messages.spilled < 40*100 {
		s.settle()
	}
	s.holds = true
	var answers []Result
	s.connect("a", func(r Result) { answers = append(answers, r) })
	s.connect("a", func(r Result) { answers = append(answers, r) })
	if len(answers) > 0 || !s.st.messages.scratch.busy {
		t.Fatalf("answered before the window was read: %+v", answers)
	}
	s.holds = false
	s.settle()
	if len(answers) != 2 || !errors.Is(answers[0].Err, ErrFenced) || answers[1].Err != nil {
		t.Fatalf("answers %+v", answers)
	}
	var got []string
	for i, w := range answers[1].Claim.Window {
		if got = append(got, string(w.Message.Payload)); w.Index != uint64(1+i) {
			t.Errorf("index %d at %d", w.Index, i)
		}
	}
	if !slices.Equal(got, want[:10]) || !answers[1].Claim.Present || answers[1].Claim.Next != 11 {
		t.Errorf("window of %d, next %d", len(got), answers[1].Claim.Next)
	}
	s.do(Detach{ClientID: "a", Epoch: answers[1].Claim.Epoch})
	if got := s.drain("a"); !slices.Equal(got, want) {
		t.Errorf("told %d messages", len(got))
	}
}

// A view has the messages as they were, whether they are spilled, read back, or let
// go of while it is read.
func TestFrozenViewOfSpilled(t *testing.T) {
	s := newSpiller(t, 128<<10)
	s.offline("a", "a")
	s.offline("b", "b")
	s.fill("a", 100, 4<<10)
	s.fill("b", 100, 4<<10)
	want := snapshotOf(t, s.st)
	f := s.st.freeze()
	var got []byte
	part := func() (more bool) {
		f.gather()
		s.fill("b", 5, 4<<10)
		b, more, err := f.write()
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, b...)
		return more
	}
	part()
	s.drain("a") // some of which the view has not come to
	s.fill("b", 300, 4<<10)
	for part() {
		if err := s.st.check(); err != nil {
			t.Fatal(err)
		}
	}
	f.release()
	if !bytes.Equal(got, want) {
		t.Error("the view changed")
	}
	if s.settle(); s.st.messages.scratch.dead != nil {
		t.Error("what the view needed is kept behind it")
	}
	if err := s.st.check(); err != nil {
		t.Fatal(err)
	}
}

// Files of which little is needed are written anew, so that what they take is in
// proportion to what is queued.
func TestScratchIsRewritten(t *testing.T) {
	s := newSpiller(t, 1<<20)
	s.offline("a", "a")
	s.offline("b", "b")
	var kept []string
	for i := range 160 {
		s.fill("a", 9, 64<<10)
		kept = append(kept, large(i, 64<<10))
		s.do(Enqueue{Message: publish("b", kept[i], 1)})
	}
	s.drain("a")
	for sc := s.st.messages.scratch; sc.sparse() != nil; {
		s.settle()
	}
	if sc := s.st.messages.scratch; sc.file > 2*sc.live+4*segmentBytes {
		t.Errorf("%d bytes of files for %d", sc.file, sc.live)
	}
	if err := s.st.check(); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(s.drain("b"), kept) {
		t.Error("what was written anew differs")
	}
}

// corrupt flips a bit of every message in a directory's files.
func corrupt(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("files %v, %v", files, err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if b = bytes.ReplaceAll(b, []byte("xxxxxxxx"), []byte("xxxyxxxx")); os.WriteFile(name, b, 0o600) != nil {
			t.Fatal("cannot be written")
		}
	}
}

// What is read back and is not what was written ends the node, whoever reads it.
func TestDamagedScratch(t *testing.T) {
	for name, read := range map[string]func(s *Store){
		"by a delivery": func(s *Store) { s.Submit(0, lasting("a"), nil) },
		"by a snapshot": func(s *Store) {
			go func() { _ = s.Salvage(0, new(bytes.Buffer)) }() // it waits for a shard that has ended
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := DefaultOptions()
			o.Shards, o.ScratchDir, o.QueueMemory = 1, filepath.Join(t.TempDir(), "scratch"), 1<<10
			broken := make(chan error, 1)
			o.Broken = func(err error) {
				broken <- err
				runtime.Goexit()
			}
			s, err := Open(o, &deaf{}, &deaf{})
			if err != nil {
				t.Fatal(err)
			}
			do := func(c Command) Result {
				done := make(chan Result, 1)
				s.Submit(0, c, func(r Result) { done <- r })
				return <-done
			}
			e := do(lasting("a")).Claim.Epoch
			do(Subscribe{ClientID: "a", Epoch: e, Filters: []Subscription{subscription("#", 1)}})
			do(Detach{ClientID: "a", Epoch: e})
			spilled := func() int64 { return s.shards[0].metrics.gauges[0].spilled.Load() }
			for i := 0; spilled() == 0; i++ {
				do(Enqueue{Message: publish("t", large(i, 1000), 1)})
			}
			corrupt(t, o.ScratchDir)
			read(s)
			if err := <-broken; !errors.Is(err, ErrScratch) {
				t.Errorf("broken by %v", err)
			}
		})
	}
}

// D3: what is done with the files is watched. A timeout that all of it takes longer
// than finds writing and reading.
func TestScratchIsWatched(t *testing.T) {
	o := DefaultOptions()
	o.Shards, o.ScratchDir, o.QueueMemory = 1, filepath.Join(t.TempDir(), "scratch"), 1<<10
	var mu sync.Mutex
	missing := map[string]bool{"write": true, "read": true}
	o.StallTimeout = 1
	o.Stalled = func(err error) {
		mu.Lock()
		defer mu.Unlock()
		operation, _, _ := strings.Cut(err.Error(), " ")
		delete(missing, operation)
	}
	s, err := Open(o, &deaf{}, &deaf{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	do := func(c Command) Result {
		done := make(chan Result, 1)
		s.Submit(0, c, func(r Result) { done <- r })
		return <-done
	}
	claim := lasting("a")
	claim.DropOldest = true
	e := do(claim).Claim.Epoch
	do(Subscribe{ClientID: "a", Epoch: e, Filters: []Subscription{subscription("#", 1)}})
	do(Detach{ClientID: "a", Epoch: e})
	for i, late := 0, time.Now().Add(time.Minute); ; i++ {
		mu.Lock()
		left := len(missing)
		mu.Unlock()
		switch {
		case left == 0:
			return
		case time.Now().After(late):
			t.Fatalf("not watched: %v", missing)
		}
		do(Enqueue{Message: publish("t", large(i, 60_000), 1)})
		if i%200 == 199 {
			if err := s.Salvage(0, new(bytes.Buffer)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Files of an earlier start are removed, and never read.
func TestScratchBeginsEmpty(t *testing.T) {
	o := DefaultOptions()
	o.ScratchDir = t.TempDir()
	left := filepath.Join(o.ScratchDir, "1-1")
	if err := os.WriteFile(left, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Open(o, &deaf{}, &deaf{})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, err := os.Stat(left); !os.IsNotExist(err) {
		t.Errorf("%v", err)
	}
}
