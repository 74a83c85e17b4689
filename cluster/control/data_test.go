package control

import (
	"bytes"
	"encoding/binary"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"
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

// What is in the directory is its owner's alone, whoever has made that, and for whomever.
func TestDataIsPrivate(t *testing.T) {
	dir := t.TempDir()
	snapshots := filepath.Join(dir, snapshotsName)
	for _, path := range []string{dir, filepath.Join(snapshots, "3")} { // as an earlier release has made it
		if err := errors.Join(os.MkdirAll(path, 0o755), os.Chmod(path, 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		mustClose(t, mustOpen(t, dir))
		parts, err := os.ReadDir(dir)
		if err != nil || len(parts) < 3 {
			t.Fatal(parts, err)
		}
		for _, x := range parts {
			if info, err := x.Info(); err != nil || info.Mode().Perm()&0o077 != 0 {
				t.Errorf("%s: %v, %v", x.Name(), info.Mode(), err)
			}
		}
		if err := os.RemoveAll(snapshots); err != nil { // made anew, likewise
			t.Fatal(err)
		}
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

// FuzzRecord reads what a node keeps of itself, under a right checksum: it is refused, or
// written and read alike again.
func FuzzRecord(f *testing.F) {
	f.Add((&record{Identity: "0123456789abcdef", Starts: 3, Sealed: true, Removing: []uint16{1}}).encode()[recordHead:])
	f.Add([]byte(`{"standing":{}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		b := binary.BigEndian.AppendUint64([]byte{recordVersion}, xxhash.Sum64(body))
		var r, again record
		if r.decode(append(b, body...)) != nil {
			return
		}
		written := r.encode()
		if err := again.decode(written); err != nil || !bytes.Equal(again.encode(), written) {
			t.Fatalf("%q is read as %+v, %v", written, again, err)
		}
	})
}
