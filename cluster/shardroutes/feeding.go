package shardroutes

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"dunlin/cluster/feed"
	"dunlin/router"
)

// feeding feeds one node with the routes of a shard that is led here: first a
// whole copy, then changes, one ask under way at a time.
type feeding struct {
	of   *leadership
	to   string
	stop context.CancelFunc

	wake chan struct{} // something may have changed, or the node may be reached again

	mu struct {
		sync.Mutex
		holds uint64 // one more than the version confirmed in this leadership; 0 for none
		lost  bool   // the node said that it holds nothing, and is to get a copy
	}

	// Of the goroutine.
	whole bool   // the node has the copy
	at    uint64 // the version that it holds then
}

// errLater ends a feed: the node has heard of a later reign.
var errLater = errors.New("shardroutes: another leader followed")

// Pauses after an ask that came to nothing. A node that can be reached again is
// tried at once: see Routes.Changed.
const (
	minPause = 20 * time.Millisecond
	maxPause = 500 * time.Millisecond
)

func (f *feeding) run(ctx context.Context) {
	pause := minPause
	for ctx.Err() == nil {
		err := f.advance(ctx)
		switch {
		case errors.Is(err, errLater):
			f.of.overtaken()
			return
		case err == nil:
			pause = minPause
			select {
			case <-f.wake:
			case <-ctx.Done():
			}
		default:
			t := time.NewTimer(pause)
			select {
			case <-t.C:
				pause = min(2*pause, maxPause)
			case <-f.wake:
			case <-ctx.Done():
			}
			t.Stop()
		}
	}
}

// advance brings the node up to date.
func (f *feeding) advance(ctx context.Context) error {
	var changes []router.Change
	for {
		if f.mustBegin() {
			f.whole = false
		}
		if f.whole {
			var version uint64
			changes, version, f.whole = f.of.table.Changes(f.at, maxChanges, changes[:0])
			if f.whole && version == f.at {
				return nil
			}
		}
		var err error
		if f.whole {
			err = f.sendChanges(ctx, changes)
		} else {
			err = f.sendCopy(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// maxChanges is how many changes are read from the table at once.
const maxChanges = 1 << 10

// sendChanges sends the changes that follow on version at, or as many as fit.
func (f *feeding) sendChanges(ctx context.Context, changes []router.Change) error {
	b := appendHold(nil, &hold{verb: verbChanges, reign: f.of.reign, version: f.at})
	for i := 0; i < len(changes) && len(b) < maxPiece; i++ {
		b = feed.AppendChange(b, changes[i])
	}
	f.of.routes.metrics.asks.WithLabelValues("changes").Inc()
	return f.ask(ctx, b)
}

// sendCopy sends all routes, in pieces made while the table is read.
func (f *feeding) sendCopy(ctx context.Context) error {
	h := hold{verb: verbCopy, reign: f.of.reign}
	send := func(body []byte) error {
		f.of.routes.metrics.asks.WithLabelValues("copy").Inc()
		return f.ask(ctx, append(appendHold(make([]byte, 0, len(body)+64), &h), body...))
	}
	var body []byte
	var err error
	version := f.of.table.Snapshot(func(cs []router.Change) bool {
		for _, c := range cs {
			if body = feed.AppendChange(body, c); len(body) >= maxPiece {
				if err = send(body); err != nil {
					return false
				}
				h.number++
				body = body[:0]
			}
		}
		return true
	})
	if err != nil {
		return err
	}
	h.last, h.version = true, version
	if err := send(body); err != nil {
		return err
	}
	if !f.whole {
		return fmt.Errorf("shardroutes: copy for %s was not taken", f.to)
	}
	return nil
}

// ask has the node hold something and takes its answer.
func (f *feeding) ask(ctx context.Context, body []byte) error {
	answer, err := f.of.routes.net.Ask(ctx, f.to, uint16(f.of.shard), askHold, body)
	if err != nil {
		return err
	}
	h, err := readHeld(answer)
	if err != nil {
		f.of.routes.metrics.refused.WithLabelValues("malformed").Inc()
		return err
	}
	switch h.verdict {
	case later:
		return fmt.Errorf("%w: of reign %d", errLater, h.number)
	case lacks:
		f.confirm(0)
		if !f.whole {
			return fmt.Errorf("shardroutes: copy for %s has a gap", f.to)
		}
		f.whole = false
	case holds:
		f.whole, f.at = true, h.number
		f.confirm(h.number + 1)
	}
	return nil
}

// mustBegin says, once, that the node lost what it held.
func (f *feeding) mustBegin() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	lost := f.mu.lost
	f.mu.lost = false
	return lost
}

// confirm notes what the node holds, unless it said meanwhile that it is a new
// process.
func (f *feeding) confirm(holds uint64) {
	f.mu.Lock()
	before := f.mu.holds
	if !f.mu.lost {
		f.mu.holds = holds
	}
	more := f.mu.holds > before
	f.mu.Unlock()
	if more {
		f.of.barrier.Raise(before, f.of.heldByAll)
	} else {
		f.of.settle()
	}
}

// lose takes that the node holds nothing. While it is being given a copy that is
// no news; should that have gone to an earlier start of the node, it asks again.
func (f *feeding) lose() {
	f.mu.Lock()
	f.mu.lost = f.mu.lost || f.mu.holds > 0
	f.mu.holds = 0
	f.mu.Unlock()
	f.of.settle()
	signal(f.wake)
}

func (f *feeding) holds() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.holds
}

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
