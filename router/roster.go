package router

import (
	"math/bits"
	"sync/atomic"
)

// roster is a log of subscribers. A seat is taken once: what is removed leaves
// it empty, and when too many are empty the writer makes a new roster and lets
// readers finish the old. So a reader never sees one subscriber with the asks of
// another, nor misses one that moved, and adding or removing one of n costs a
// constant on average.
type roster struct {
	used  atomic.Uint32 // seats ever taken; those beyond are not to be read
	dead  atomic.Uint32 // of these, empty again
	seats []seat
	// where is an open hash table of positions + 1 by subscriber, twice as
	// large as seats; nil while a scan is cheaper. The positions of the dead
	// stay: their seats equal nobody. The writer's.
	where []uint32
}

type seat struct {
	who  atomic.Uint64 // 0 when empty
	asks atomic.Uint32
}

// scanned is how many seats are searched one by one.
const scanned = 16

func (r *roster) live() int  { return int(r.used.Load()) - int(r.dead.Load()) }
func (r *roster) full() bool { return int(r.used.Load()) == len(r.seats) }

// all calls yield with each subscriber until it says no. It may run beside the
// writer.
func (r *roster) all(yield func(Subscriber, asks) bool) {
	seats := r.seats[:r.used.Load()]
	for i := range seats {
		who := seats[i].who.Load()
		if who != 0 && !yield(Subscriber(who), asks(seats[i].asks.Load())) {
			return
		}
	}
}

// rebuilt returns a roster with r's living and room for half as many more.
func (r *roster) rebuilt() *roster {
	live := 0
	if r != nil {
		live = r.live()
	}
	c := &roster{seats: make([]seat, live+live/2+2)}
	if len(c.seats) > scanned {
		c.where = make([]uint32, 1<<bits.Len(uint(2*len(c.seats)-1)))
	}
	if r != nil {
		for who, a := range r.all {
			c.add(who, a)
		}
	}
	return c
}

// add seats a subscriber that is not there; the roster is not full.
func (r *roster) add(who Subscriber, a asks) {
	i := r.used.Load()
	r.seats[i].asks.Store(uint32(a))
	r.seats[i].who.Store(uint64(who))
	r.used.Store(i + 1)
	if r.where != nil {
		p := r.start(who)
		for r.where[p] != 0 {
			p = (p + 1) & (len(r.where) - 1)
		}
		r.where[p] = i + 1
	}
}

// find returns the seat of a subscriber.
func (r *roster) find(who Subscriber) (seat int, ok bool) {
	if r.where == nil {
		for i := range r.used.Load() {
			if r.seats[i].who.Load() == uint64(who) {
				return int(i), true
			}
		}
		return 0, false
	}
	for p := r.start(who); r.where[p] != 0; p = (p + 1) & (len(r.where) - 1) {
		if i := r.where[p] - 1; r.seats[i].who.Load() == uint64(who) {
			return int(i), true
		}
	}
	return 0, false
}

func (r *roster) remove(seat int) {
	r.seats[seat].who.Store(0)
	r.dead.Add(1)
}

// start spreads handles, which are dense numbers, over the table.
func (r *roster) start(who Subscriber) int {
	return int(uint64(who) * 0x9e3779b97f4a7c15 >> (64 - bits.Len(uint(len(r.where)-1))))
}
