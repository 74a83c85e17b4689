package control

import (
	"errors"
	"testing"

	"github.com/hashicorp/raft"

	"dunlin/raftstore/level"
	"dunlin/raftstore/meta"
)

// What a later release has left is refused with its reason, and not as damage.
func TestRemainsOfALaterRelease(t *testing.T) {
	log := raft.NewInmemStore()
	for i, cmd := range []meta.Command{&meta.Form{Cluster: "c", Shards: 1, Factor: 1}, &meta.Raise{Level: level.Newest + 1}} {
		if err := log.StoreLog(&raft.Log{Index: uint64(i) + 1, Term: 1, Type: raft.LogCommand, Data: meta.Encode(cmd)}); err != nil {
			t.Fatal(err)
		}
	}
	err := replayMeta(meta.NewMachine(level.Known(), nil), log, raft.NewInmemSnapshotStore())
	if later := (*level.Error)(nil); !errors.As(err, &later) || later.Level != level.Newest+1 {
		t.Errorf("%v", err)
	}
	if err := replayMeta(meta.NewMachine(level.Span{Newest: level.Newest + 1}, nil), log, raft.NewInmemSnapshotStore()); err != nil {
		t.Error(err)
	}
}
