package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"dunlin/raftstore/level"
	"dunlin/raftstore/meta"
)

// Records that are put at one node are at all of them, at one that does not vote and at one
// that was away, and who watches hears of each change.
func TestRecords(t *testing.T) {
	inLab(t, 4, func(l *lab) { // one more than vote
		for i := range 4 {
			l.start(i)
		}
		l.works()
		ctx := l.t.Context()
		var mu sync.Mutex
		heard := make([][]uint64, 4)
		for i, n := range l.nodes {
			n.Records(meta.KindUser).Watch(func(all *meta.Records) {
				mu.Lock()
				defer mu.Unlock()
				if all != nil {
					heard[i] = append(heard[i], all.Revision)
				}
			})
		}
		for i, n := range l.nodes {
			if _, err := n.Records(meta.KindBan).Put(ctx, "x", "y"); err != nil { // of which nobody hears above
				t.Fatal(err)
			}
			users := n.Records(meta.KindUser)
			revision, err := users.Replace(ctx, fmt.Sprint(i), "new", 0)
			if x, found := users.All().Find(fmt.Sprint(i)); err != nil || !found || x.Revision != revision {
				t.Errorf("put at %d: %v, here %v, %+v, revision %d", i, err, found, x, revision)
			}
			if _, err := users.Replace(ctx, fmt.Sprint(i), "newer", 0); !errors.Is(err, meta.ErrChanged) {
				t.Errorf("%d: %v", i, err)
			}
			if err := users.Remove(ctx, "nobody"); !errors.Is(err, meta.ErrNoRecord) {
				t.Errorf("%d: %v", i, err)
			}
			if _, err := users.Put(ctx, "a\n", ""); !errors.Is(err, meta.ErrInvalid) {
				t.Errorf("%d: %v", i, err)
			}
		}
		if err := l.nodes[3].Records(meta.KindUser).Remove(ctx, "0"); err != nil {
			t.Fatal(err)
		}
		l.until("all records everywhere", func() bool {
			return !slices.ContainsFunc(l.nodes, func(n *labNode) bool {
				all := n.Records(meta.KindUser).All()
				return all == nil || all.Revision != 5 || len(all.All()) != 3
			})
		})
		mu.Lock()
		for i, got := range heard {
			if !slices.Equal(got, []uint64{1, 2, 3, 4, 5}) {
				t.Errorf("%d heard of %v", i, got)
			}
		}
		mu.Unlock()

		l.kill(2)
		if _, err := l.nodes[0].Records(meta.KindUser).Put(ctx, "meanwhile", ""); err != nil {
			t.Fatal(err)
		}
		n := l.start(2)
		<-n.entered
		l.until("what was put meanwhile", func() bool {
			_, found := n.Records(meta.KindUser).All().Find("meanwhile")
			return found
		})
	})
}

// Without a majority nothing is put, and what was known still is.
func TestRecordsWithoutMajority(t *testing.T) {
	inLab(t, 3, func(l *lab) {
		for i := range 3 {
			l.start(i)
		}
		l.works()
		users := l.nodes[0].Records(meta.KindUser)
		if _, err := users.Put(l.t.Context(), "ann", "1"); err != nil {
			t.Fatal(err)
		}
		l.kill(1)
		l.kill(2)
		short, cancel := context.WithTimeout(l.t.Context(), 20*time.Second)
		defer cancel()
		if _, err := users.Put(short, "ann", "2"); !errors.Is(err, ErrUnknown) && !errors.Is(err, ErrNoLeader) {
			t.Errorf("without a majority: %v", err)
		}
		if x, _ := users.All().Find("ann"); x.Value != "1" {
			t.Errorf("%+v", x)
		}
	})
}

// What changes records leaves the leader of meta at rest.
func TestRecordsAreNoDuty(t *testing.T) {
	c := &Control{wake: make(chan struct{}, 1)}
	c.mu.changed = make(chan struct{})
	c.machine = meta.NewMachine(level.Known(), c.stateChanged)
	for _, step := range []struct {
		cmd   meta.Command
		wakes bool
	}{
		{&meta.Form{Cluster: "c", Shards: 1, Factor: 1}, true},
		{&meta.PutRecord{Kind: meta.KindBan, Name: "a", Value: "x"}, false},
		{&meta.Enter{Identity: "a", Start: 1}, true},
		{&meta.PutRecord{Kind: meta.KindBan, Name: "b", Value: "x"}, false},
		{&meta.RemoveRecord{Kind: meta.KindBan, Name: "a"}, false},
		{&meta.SetFactor{Factor: 3}, true},
		{&meta.PutRecord{Kind: meta.KindDrain, Name: "a", Value: "{}"}, true},
		{&meta.RemoveRecord{Kind: meta.KindDrain, Name: "a"}, true},
	} {
		known := c.changed()
		c.machine.Apply(&raft.Log{Index: c.State().Index + 1, Data: meta.Encode(step.cmd)})
		select {
		case <-known:
		default:
			t.Errorf("%#v: nobody was told", step.cmd)
		}
		select {
		case <-c.wake:
			if !step.wakes {
				t.Errorf("%#v woke the leader", step.cmd)
			}
		default:
			if step.wakes {
				t.Errorf("%#v did not wake the leader", step.cmd)
			}
		}
	}
}
