package log_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"dunlin/raftstore/log"
	"dunlin/raftstore/log/logtest"
)

// TestFailStop fails the n-th operation, for each n, and lets the disk work
// again: the log must not.
func TestFailStop(t *testing.T) {
	for _, cause := range []error{syscall.EIO, syscall.ENOSPC} {
		for n := int64(1); n <= 60; n++ {
			t.Run(fmt.Sprintf("%v at %d", cause, n), func(t *testing.T) {
				var count atomic.Int64
				hook := func(op logtest.Op, name string) error {
					if count.Add(1) == n {
						return cause
					}
					return nil
				}
				disk := logtest.NewDisk(hook)
				o := options(disk)
				failed := make(chan error, 10)
				o.Failed = func(err error) { failed <- err }
				l, err := log.Open("", o)
				if err != nil {
					if !errors.Is(err, cause) {
						t.Fatal(err)
					}
					return
				}
				g := l.Group(1)
				var acked uint64
				for err == nil && acked < 200 {
					if err = g.StoreLogs(entries(acked+1, acked+1, 1)); err == nil {
						acked++
					}
				}
				if acked == 200 {
					l.Close()
					return // it was the spare that could not be made
				}
				for name, err := range map[string]error{
					"store": err, "get": g.GetLog(1, new(raft.Log)), "set": g.SetUint64([]byte("term"), 1),
					"delete": g.DeleteRange(1, 1), "remove": g.Remove(), "err": l.Err(),
				} {
					if !errors.Is(err, log.ErrFailed) || !errors.Is(err, cause) {
						t.Errorf("%s: %v", name, err)
					}
				}
				if err := <-failed; !errors.Is(err, cause) {
					t.Errorf("told of %v", err)
				}
				if err := l.Close(); !errors.Is(err, log.ErrFailed) {
					t.Errorf("close: %v", err)
				}
				if len(failed) > 0 {
					t.Error("told more than once")
				}
				// The process ends, the next one reads, and then the power fails: a sync
				// that failed must not have been taken for one.
				disk = disk.Kill(nil)
				l = open(t, options(disk))
				last, _ := l.Group(1).LastIndex()
				if last < acked || last > acked+1 {
					t.Errorf("%d acknowledged, the last is %d", acked, last)
				}
				disk = disk.PowerLoss(rand.New(rand.NewPCG(1, 2)), nil)
				l = open(t, options(disk))
				if again, _ := l.Group(1).LastIndex(); again != last {
					t.Errorf("%d was there, then %d", last, again)
				}
			})
		}
	}
}

// TestStall: a sync that hangs is told of while it hangs, once.
func TestStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hang atomic.Bool
		release := make(chan struct{})
		o := options(logtest.NewDisk(func(op logtest.Op, _ string) error {
			if op == logtest.OpSync && hang.Load() {
				<-release
			}
			return nil
		}))
		stalled := make(chan string, 10)
		o.StallTimeout, o.Stalled = 3*time.Second, func(op string) { stalled <- op }
		l, err := log.Open("", o)
		if err != nil {
			t.Fatal(err)
		}
		g := l.Group(1)
		for i := uint64(1); i <= 10; i++ {
			store(t, g, entries(i, i, 1))
			time.Sleep(time.Second) // virtual
		}
		hang.Store(true)
		stored := make(chan error)
		start := time.Now()
		go func() { stored <- g.StoreLogs(entries(11, 11, 1)) }()
		if op := <-stalled; op != "sync" || time.Since(start) != o.StallTimeout {
			t.Errorf("told of %s after %v", op, time.Since(start))
		}
		time.Sleep(time.Minute)
		hang.Store(false)
		close(release)
		if err := <-stored; err != nil {
			t.Error(err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if len(stalled) > 0 {
			t.Error("told more than once")
		}
	})
}
