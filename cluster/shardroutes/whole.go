package shardroutes

import (
	"fmt"
	"time"

	"dunlin/router"
)

// askEvery is how often a node asks for what it lacks.
const askEvery = 200 * time.Millisecond

// becomeWhole asks the leaders of the shards of which this node holds nothing for
// a copy, until it has one of each. A leader may take this node for what it was
// before it was started again, and have nothing new to tell.
func (r *Routes) becomeWhole() {
	t := time.NewTicker(askEvery)
	defer t.Stop()
	for r.Whole() != nil {
		for sh, h := range r.holdings {
			if whole, _, _ := h.state(); whole {
				continue
			}
			if at, ok := r.leader(router.ShardID(sh)); ok {
				// Whatever comes of it: it is asked again.
				_ = r.net.Start(noWait, at, uint16(sh), askLeader, appendQuestion(nil, verbWhole, 0), func([]byte, error) {})
			}
		}
		select {
		case <-t.C:
		case <-r.ctx.Done():
			return
		}
	}
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
