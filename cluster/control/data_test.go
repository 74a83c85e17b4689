package control

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
)

func openData(t *testing.T, dir string) (*Data, error) {
	t.Helper()
	return OpenData(DataOptions{Dir: dir, Failed: func(err error) { t.Error(err) }, Logger: slog.New(slog.DiscardHandler)})
}

func mustOpen(t *testing.T, dir string) *Data {
	t.Helper()
	d, err := openData(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func mustClose(t *testing.T, d *Data) {
	t.Helper()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestStartsAreCounted(t *testing.T) {
	dir := t.TempDir()
	identity := ""
	for start := range uint64(3) {
		d := mustOpen(t, dir)
		if d.Starts() != start+1 || identity != "" && d.Identity() != identity || len(d.Identity()) != 16 {
			t.Errorf("start %d of %q after %q", d.Starts(), d.Identity(), identity)
		}
		identity = d.Identity()
		if _, err := openData(t, dir); err == nil || !strings.Contains(err.Error(), "held") {
			t.Errorf("held twice: %v", err)
		}
		mustClose(t, d)
	}
	if d := mustOpen(t, t.TempDir()); d.Identity() == identity {
		t.Error("two directories are one node")
	} else {
		mustClose(t, d)
	}
}

// D5: a node that lost its log or its node.db does not start as if it had not.
func TestPartsThatDoNotBelongTogether(t *testing.T) {
	for _, lost := range []string{databaseName, logName} {
		dir := t.TempDir()
		d := mustOpen(t, dir)
		if err := d.log.Group(3).SetUint64([]byte("CurrentTerm"), 4); err != nil {
			t.Fatal(err)
		}
		mustClose(t, d)
		if err := os.RemoveAll(filepath.Join(dir, lost)); err != nil {
			t.Fatal(err)
		}
		if _, err := openData(t, dir); err == nil || !strings.Contains(err.Error(), "belong together") {
			t.Errorf("without %s: %v", lost, err)
		}
	}
}

// What is left of a group whose removal was cut short is gone after a start.
func TestRemovalIsGoneOnWith(t *testing.T) {
	dir := t.TempDir()
	d := mustOpen(t, dir)
	if err := d.log.Group(3).StoreLog(&raft.Log{Index: 1, Term: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.snapshots(3, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	if err := d.update(func(r *record) { r.Removing = append(r.Removing, 3) }); err != nil {
		t.Fatal(err)
	}
	mustClose(t, d)
	d = mustOpen(t, dir)
	defer mustClose(t, d)
	if _, err := os.Stat(d.snapshotDir(3)); !os.IsNotExist(err) {
		t.Errorf("snapshots: %v", err)
	}
	if last, err := d.log.Group(3).LastIndex(); last != 0 || err != nil {
		t.Errorf("log: %d, %v", last, err)
	}
	if left := d.rec.Load().Removing; len(left) > 0 {
		t.Errorf("removing %v", left)
	}
}

func TestDamagedRecordStopsTheStart(t *testing.T) {
	r := record{Identity: "a"}
	b := r.encode()
	var back record
	if err := back.decode(b); err != nil || back.Identity != "a" {
		t.Fatal(err)
	}
	for i := range b {
		broken := append([]byte(nil), b...)
		broken[i] ^= 4
		if back.decode(broken) == nil {
			t.Errorf("byte %d was broken and nobody noticed", i)
		}
	}
}

// A directory that cannot be used says which file of it and why, once.
func TestDataThatCannotBeOpened(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, databaseName)
	if err := os.Mkdir(file, 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := openData(t, dir)
	if err == nil || strings.Count(err.Error(), file) != 1 || strings.Contains(err.Error(), "\n") {
		t.Errorf("it says %v", err)
	}
	_, err = openData(t, filepath.Join(file, "x", "\x00"))
	if err == nil || strings.Contains(err.Error(), "\n") {
		t.Errorf("it says %v", err)
	}
}
