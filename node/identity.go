package node

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// identity is who this data directory is in the cluster: a name for ever, and
// how often the node has been started, which tells its lives apart without a clock.
type identity struct {
	Name   string
	Starts uint64
}

// claimIdentity reads the identity of a data directory, makes one in an empty
// directory (D5), and counts this start on disk before it returns.
func claimIdentity(dir string) (identity, error) {
	path := filepath.Join(dir, "identity")
	var id identity
	switch b, err := os.ReadFile(path); {
	case errors.Is(err, os.ErrNotExist):
		var r [8]byte
		rand.Read(r[:])
		id.Name = hex.EncodeToString(r[:])
	case err != nil:
		return id, err
	default:
		if _, err := fmt.Sscanf(string(b), "%16s %d\n", &id.Name, &id.Starts); err != nil {
			return id, fmt.Errorf("%s is damaged: %w; remove it to join as a new node", path, err)
		}
	}
	id.Starts++
	return id, replaceFile(path, fmt.Appendf(nil, "%s %d\n", id.Name, id.Starts))
}

// replaceFile writes a file so that after a crash it is the old or the new one.
func replaceFile(path string, b []byte) error {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.Write(b); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err = os.Rename(path+".new", path); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
