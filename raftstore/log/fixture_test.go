package log_test

import (
	"flag"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"dunlin/raftstore/formattest"
	"dunlin/raftstore/log"
	"dunlin/raftstore/log/logtest"
)

var update = flag.Bool("update", false, "make the fixture "+newestFixture)

// newestFixture is the fixture that -update makes.
const newestFixture = "v1"

// fixture fills a log with every kind of record, in several segments, and
// returns what its groups hold.
func fixture(t *testing.T, disk *logtest.Disk) map[uint16]state {
	t.Helper()
	l := open(t, options(disk))
	defer l.Close()
	idle, busy, gone := l.Group(1), l.Group(2), l.Group(3)
	special := &raft.Log{
		Index: 3, Term: 2, Type: raft.LogConfiguration, Data: []byte("configuration"),
		Extensions: []byte("extensions"), AppendedAt: time.Unix(1700000000, 123456789),
	}
	store(t, idle, append(entries(1, 2, 1), special))
	if err := idle.Set([]byte("vote"), []byte("node-a")); err != nil {
		t.Fatal(err)
	}
	if err := idle.SetUint64([]byte("term"), 2); err != nil {
		t.Fatal(err)
	}
	store(t, gone, entries(1, 5, 1))
	if err := gone.Remove(); err != nil {
		t.Fatal(err)
	}
	store(t, busy, entries(1, 10, 1))
	if err := busy.DeleteRange(9, 10); err != nil {
		t.Fatal(err)
	}
	for i := uint64(9); i <= 400; i++ { // until entries of idle are moved
		store(t, busy, entries(i, i, 3))
		if i%20 == 0 {
			if err := busy.DeleteRange(0, i-10); err != nil {
				t.Fatal(err)
			}
		}
	}
	s := want(append(entries(1, 2, 1), special)...)
	s.stable["vote"], s.stable["term"] = "node-a", "\x00\x00\x00\x00\x00\x00\x00\x02"
	return map[uint16]state{1: s, 2: want(entries(391, 400, 3)...), 3: want()}
}

// TestFixture reads what each version of the format wrote.
func TestFixture(t *testing.T) {
	disk := logtest.NewDisk(nil)
	want := fixture(t, disk)
	if *update {
		files := map[string][]byte{}
		for _, name := range disk.Names() {
			if filepath.Ext(name) == ".log" {
				files[name] = disk.Read(name)
			}
		}
		if err := formattest.Make(newestFixture, files); err != nil {
			t.Fatal(err)
		}
	}
	names, err := formattest.Names()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) { readFixture(t, name, want) })
	}
}

func readFixture(t *testing.T, name string, want map[uint16]state) {
	files, err := formattest.Files(name, "*.log")
	if err != nil || len(files) < 2 {
		t.Fatalf("fixture files %v, %v", files, err)
	}
	stored := logtest.NewDisk(nil)
	for _, file := range files {
		content, err := formattest.Read(name, file)
		if err != nil {
			t.Fatal(err)
		}
		stored.Put(file, content)
	}
	l := open(t, options(stored))
	for id, w := range want {
		got, err := read(l.Group(id))
		if err != nil {
			t.Fatal(err)
		}
		if d := diff(got, w); d != "" {
			t.Errorf("group %d: %s", id, d)
		}
	}
	store(t, l.Group(2), entries(401, 410, 4))
}

// TestFormatVersion: a log of a later format is left alone, and its file named.
func TestFormatVersion(t *testing.T) {
	disk, _ := written(t)
	content := disk.Read("00000003.log")
	content[8]++
	disk.Put("00000003.log", content)
	_, err := log.Open("", options(disk))
	if want := "00000003.log has format version 2, this release reads 1"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v instead of: %s", err, want)
	}
}
