package chaos

import (
	"strconv"
	"sync"
	"time"

	"dunlin/e2e/chaos/check"
	"dunlin/e2e/harness"
)

// watched is a node seen from inside. An error is a node that is down or does
// not answer, which is nobody's fault here.
type watched interface {
	Replicas() ([]harness.Replica, error)
	Sessions(shard int) ([]harness.Session, error)
}

// feed watches nodes from inside while a run goes on: the digests of their
// replicas and the epochs that these have given.
type feed struct {
	stop chan struct{}
	work sync.WaitGroup
	mu   struct {
		sync.Mutex
		states []check.State
		claims []check.Claim
	}
}

// watch starts a feed that looks at each node every so often, by its name.
func watch(nodes map[string]watched, every time.Duration) *feed {
	f := &feed{stop: make(chan struct{})}
	for name, n := range nodes {
		f.work.Go(func() {
			seen := make(map[string]*span)
			for tick := time.NewTicker(every); ; {
				f.look(name, n, seen)
				select {
				case <-f.stop:
					tick.Stop()
					return
				case <-tick.C:
				}
			}
		})
	}
	return f
}

// span is where a node has shown one epoch of a client: its first claim and its
// latest, by their places.
type span struct {
	epoch         uint64
	first, latest int
}

// look takes what a node shows now; of each epoch it keeps where it was seen
// first and last.
func (f *feed) look(name string, n watched, seen map[string]*span) {
	rs, err := n.Replicas()
	if err != nil {
		return
	}
	for _, r := range rs {
		digest, err := strconv.ParseUint(r.Digest, 16, 64)
		if err != nil || r.Applied == 0 { // restored, and no entry has come that says how far
			continue
		}
		sessions, err := n.Sessions(r.Shard)
		f.mu.Lock()
		f.mu.states = append(f.mu.states, check.State{Node: name, Shard: r.Shard, Index: r.Applied, Hash: digest})
		if err == nil {
			for _, s := range sessions {
				if s.Until == 0 {
					continue // likewise
				}
				f.claimLocked(check.Claim{Client: s.ClientID, Node: name, Since: s.Since, Until: s.Until, Epoch: s.Epoch}, seen)
			}
		}
		f.mu.Unlock()
	}
}

func (f *feed) claimLocked(c check.Claim, seen map[string]*span) {
	s := seen[c.Client]
	switch {
	case s == nil || s.epoch != c.Epoch:
		s = &span{epoch: c.Epoch, first: len(f.mu.claims)}
		s.latest = s.first
		seen[c.Client] = s
	case s.latest > s.first:
		f.mu.claims[s.latest] = c
		return
	default:
		s.latest = len(f.mu.claims)
	}
	f.mu.claims = append(f.mu.claims, c)
}

// end stops watching and says what the checkers find in what was seen, and how
// many states could be compared: of one shard at one index on several nodes.
func (f *feed) end() (found []check.Violation, compared int) {
	close(f.stop)
	f.work.Wait()
	type at struct {
		shard int
		index uint64
	}
	on := make(map[at]map[string]bool)
	for _, s := range f.mu.states {
		k := at{s.Shard, s.Index}
		if on[k] == nil {
			on[k] = make(map[string]bool)
		}
		on[k][s.Node] = true
	}
	for _, nodes := range on {
		if len(nodes) > 1 {
			compared++
		}
	}
	return append(check.Replicas(f.mu.states, nil), check.Epochs(f.mu.claims)...), compared
}
