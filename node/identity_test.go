package node

import (
	"os"
	"path/filepath"
	"testing"
)

func TestIdentityIsKeptAndStartsAreCounted(t *testing.T) {
	dir := t.TempDir()
	first, err := claimIdentity(dir)
	if err != nil {
		t.Fatal(err)
	}
	second, err := claimIdentity(dir)
	if err != nil {
		t.Fatal(err)
	}
	if first.Name == "" || first.Name != second.Name || first.Starts != 1 || second.Starts != 2 {
		t.Errorf("first %+v, second %+v", first, second)
	}
	other, err := claimIdentity(t.TempDir())
	if err != nil || other.Name == first.Name {
		t.Errorf("an empty directory has identity %+v, %v; want a new one (D5)", other, err)
	}
}

func TestDamagedIdentityStopsTheStart(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "identity"), []byte("?\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if id, err := claimIdentity(dir); err == nil {
		t.Errorf("got %+v, want an error", id)
	}
}
