package raftstore

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// What is salvaged of a stopped replica is what it had applied, from its log alone
// or from a snapshot and the log behind it; and it can be restored. Entries that
// are missing between the two are noticed.
func TestSalvageStopped(t *testing.T) {
	for _, snapshotted := range []bool{false, true} {
		var living bytes.Buffer
		inTrioOf(t, 1<<20, func(c *trio) { // none but the snapshot that is asked for
			m := c.leader()
			s := m.do(Claim{ClientID: "s", User: "u", Conn: 1, Expiry: 3600, Inflight: 2})
			m.do(Subscribe{ClientID: "s", Epoch: s.Claim.Epoch, Filters: []Subscription{subscription("a", 1)}})
			for i := range 50 {
				if i == 30 && snapshotted {
					if err := m.store.Load().Raft(0).Snapshot().Error(); err != nil && !errors.Is(err, raft.ErrNothingNewToSnapshot) {
						t.Fatal(err)
					}
				}
				m.do(Enqueue{Message: publish("a", fmt.Sprint(i), 1)})
			}
			time.Sleep(time.Second)
			if err := m.store.Load().Salvage(0, &living); err != nil {
				t.Fatal(err)
			}
			m.kill()
			var stopped bytes.Buffer
			if err := SalvageStopped(0, 1, m.log, m.snapshots, &stopped); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(living.Bytes(), stopped.Bytes()) {
				t.Errorf("%d bytes, and %d of the replica when it lived", stopped.Len(), living.Len())
			}
			last, _ := m.log.LastIndex()
			p, err := LastPosition(m.log, m.snapshots)
			if err != nil || p.Index != last || p.Term == 0 || !(Position{p.Term, p.Index - 1}).Behind(p) || (Position{p.Term + 1, 1}).Behind(p) {
				t.Error(p, last, err)
			}
			if snapshotted {
				empty := raft.NewInmemSnapshotStore()
				first, _ := m.log.FirstIndex()
				if err := m.log.DeleteRange(first, last-3); err != nil {
					t.Fatal(err)
				}
				for what, snapshots := range map[string]raft.SnapshotStore{"no snapshot": empty, "an old one": m.snapshots} {
					if err := SalvageStopped(0, 1, m.log, snapshots, &stopped); !errors.Is(err, ErrGap) {
						t.Errorf("%s: %v", what, err)
					}
				}
			}
		})
	}
}
