package log_test

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"dunlin/raftstore/log"
	"dunlin/raftstore/log/logtest"
)

// written is a disk with three segments that was closed well, and what group 1
// holds on it.
func written(t testing.TB) (*logtest.Disk, state) {
	t.Helper()
	disk := logtest.NewDisk(nil)
	l := open(t, options(disk))
	g := l.Group(1)
	w := want()
	for i := uint64(1); len(disk.Read("00000003.log")) == 0 || i%7 != 0; i++ {
		e := entries(i, i, 1)
		store(t, g, e)
		w.entries = append(w.entries, *e[0])
	}
	for range 5 {
		store(t, l.Group(2), entries(uint64(len(w.entries)), uint64(len(w.entries)), 1))
		if err := l.Group(2).Remove(); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return disk, w
}

// reopen opens a disk that may be damaged: either all is there, or it is an
// error that says where.
func reopen(t *testing.T, disk *logtest.Disk, w state) (damaged bool) {
	t.Helper()
	before := make(map[string]string)
	for _, name := range disk.Names() {
		before[name] = string(disk.Read(name))
	}
	l, err := log.Open("", options(disk))
	var damage *log.DamageError
	if errors.As(err, &damage) {
		for _, name := range disk.Names() {
			if string(disk.Read(name)) != before[name] {
				t.Errorf("%s was changed, %v", name, err)
			}
		}
		if len(disk.Names()) != len(before) || !strings.HasSuffix(damage.File, ".log") {
			t.Errorf("%v: files %v", err, disk.Names())
		}
		return true
	}
	if err != nil {
		if !strings.Contains(err.Error(), "version") {
			t.Error(err)
		}
		return true
	}
	defer l.Close()
	got, err := read(l.Group(1))
	if err != nil {
		t.Error(err)
	} else if d := diff(got, w); d != "" {
		t.Error(d)
	}
	return false
}

// TestBitFlips flips a bit in each byte of each segment in turn.
func TestBitFlips(t *testing.T) {
	disk, w := written(t)
	rng := rand.New(rand.NewPCG(1, 2))
	for _, name := range []string{"00000001.log", "00000002.log", "00000003.log"} {
		content := disk.Read(name)
		damaged := 0
		for at := range content {
			if at > 100 && rng.IntN(8) > 0 {
				continue
			}
			d := disk.Kill(nil)
			flipped := append([]byte(nil), content...)
			flipped[at] ^= 1 << rng.IntN(8)
			d.Put(name, flipped)
			if reopen(t, d, w) {
				damaged++
			}
		}
		if damaged == 0 {
			t.Errorf("no damage was found in %s", name)
		}
	}
}

// TestTruncatedFiles cuts each segment short.
func TestTruncatedFiles(t *testing.T) {
	disk, w := written(t)
	for _, name := range []string{"00000001.log", "00000002.log", "00000003.log"} {
		content := disk.Read(name)
		for cut := 0; cut < len(content); cut += 97 {
			d := disk.Kill(nil)
			d.Put(name, content[:cut])
			if !reopen(t, d, w) {
				t.Errorf("%s of %d bytes is taken for whole", name, cut)
			}
		}
	}
}

func TestMissingFiles(t *testing.T) {
	disk, w := written(t)
	for _, name := range []string{"00000001.log", "00000002.log", "00000003.log"} {
		d := disk.Kill(nil)
		d.Delete(name)
		if !reopen(t, d, w) {
			t.Errorf("%s is not missed", name)
		}
	}
}

// TestForeignFile puts another segment in a segment's place.
func TestForeignFile(t *testing.T) {
	disk, w := written(t)
	d := disk.Kill(nil)
	d.Put("00000002.log", disk.Read("00000001.log"))
	if !reopen(t, d, w) {
		t.Error("a foreign segment is taken for its own")
	}
}

// TestDamagedRead damages an entry under a log that is open.
func TestDamagedRead(t *testing.T) {
	disk := logtest.NewDisk(nil)
	o := options(disk)
	o.CacheBytes = 0
	failed := make(chan error, 1)
	o.Failed = func(err error) { failed <- err }
	l := open(t, o)
	g := l.Group(1)
	store(t, g, entries(1, 3, 1))
	disk.Damage("00000001.log", int64(strings.Index(string(disk.Read("00000001.log")), "entry 2")))
	if err := g.GetLog(1, new(raft.Log)); err != nil {
		t.Fatal(err)
	}
	var damage *log.DamageError
	if err := g.GetLog(2, new(raft.Log)); !errors.As(err, &damage) || !errors.Is(err, log.ErrFailed) {
		t.Errorf("damaged entry: %v", err)
	}
	if err := g.StoreLogs(entries(4, 4, 1)); !errors.Is(err, log.ErrFailed) {
		t.Errorf("store after damage: %v", err)
	}
	<-failed
}
