package shardnet

import (
	"math/rand/v2"
	"sync"
	"time"
)

// evictedWithin is how long an eviction is remembered. The store goes on without
// an answer long before.
const evictedWithin = time.Second

// evictions are the handovers that owners on other nodes were asked for, by
// number. Numbers begin anywhere, so that an answer to an earlier start of this
// node finds nothing.
type evictions struct {
	sync.Mutex
	last    uint64
	waiting map[uint64]func()
	asked   []asked // in order
}

type asked struct {
	number uint64
	at     time.Time
}

func (e *evictions) init() {
	e.last, e.waiting = rand.Uint64(), make(map[uint64]func())
}

// open gives a number to an eviction, and drops those that are too old.
func (e *evictions) open(done func()) (number uint64) {
	now := time.Now()
	e.Lock()
	defer e.Unlock()
	for len(e.asked) > 0 && now.Sub(e.asked[0].at) > evictedWithin {
		delete(e.waiting, e.asked[0].number)
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
