package log_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"

	"dunlin/raftstore/log"
	"dunlin/raftstore/log/logtest"
)

// want is the state with the given entries.
func want(logs ...*raft.Log) state {
	s := state{stable: map[string]string{}}
	for _, l := range logs {
		s.entries = append(s.entries, *l)
	}
	return s
}

// TestGroup makes each call once, and finds the same state after a restart.
func TestGroup(t *testing.T) {
	whole := entries(5, 14, 1)
	for _, test := range []struct {
		name string
		do   func(g *log.Group) error
		err  error
		want state
	}{
		{"append", func(g *log.Group) error { return g.StoreLogs(entries(15, 16, 2)) }, nil, want(append(entries(5, 14, 1), entries(15, 16, 2)...)...)},
		{"append nothing", func(g *log.Group) error { return g.StoreLogs(nil) }, nil, want(whole...)},
		{"append one", func(g *log.Group) error { return g.StoreLog(entries(15, 15, 2)[0]) }, nil, want(append(entries(5, 14, 1), entries(15, 15, 2)...)...)},
		{"append over", func(g *log.Group) error { return g.StoreLogs(entries(14, 16, 2)) }, log.ErrOrder, want(whole...)},
		{"append disordered", func(g *log.Group) error {
			return g.StoreLogs([]*raft.Log{{Index: 15}, {Index: 17}})
		}, log.ErrOrder, want(whole...)},
		{"append 0", func(g *log.Group) error { return g.StoreLogs([]*raft.Log{{}}) }, log.ErrOrder, want(whole...)},
		{"append after a gap", func(g *log.Group) error { return g.StoreLogs(entries(20, 22, 2)) }, nil, want(entries(20, 22, 2)...)},
		{"delete head", func(g *log.Group) error { return g.DeleteRange(5, 9) }, nil, want(entries(10, 14, 1)...)},
		{"delete more than head", func(g *log.Group) error { return g.DeleteRange(0, 9) }, nil, want(entries(10, 14, 1)...)},
		{"delete tail", func(g *log.Group) error { return g.DeleteRange(10, 14) }, nil, want(entries(5, 9, 1)...)},
		{"delete more than tail", func(g *log.Group) error { return g.DeleteRange(10, 99) }, nil, want(entries(5, 9, 1)...)},
		{"delete all", func(g *log.Group) error { return g.DeleteRange(5, 14) }, nil, want()},
		{"delete beside", func(g *log.Group) error { return g.DeleteRange(15, 20) }, nil, want(whole...)},
		{"delete middle", func(g *log.Group) error { return g.DeleteRange(6, 9) }, log.ErrOrder, want(whole...)},
		{"delete all and begin elsewhere", func(g *log.Group) error {
			if err := g.DeleteRange(5, 14); err != nil {
				return err
			}
			return g.StoreLogs(entries(3, 4, 7))
		}, nil, want(entries(3, 4, 7)...)},
		{"replace tail", func(g *log.Group) error {
			if err := g.DeleteRange(12, 14); err != nil {
				return err
			}
			return g.StoreLogs(entries(12, 13, 3))
		}, nil, want(append(entries(5, 11, 1), entries(12, 13, 3)...)...)},
		{"set", func(g *log.Group) error {
			if err := g.Set([]byte("vote"), []byte("a")); err != nil {
				return err
			}
			return g.Set([]byte("vote"), []byte("b"))
		}, nil, state{want(whole...).entries, map[string]string{"vote": "b"}}},
		{"set too large", func(g *log.Group) error { return g.Set([]byte("vote"), make([]byte, 1<<16)) }, log.ErrTooLarge, want(whole...)},
		{"remove", func(g *log.Group) error {
			if err := g.Set([]byte("vote"), []byte("a")); err != nil {
				return err
			}
			return g.Remove()
		}, nil, want()},
		{"remove and begin again", func(g *log.Group) error {
			if err := g.Remove(); err != nil {
				return err
			}
			return g.StoreLogs(entries(1, 2, 9))
		}, nil, want(entries(1, 2, 9)...)},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := options(logtest.NewDisk(nil))
			l := open(t, o)
			g := l.Group(3)
			store(t, g, whole)
			beside := entries(1, 3, 1)
			store(t, l.Group(4), beside)
			if err := test.do(g); !errors.Is(err, test.err) {
				t.Fatalf("error %v, want %v", err, test.err)
			}
			for range 2 {
				for id, want := range map[uint16]state{3: test.want, 4: want(beside...), 5: want()} {
					got, err := read(l.Group(id))
					if err != nil {
						t.Fatal(err)
					}
					if d := diff(got, want); d != "" {
						t.Errorf("group %d: %s", id, d)
					}
				}
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
				l = open(t, o)
			}
		})
	}
}

func TestNumbers(t *testing.T) {
	l := open(t, options(logtest.NewDisk(nil)))
	g := l.Group(1)
	if n, err := g.GetUint64([]byte("term")); n != 0 || err != nil {
		t.Errorf("a number that is not there: %d, %v", n, err)
	}
	if v, err := g.Get([]byte("term")); len(v) != 0 || err != nil {
		t.Errorf("a value that is not there: %q, %v", v, err)
	}
	if err := g.SetUint64([]byte("term"), 1<<60); err != nil {
		t.Fatal(err)
	}
	if n, err := g.GetUint64([]byte("term")); n != 1<<60 || err != nil {
		t.Errorf("got %d, %v", n, err)
	}
	if err := g.Set([]byte("term"), []byte("many")); err != nil {
		t.Fatal(err)
	}
	if _, err := g.GetUint64([]byte("term")); err == nil {
		t.Error("four bytes are a number")
	}
	if got := l.Groups(); !slices.Equal(got, []uint16{1}) {
		t.Errorf("groups %v", got)
	}
}

func TestBytesAfter(t *testing.T) {
	l := open(t, options(logtest.NewDisk(nil)))
	g := l.Group(1)
	logs := entries(5, 8, 1)
	store(t, g, logs)
	one := g.BytesAfter(7)
	for index, want := range map[uint64]int64{0: 4, 4: 4, 5: 3, 7: 1, 8: 0, 100: 0} {
		if got := g.BytesAfter(index); got != want*one || one <= int64(len(logs[0].Data)) {
			t.Errorf("%d bytes after %d, want %d times %d", got, index, want, one)
		}
	}
}

func TestClosed(t *testing.T) {
	l := open(t, options(logtest.NewDisk(nil)))
	g := l.Group(1)
	store(t, g, entries(1, 1, 1))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := g.StoreLogs(entries(2, 2, 1)); !errors.Is(err, log.ErrClosed) {
		t.Errorf("store: %v", err)
	}
	if err := g.GetLog(1, new(raft.Log)); !errors.Is(err, log.ErrClosed) {
		t.Errorf("get: %v", err)
	}
	if err := l.Close(); !errors.Is(err, log.ErrClosed) {
		t.Errorf("close: %v", err)
	}
}

// TestDirectory uses the operating system's files.
func TestDirectory(t *testing.T) {
	dir := t.TempDir() + "/raft/log"
	o := options(nil)
	o.FS = nil
	l, err := log.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := log.Open(dir, o); err == nil {
		t.Error("two logs use one directory")
	}
	for i := uint64(1); i <= 500; i++ {
		store(t, l.Group(1), entries(i, i, 1))
	}
	if err := l.Group(1).DeleteRange(1, 400); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if l, err = log.Open(dir, o); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	got, err := read(l.Group(1))
	if err != nil {
		t.Fatal(err)
	}
	if d := diff(got, want(entries(401, 500, 1)...)); d != "" {
		t.Error(d)
	}
}

// TestSpace: what nobody needs is recycled, also when a group that writes
// nothing holds entries in the oldest segment.
func TestSpace(t *testing.T) {
	disk := logtest.NewDisk(nil)
	o := options(disk)
	registry := prometheus.NewPedanticRegistry()
	o.Registerer = registry
	l := open(t, o)
	idle, busy := l.Group(1), l.Group(2)
	store(t, idle, entries(1, 10, 1))
	if err := idle.SetUint64([]byte("term"), 7); err != nil {
		t.Fatal(err)
	}
	for i := uint64(1); i < 2000; i++ {
		store(t, busy, entries(i, i, 1))
		if i%50 == 0 {
			if err := busy.DeleteRange(0, i-10); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := len(disk.Names()); n > 10 {
		t.Errorf("%d files: %v", n, disk.Names())
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "dunlin_raft_log_") {
			t.Errorf("metric %s", f.GetName())
		}
		if f.GetName() == "dunlin_raft_log_moved_bytes_total" && f.GetMetric()[0].GetCounter().GetValue() == 0 {
			t.Error("nothing was moved")
		}
	}
	l.Close()
	l = open(t, options(disk))
	got, err := read(l.Group(1))
	if err != nil {
		t.Fatal(err)
	}
	w := want(entries(1, 10, 1)...)
	w.stable["term"] = "\x00\x00\x00\x00\x00\x00\x00\x07"
	if d := diff(got, w); d != "" {
		t.Error(d)
	}
}

// TestReaders reads from disk while the entries, and the segments they are in,
// go away: what is read is right, or it is not there.
func TestReaders(t *testing.T) {
	o := options(logtest.NewDisk(nil))
	o.CacheBytes = 0
	l := open(t, o)
	g := l.Group(1)
	var last atomic.Uint64
	var readers sync.WaitGroup
	for seed := range uint64(3) {
		readers.Go(func() {
			rng := rand.New(rand.NewPCG(seed, 1))
			for last.Load() < 1500 {
				i := last.Load() - min(last.Load(), rng.Uint64N(40))
				var got raft.Log
				err := g.GetLog(i, &got)
				if errors.Is(err, raft.ErrLogNotFound) {
					continue
				}
				if err != nil || !bytes.Equal(got.Data, entries(i, i, 1)[0].Data) {
					t.Errorf("entry %d: %q, %v", i, got.Data, err)
					return
				}
			}
		})
	}
	for i := uint64(1); i <= 1500; i++ {
		store(t, g, entries(i, i, 1))
		if i%10 == 0 {
			if err := g.DeleteRange(0, i-15+min(15, i/100)); err != nil {
				t.Fatal(err)
			}
		}
		last.Store(i)
	}
	readers.Wait()
}

// TestSlowReader: a segment is not used anew while somebody reads in it, who
// came before its entries were deleted.
func TestSlowReader(t *testing.T) {
	var armed atomic.Bool
	reading, goOn := make(chan struct{}), make(chan struct{})
	o := options(logtest.NewDisk(func(op logtest.Op, _ string) error {
		if op == logtest.OpRead && armed.CompareAndSwap(true, false) {
			close(reading)
			<-goOn
		}
		return nil
	}))
	o.CacheBytes = 0
	g := open(t, o).Group(1)
	store(t, g, entries(1, 10, 1))
	armed.Store(true)
	var got raft.Log
	result := make(chan error)
	go func() { result <- g.GetLog(1, &got) }()
	<-reading
	for i := uint64(11); i <= 500; i++ {
		store(t, g, entries(i, i, 1))
		if err := g.DeleteRange(0, i-5); err != nil {
			t.Fatal(err)
		}
	}
	close(goOn)
	if err := <-result; err != nil || string(got.Data) != "entry 1 of term 1" {
		t.Errorf("read %q, %v", got.Data, err)
	}
}
