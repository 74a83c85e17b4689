package cluster

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/hashicorp/memberlist"
)

// maxGossipKeys bounds what each packet of a stranger is tried with.
const maxGossipKeys = 8

// maxKeysFile is how long a file of keys may be.
const maxKeysFile = 16 << 10

// ReadGossipKeys reads keys in base64, one on each line. Lines that are empty or begin
// with # say nothing. No error has anything of a key in it.
func ReadGossipKeys(from io.Reader) (keys [][]byte, err error) {
	b, err := io.ReadAll(io.LimitReader(from, maxKeysFile+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxKeysFile {
		return nil, fmt.Errorf("longer than %d bytes", maxKeysFile)
	}
	n := 0
	for line := range strings.Lines(string(b)) {
		n++
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		key, err := base64.StdEncoding.DecodeString(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: want base64 of 16, 24 or 32 bytes", n)
		}
		if err := checkGossipKeys([][]byte{key}); err != nil {
			return nil, fmt.Errorf("line %d: want base64 of 16, 24 or 32 bytes, and these are %d", n, len(key))
		}
		if contains(keys, key) {
			return nil, fmt.Errorf("line %d: this key stands twice", n)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, errors.New("no key in it")
	}
	return keys, checkGossipKeys(keys)
}

func checkGossipKeys(keys [][]byte) error {
	if len(keys) > maxGossipKeys {
		return fmt.Errorf("cluster: %d gossip keys: at most %d", len(keys), maxGossipKeys)
	}
	for i, k := range keys {
		if memberlist.ValidateKey(k) != nil {
			return fmt.Errorf("cluster: gossip key of %d bytes: must be 16, 24 or 32", len(k))
		}
		if contains(keys[:i], k) {
			return errors.New("cluster: a gossip key stands twice")
		}
	}
	return nil
}

// newKeyring is nil for no keys.
func newKeyring(keys [][]byte) (*memberlist.Keyring, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	return memberlist.NewKeyring(keys, keys[0])
}

// UseGossipKeys has gossip go on with other keys, of which the first encrypts and each
// decrypts. So that no node is lost, every node has to have a key before one encrypts with
// it, and none may encrypt with one that is taken away. Between gossip in the clear and
// encrypted gossip there is no such way: that takes another start.
func (c *Cluster) UseGossipKeys(keys [][]byte) error {
	if len(keys) == 0 || c.keyring == nil {
		return errors.New("cluster: gossip is encrypted, or not, from a node's start on")
	}
	if err := checkGossipKeys(keys); err != nil {
		return err
	}
	for _, k := range keys {
		if err := c.keyring.AddKey(k); err != nil {
			return err
		}
	}
	// Who decrypts goes through the ring without its lock, and to remove a key from
	// the middle moves those behind it. So those to be removed come last, in that each of
	// the others is put before them.
	if now := c.keyring.GetKeys(); !slices.EqualFunc(now[:len(keys)], keys, bytes.Equal) {
		for _, k := range slices.Backward(keys) {
			if err := c.keyring.UseKey(k); err != nil {
				return err
			}
		}
	}
	for now := c.keyring.GetKeys(); len(now) > len(keys); now = c.keyring.GetKeys() {
		if err := c.keyring.RemoveKey(now[len(now)-1]); err != nil {
			return err
		}
	}
	return nil
}

func contains(keys [][]byte, key []byte) bool {
	return slices.ContainsFunc(keys, func(k []byte) bool { return bytes.Equal(k, key) })
}
