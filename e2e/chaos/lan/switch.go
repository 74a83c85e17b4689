package lan

import (
	"container/heap"
	"math/rand/v2"
	"sync"
	"time"
)

// packet is on its way to a port.
type packet struct {
	at   time.Time
	seq  uint64 // keeps packets of one time in order
	to   int
	data []byte
}

// fabric decides when a packet goes on and keeps it until then. write is called
// from any goroutine, at most once at a time per call of forward or per timer.
type fabric struct {
	write func(to int, data []byte)
	mu    struct {
		sync.Mutex
		links   [][]link // from, to
		waiting queue
		seq     uint64
		closed  bool
		passed  uint64
		dropped uint64
	}
	wake chan struct{} // the first of waiting has changed
	done chan struct{}
}

// link is one direction between two ports.
type link struct {
	rule Rule
	rnd  *rand.Rand
	free time.Time // when the last byte under way has left, by Rate
	last time.Time // when the last packet arrives; later ones do not overtake
}

func newFabric(ports int, seed uint64, write func(to int, data []byte)) *fabric {
	f := &fabric{write: write, wake: make(chan struct{}, 1), done: make(chan struct{})}
	f.mu.links = make([][]link, ports)
	for from := range f.mu.links {
		f.mu.links[from] = make([]link, ports)
		for to := range f.mu.links[from] {
			f.mu.links[from][to].rnd = rand.New(rand.NewPCG(seed, uint64(from*ports+to)))
		}
	}
	go f.run()
	return f
}

// set changes one direction's rule. What is under way arrives all the same.
func (f *fabric) set(from, to int, r Rule) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := &f.mu.links[from][to]
	l.rule, l.free = r, time.Time{}
}

func (f *fabric) rule(from, to int) Rule {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.links[from][to].rule
}

// forward takes a packet in. It keeps a copy of data where it keeps anything.
func (f *fabric) forward(from, to int, data []byte) {
	now := time.Now()
	times := f.admit(from, to, data, now)
	for range times {
		f.write(to, data)
	}
}

// admit says how often the packet goes at once; what goes later is queued.
func (f *fabric) admit(from, to int, data []byte, now time.Time) (atOnce int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := &f.mu.links[from][to]
	r := l.rule
	if r.Cut || r.Loss > 0 && l.rnd.Float64() < r.Loss {
		f.mu.dropped++
		return 0
	}
	copies := 1
	if r.Duplicate > 0 && l.rnd.Float64() < r.Duplicate {
		copies = 2
	}
	for range copies {
		at, ok := l.arrival(len(data), now)
		switch {
		case !ok:
			f.mu.dropped++
		case at.After(now):
			f.mu.passed++
			f.queueLocked(packet{at: at, to: to, data: append([]byte(nil), data...)})
		default:
			f.mu.passed++
			atOnce++
		}
	}
	return atOnce
}

// arrival is when a packet of size bytes, sent now, arrives; not at all if the
// link is too far behind.
func (l *link) arrival(size int, now time.Time) (at time.Time, ok bool) {
	r := l.rule
	at = now
	if r.Rate > 0 {
		if l.free.Before(now) {
			l.free = now
		}
		if l.free.Sub(now) > backlog {
			return at, false
		}
		l.free = l.free.Add(time.Duration(size) * time.Second / time.Duration(r.Rate))
		at = l.free
	}
	if r.Reorder > 0 && l.rnd.Float64() < r.Reorder {
		return at, true
	}
	at = at.Add(r.Delay)
	if r.Jitter > 0 {
		at = at.Add(time.Duration(l.rnd.Int64N(int64(r.Jitter))))
	}
	if at.Before(l.last) {
		at = l.last
	}
	l.last = at
	return at, true
}

func (f *fabric) queueLocked(p packet) {
	f.mu.seq++
	p.seq = f.mu.seq
	heap.Push(&f.mu.waiting, p)
	if f.mu.waiting[0].seq == p.seq {
		select {
		case f.wake <- struct{}{}:
		default:
		}
	}
}

// run writes packets when they are due.
func (f *fabric) run() {
	defer close(f.done)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		due, next, closed := f.due(time.Now())
		for _, p := range due {
			f.write(p.to, p.data)
		}
		if closed {
			return
		}
		timer.Reset(next)
		select {
		case <-timer.C:
		case <-f.wake:
		}
	}
}

// due takes what is due, and says how long until there is more.
func (f *fabric) due(now time.Time) (ps []packet, next time.Duration, closed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.mu.waiting) > 0 && !f.mu.waiting[0].at.After(now) {
		ps = append(ps, heap.Pop(&f.mu.waiting).(packet))
	}
	next = time.Hour
	if len(f.mu.waiting) > 0 {
		next = f.mu.waiting[0].at.Sub(now)
	}
	return ps, next, f.mu.closed
}

// counts is how many packets went on and how many did not.
func (f *fabric) counts() (passed, dropped uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.passed, f.mu.dropped
}

// close ends the timer; what waits is lost.
func (f *fabric) close() {
	f.mu.Lock()
	f.mu.closed = true
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
	<-f.done
}

// queue is a heap by time.
type queue []packet

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	return q[i].at.Before(q[j].at) || q[i].at.Equal(q[j].at) && q[i].seq < q[j].seq
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(packet)) }
func (q *queue) Pop() any {
	old := *q
	p := old[len(old)-1]
	*q = old[:len(old)-1]
	return p
}
