package control

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"dunlin/raftstore/formattest"
)

var update = flag.Bool("update", false, "make the fixture "+newestFixture)

// newestFixture is the fixture that -update makes; it has every field.
const newestFixture = "v1"

// TestFormats reads what each version of the format of node.db wrote.
func TestFormats(t *testing.T) {
	if *update {
		rec := record{
			Identity: "1111111111111111", Starts: 7, Sealed: true, Removing: []uint16{3, 14},
			Standing: standing{
				Stage: member, Formation: "0123456789abcdef0123456789abcdef", Coordinator: "2222222222222222",
				Initial: []string{"1111111111111111", "2222222222222222", "3333333333333333"}, Voters: 3,
			},
		}
		dir := t.TempDir()
		writeRecord(t, dir, rec.encode())
		db, err := os.ReadFile(filepath.Join(dir, databaseName))
		if err != nil {
			t.Fatal(err)
		}
		if err := formattest.Make(newestFixture, map[string][]byte{databaseName: db, "node.json": dump(t, &rec)}); err != nil {
			t.Fatal(err)
		}
	}
	names, err := formattest.Names()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		content, err := formattest.Read(name, databaseName)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), databaseName)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		db, err := bbolt.Open(path, 0o600, nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		d := &Data{db: db}
		if err := d.read(); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if err := formattest.Compare(name, "node.json", dump(t, d.rec.Load())); err != nil {
			t.Error(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestUnknownVersion: what a later release wrote is refused by name.
func TestUnknownVersion(t *testing.T) {
	dir := t.TempDir()
	rec := record{Identity: "1111111111111111"}
	later := rec.encode()
	later[0]++
	writeRecord(t, dir, later)
	_, err := OpenData(DataOptions{Dir: dir})
	if want := "data in " + dir + ": node.db: format version 2, this release reads 1"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v instead of: %s", err, want)
	}
}

func writeRecord(t *testing.T, dir string, b []byte) {
	t.Helper()
	db, err := bbolt.Open(filepath.Join(dir, databaseName), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(func(tx *bbolt.Tx) error {
		in, err := tx.CreateBucketIfNotExists(bucket)
		if err != nil {
			return err
		}
		return in.Put(key, b)
	}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func dump(t *testing.T, r *record) []byte {
	t.Helper()
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(b, '\n')
}
