package backup

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"dunlin/raftstore/formattest"
)

var update = flag.Bool("update", false, "make the fixture "+newestFixture)

// newestFixture is the fixture that -update makes; it has every kind of chunk.
const newestFixture = "v1.1"

// TestFormats reads what each version of the format wrote. What a shard writes is
// raftstore's, which has fixtures of its own.
func TestFormats(t *testing.T) {
	if *update {
		h := Head{
			Cluster: "0123456789abcdef0123456789abcdef", Shards: 4, Taken: time.Unix(1_700_000_000, 0).UTC(), Program: "v1",
			Settings: map[string]string{"a": "b", "c": "d"}, Recovered: []string{"1111111111111111", "2222222222222222"},
		}
		b := write(t, h, map[int][]byte{0: []byte("all of shard 0"), 1: {}, 3: []byte("all of shard 3, after a first half")}, map[int]bool{3: true},
			Record{"rules", "rules", "rules: []\n"}, Record{"user", "ann", "<hash>"})
		f, err := Open(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		if err := formattest.Make(newestFixture, map[string][]byte{"backup": b, "backup.txt": dump(t, f)}); err != nil {
			t.Fatal(err)
		}
	}
	names, err := formattest.Names()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		b, err := formattest.Read(name, "backup")
		if err != nil {
			t.Fatal(err)
		}
		f, err := Open(bytes.NewReader(b))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := formattest.Compare(name, "backup.txt", dump(t, f)); err != nil {
			t.Error(err)
		}
	}
}

// TestUnknownVersion: what a later release wrote is refused by name.
func TestUnknownVersion(t *testing.T) {
	b := write(t, Head{Cluster: "c", Shards: 1}, map[int][]byte{0: {}}, nil)
	b[len(magic)-1]++
	_, err := Open(bytes.NewReader(b))
	if want := "not a whole backup file: format version 2, this release reads 1"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v instead of: %s", err, want)
	}
}

func dump(t *testing.T, f *File) []byte {
	t.Helper()
	b, err := json.MarshalIndent(f.Head, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	b = append(b, '\n')
	for _, r := range f.Records {
		b = fmt.Appendf(b, "%s %q: %q\n", r.Kind, r.Name, r.Value)
	}
	for _, sh := range f.Held() {
		content, err := io.ReadAll(f.Shard(sh))
		if err != nil {
			t.Fatal(err)
		}
		b = fmt.Appendf(b, "shard %d: %q\n", sh, content)
	}
	return b
}
