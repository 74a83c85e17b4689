package shardroutes

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"dunlin/router"
)

// A node that is to serve has to hold whatever any SUBACK promised before the
// leaders waited for it (P4). It does in three steps, each after the other:
//
//  1. It counts at every node that may lead and send SUBACKs. From then on none
//     of them promises anything without it.
//  2. It has a whole copy of the routes of every shard.
//  3. It has a command committed in each shard, and waits until that is synced by a
//     leader that counts it and believes of it no more than what it says that it
//     holds. What was promised without it was committed before that command.
//
// The third is not spared by the second: a copy may be of a leader that was
// deposed and has not heard of it, and what the latest leader believes of this
// node may be of a start before this one.

// askEvery is how often a node asks for what it lacks.
const askEvery = 200 * time.Millisecond

// becomeWhole asks the leaders of the shards of which this node holds nothing for
// a copy, until it has one of each: a leader may have nothing new to tell.
func (r *Routes) becomeWhole() {
	t := time.NewTicker(askEvery)
	defer t.Stop()
	for attempt := 0; r.Whole() != nil; attempt++ {
		for sh, h := range r.holdings {
			if whole, _, _ := h.state(); whole {
				continue
			}
			if at, ok := r.whom(router.ShardID(sh), attempt); ok {
				// Whatever comes of it: it is asked again.
				_ = r.net.Start(noWait, at, uint16(sh), askLeader, appendQuestion(nil, question{verb: verbHolding}), func([]byte, error) {})
			}
		}
		select {
		case <-t.C:
		case <-r.ctx.Done():
			return
		}
	}
	close(r.whole)
}

// whom is who is asked about sh in an attempt, counted from 0: who is thought to
// lead it, and every second time one of the others, in turn. Where this node has no
// replica and no commands for the shard, nothing else puts a wrong thought right.
func (r *Routes) whom(sh router.ShardID, attempt int) (at string, ok bool) {
	if at, ok = r.leader(sh); ok && attempt%2 == 0 {
		return at, true
	}
	members := r.nodes.Members()
	if len(members) == 0 {
		return at, ok
	}
	at = members[attempt/2%len(members)]
	return at, at != r.net.Self()
}

// Whole is nil once this node has had a whole copy of the routes of every shard;
// else it names a shard that is missing.
func (r *Routes) Whole() error {
	missing, first := 0, 0
	for sh, h := range r.holdings {
		if whole, _, _ := h.state(); !whole {
			if missing == 0 {
				first = sh
			}
			missing++
		}
	}
	if missing == 0 {
		return nil
	}
	return fmt.Errorf("routes of %d shards are missing, of shard %d for one", missing, first)
}

// Held is what this node holds of sh: routes of which reign, and which version of
// them; ok is false if it has had no whole copy.
func (r *Routes) Held(sh router.ShardID) (reign, version uint64, ok bool) {
	ok, reign, version = r.holdings[sh].state()
	return reign, version, ok
}

// CatchUp returns nil once this node holds all that was promised of any shard
// before the call, wherever. It is to be called when this node counts everywhere.
// commit has a command committed in a shard, one that does nothing, and calls done
// with its Result.Index; it does not block.
func (r *Routes) CatchUp(ctx context.Context, commit func(sh router.ShardID, done func(index uint64, err error))) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(r.ctx, func() { cancel(errClosed) })()
	select {
	case <-r.whole:
	case <-ctx.Done():
		return errors.Join(context.Cause(ctx), r.Whole())
	}
	type committed struct {
		sh    router.ShardID
		index uint64
		err   error
	}
	commits := make(chan committed, len(r.holdings))
	for i := range r.holdings {
		sh := router.ShardID(i)
		commit(sh, func(index uint64, err error) { commits <- committed{sh, index, err} })
	}
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel(nil) // before that
	for range r.holdings {
		select {
		case c := <-commits:
			if c.err != nil {
				return fmt.Errorf("shardroutes: catch up with shard %d: %w", c.sh, c.err)
			}
			asking.Go(func() { r.catchUp(ctx, c.sh, c.index) })
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	asking.Wait()
	return context.Cause(ctx)
}

// catchUp asks whoever leads sh until the command is synced.
func (r *Routes) catchUp(ctx context.Context, sh router.ShardID, index uint64) {
	for tries := 0; ctx.Err() == nil; tries++ {
		if at, ok := r.whom(sh, tries); ok {
			attempt, end := context.WithTimeout(ctx, attemptTimeout)
			_, reign, _ := r.holdings[sh].state()
			_, err := r.net.Ask(attempt, at, uint16(sh), askLeader, appendQuestion(nil, question{verbHolding, index, reign}))
			end()
			if err == nil {
				return
			}
		}
		select {
		case <-time.After(retryPause):
		case <-ctx.Done():
		}
	}
}
