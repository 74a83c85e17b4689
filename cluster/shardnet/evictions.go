package shardnet

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// evictedWithin is how long an eviction is remembered. The store goes on without
// an answer long before.
const evictedWithin = time.Second

// maxEvictions bounds those that are remembered, answered or not. Beyond it the oldest
// is forgotten: its answer finds nothing, and whoever waits goes on as without one.
const maxEvictions = 1 << 14

// evictions are the handovers that owners on other nodes were asked for, by
// number. Numbers begin anywhere, so that an answer to an earlier start of this
// node finds nothing.
type evictions struct {
	sync.Mutex
	last    uint64
	waiting map[uint64]func()
	asked   []asked // in order

	forgotten prometheus.Counter // before their time and without an answer
}

type asked struct {
	number uint64
	at     time.Time
}

func (e *evictions) init(forgotten prometheus.Counter) {
	e.last, e.waiting = rand.Uint64(), make(map[uint64]func())
	e.forgotten = forgotten
}

// open gives a number to an eviction, and drops those that are too old or too many.
func (e *evictions) open(done func()) (number uint64) {
	now := time.Now()
	e.Lock()
	defer e.Unlock()
	for len(e.asked) > 0 {
		oldest := e.asked[0]
		late := now.Sub(oldest.at) > evictedWithin
		if !late && len(e.asked) < maxEvictions {
			break
		}
		if e.waiting[oldest.number] != nil && !late {
			e.forgotten.Inc()
		}
		delete(e.waiting, oldest.number)
		e.asked = e.asked[1:]
	}
	e.last++
	e.waiting[e.last] = done
	e.asked = append(e.asked, asked{e.last, now})
	return e.last
}

// close calls who waits for an eviction, if somebody does.
func (e *evictions) close(number uint64) {
	e.Lock()
	done := e.waiting[number]
	delete(e.waiting, number)
	e.Unlock()
	if done != nil {
		done()
	}
}
