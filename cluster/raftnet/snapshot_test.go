package raftnet

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
)

// A snapshot that ends with what the replica holds is not read by Raft, and so not
// installed; any other is, and so are all where nobody says what is held.
func TestRetain(t *testing.T) {
	read := func(tr *Transport, index, term uint64) (string, error) {
		b, err := io.ReadAll(&retaining{
			t: tr, req: &raft.InstallSnapshotRequest{LastLogIndex: index, LastLogTerm: term}, Reader: strings.NewReader("state"),
		})
		return string(b), err
	}
	tr := new(Transport)
	if got, err := read(tr, 7, 2); got != "state" || err != nil {
		t.Errorf("%q, %v where nobody says", got, err)
	}
	tr.Retain(func(index, term uint64) bool { return index == 7 && term == 2 })
	if got, err := read(tr, 7, 2); got != "" || !errors.Is(err, errHeld) {
		t.Errorf("%q, %v of what is held", got, err)
	}
	for _, other := range [][2]uint64{{7, 1}, {8, 2}} {
		if got, err := read(tr, other[0], other[1]); got != "state" || err != nil {
			t.Errorf("%q, %v of entry %d of term %d", got, err, other[0], other[1])
		}
	}
}
