package shardroutes

import (
	"context"
	"sync"
	"time"

	"dunlin/router"
)

// Synced implements broker.ShardRoutes: it calls done, once and on any goroutine,
// with true when every node that counts holds the routes of sh as they were after
// the command with that Result.Index, or later (P4, E4), however long that takes
// where this node leads. With false that could not be learned from another leader
// within maxPatience.
//
// A leader that knows of the command may answer, whether or not it is the latest:
// what it has told, it was told by the log, and so has any later one.
func (r *Routes) Synced(sh router.ShardID, index uint64, done func(ok bool)) {
	s := r.syncs[sh]
	l := r.led[sh].Load()
	if l == nil {
		s.add(index, done)
		return
	}
	l.synced(index, func(ok bool) {
		if ok && r.nodes.Leased() {
			done(true)
		} else {
			s.add(index, done)
		}
	})
}

// syncing is who waits on this node for the routes of a shard that another leads.
// One question is under way, for the latest of what they wait for; who comes
// meanwhile waits for the next.
type syncing struct {
	routes *Routes
	shard  router.ShardID

	mu struct {
		sync.Mutex
		closed  bool
		busy    bool      // there is a question, or is about to be
		asked   []waiting // for whom the question is
		next    []waiting
		since   time.Time // of the question
		attempt uint64    // the latest: what comes of earlier ones is of no concern
		tries   int       // of the question
		timer   *time.Timer
	}
}

type waiting struct {
	index uint64
	done  func(ok bool)
}

const (
	// attemptTimeout is when the leader is asked anew, for it may be another by
	// then. A barrier may well take longer.
	attemptTimeout = time.Second
	retryPause     = 25 * time.Millisecond
	// maxPatience is longer than any election, and than a lease.
	maxPatience = 15 * time.Second
)

func (s *syncing) add(index uint64, done func(ok bool)) {
	s.mu.Lock()
	if s.mu.closed {
		s.mu.Unlock()
		done(false)
		return
	}
	s.mu.next = append(s.mu.next, waiting{index, done})
	begin := !s.mu.busy
	s.mu.busy = true
	s.mu.Unlock()
	if begin {
		s.try()
	}
}

// try asks the leader of the moment.
func (s *syncing) try() {
	s.mu.Lock()
	if len(s.mu.asked) == 0 {
		s.mu.asked, s.mu.next, s.mu.since, s.mu.tries = s.mu.next, nil, time.Now(), 0
	}
	if len(s.mu.asked) == 0 {
		s.mu.busy = false
		s.mu.Unlock()
		return
	}
	index := uint64(0)
	for _, w := range s.mu.asked {
		index = max(index, w.index)
	}
	s.mu.attempt++
	attempt, tries := s.mu.attempt, s.mu.tries
	s.mu.tries++
	s.mu.timer = time.AfterFunc(attemptTimeout, func() { s.answered(attempt, false) })
	s.mu.Unlock()
	s.routes.askSynced(s.shard, index, tries, func(ok bool) { s.answered(attempt, ok) })
}

// answered takes what came of an attempt.
func (s *syncing) answered(attempt uint64, ok bool) {
	s.mu.Lock()
	if attempt != s.mu.attempt {
		s.mu.Unlock()
		return
	}
	s.mu.attempt++
	s.mu.timer.Stop()
	if !ok && !s.mu.closed && time.Since(s.mu.since) < maxPatience {
		s.mu.timer = time.AfterFunc(retryPause, s.try)
		s.mu.Unlock()
		return
	}
	asked := s.mu.asked
	s.mu.asked = nil
	s.mu.Unlock()
	for _, w := range asked {
		w.done(ok)
	}
	s.try()
}

// close lets everybody go.
func (s *syncing) close() {
	s.mu.Lock()
	s.mu.closed = true
	gone := append(s.mu.asked, s.mu.next...)
	s.mu.asked, s.mu.next = nil, nil
	s.mu.attempt++
	if s.mu.timer != nil {
		s.mu.timer.Stop()
	}
	s.mu.Unlock()
	for _, w := range gone {
		w.done(false)
	}
}

// count is how many wait.
func (s *syncing) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.mu.asked) + len(s.mu.next)
}

// noWait has a Start happen at once or not at all.
var noWait = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// askSynced asks whoever leads sh, once; for attempt see whom. It does not block.
func (r *Routes) askSynced(sh router.ShardID, index uint64, attempt int, done func(ok bool)) {
	at, ok := r.whom(sh, attempt)
	switch l := r.led[sh].Load(); {
	case l != nil:
		l.ask(asker{r.net.Self(), verbSynced}, index, func(ok bool) { done(ok && r.nodes.Leased()) })
	case !ok || at == r.net.Self():
		done(false)
	default:
		err := r.net.Start(noWait, at, uint16(sh), askLeader, appendQuestion(nil, question{verb: verbSynced, index: index}),
			func(_ []byte, err error) { done(err == nil) })
		if err != nil {
			done(false)
		}
	}
}
