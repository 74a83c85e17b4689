package client

import (
	"math/rand/v2"
	"sync"
	"time"

	"dunlin/e2e/chaos/history"
)

// Rivals are connections under one client identifier that take the session from
// one another and write to it while they have it.
type Rivals struct {
	stop chan struct{}
	work sync.WaitGroup
}

// NewRivals starts n of them, each bound to the nodes in turn; the session is
// theirs for an hour.
func NewRivals(id string, nodes []Node, n int, every time.Duration, seed uint64, rec *history.Recorder) *Rivals {
	r := &Rivals{stop: make(chan struct{})}
	for i := range n {
		rnd := rand.New(rand.NewPCG(seed, uint64(2+i)))
		r.work.Go(func() {
			for {
				select {
				case <-r.stop:
					return
				case <-time.After(time.Duration(rnd.ExpFloat64() * float64(every))):
				}
				if l := connectLine(id, nodes[rnd.IntN(len(nodes))], time.Hour, 5*time.Second, rec); l != nil {
					l.rule(rnd, every/4, r.stop)
				}
			}
		})
	}
	return r
}

// rule writes to the session until another has taken it, or for a few writes.
func (l *line) rule(rnd *rand.Rand, rest time.Duration, stop <-chan struct{}) {
	defer l.end()
	for range 1 + rnd.IntN(8) {
		if !l.subscribe("rivals/"+l.id) || !l.unsubscribe("rivals/"+l.id) {
			return
		}
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(rnd.Int64N(int64(rest)))):
		}
	}
}

// Stop ends them.
func (r *Rivals) Stop() {
	close(r.stop)
	r.work.Wait()
}
