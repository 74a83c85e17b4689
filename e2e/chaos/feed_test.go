package chaos

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"dunlin/e2e/harness"
)

// fakeNode is a node whose one shard goes on by an entry with each look.
type fakeNode struct {
	index atomic.Uint64
	hash  func(index uint64) uint64
	epoch func(index uint64) uint64
	down  bool
}

func (n *fakeNode) Replicas() ([]harness.Replica, error) {
	if n.down {
		return nil, errors.New("down")
	}
	i := n.index.Add(1)
	return []harness.Replica{{Shard: 3, Applied: i, Digest: fmt.Sprintf("%016x", n.hash(i))}}, nil
}

func (n *fakeNode) Sessions(int) ([]harness.Session, error) {
	i := n.index.Load()
	return []harness.Session{{ClientID: "c", Epoch: n.epoch(i), Since: i, Until: i}}, nil
}

// TestPlantedFeeds: replicas that part and epochs that fall are found by way of
// the feed, and nothing else is.
func TestPlantedFeeds(t *testing.T) {
	right := func(i uint64) uint64 { return 0xABC + i/3 }
	for _, c := range []struct {
		name        string
		hash, epoch func(uint64) uint64
		rule        string
	}{
		{"right", right, right, ""},
		{"Apply reads a clock", func(i uint64) uint64 { return right(i) + i/5 }, right, "replicas: state"},
		{"an epoch given twice", right, func(i uint64) uint64 { return right(min(i, 2)) }, "owner: epoch"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n1, n2 := &fakeNode{hash: right, epoch: right}, &fakeNode{hash: c.hash, epoch: c.epoch}
			f := watch(map[string]watched{"n1": n1, "n2": n2, "n3": &fakeNode{down: true}}, time.Millisecond)
			harness.Eventually(t, "both were looked at ten times", func() error {
				if n1.index.Load() < 10 || n2.index.Load() < 10 {
					return errNotYet
				}
				return nil
			})
			found, compared := f.end()
			if compared < 9 {
				t.Errorf("%d states were compared", compared)
			}
			for _, v := range found {
				if v.Rule != c.rule {
					t.Errorf("reports %v", v)
				}
			}
			if len(found) == 0 && c.rule != "" {
				t.Errorf("does not report %s", c.rule)
			}
		})
	}
}
