package limit

import (
	"slices"
	"sync"
)

// waitlist is logins that wait until another one of the same address and user has its
// answer. Where a fleet shares a name, and all of it is back at once, the first that are
// let in say of the others that they may try; where somebody guesses, that they may not.
type waitlist struct {
	mu struct {
		sync.Mutex
		lines map[uint64]*line // by pair
		bytes int
	}
}

// line is those of one pair, first come first.
type line struct {
	waiting []waiting
	bytes   int
}

// waiting is one of them: what it takes of the bounds, and what has it judged, which is
// true if it has to wait on.
type waiting struct {
	size int
	try  func() (again bool)
}

// Bounds on what waits, in bytes: in all, and in one line, lest it takes all room.
const (
	maxWaitlist = 8 << 20
	maxLine     = 1 << 20
	waitCost    = 1 << 9 // beside what the client has sent
)

// add has one wait until the pair is woken, unless there is no room. The caller makes sure
// afterwards that there is an answer to come still.
func (w *waitlist) add(pair uint64, one waiting) bool {
	one.size += waitCost
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.mu.lines[pair]
	if w.mu.bytes+one.size > maxWaitlist || l != nil && l.bytes+one.size > maxLine {
		return false
	}
	w.insertLocked(pair, one, false)
	return true
}

func (w *waitlist) insertLocked(pair uint64, one waiting, first bool) {
	l := w.mu.lines[pair]
	if l == nil {
		if w.mu.lines == nil {
			w.mu.lines = make(map[uint64]*line)
		}
		l = new(line)
		w.mu.lines[pair] = l
	}
	if first {
		l.waiting = slices.Insert(l.waiting, 0, one)
	} else {
		l.waiting = append(l.waiting, one)
	}
	l.bytes += one.size
	w.mu.bytes += one.size
}

// next takes the first of a line.
func (w *waitlist) next(pair uint64) (one waiting, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.mu.lines[pair]
	if l == nil {
		return waiting{}, false
	}
	one, l.waiting[0], l.waiting = l.waiting[0], waiting{}, l.waiting[1:]
	l.bytes -= one.size
	w.mu.bytes -= one.size
	if len(l.waiting) == 0 {
		delete(w.mu.lines, pair)
	}
	return one, true
}

// wake has those judged that wait for an answer of the pair, one after the other, until one
// has to wait on while answers are to come.
func (w *waitlist) wake(pair uint64, underWay func() bool) {
	for {
		one, ok := w.next(pair)
		if !ok {
			return
		}
		if !one.try() {
			continue
		}
		w.mu.Lock()
		w.insertLocked(pair, one, true)
		w.mu.Unlock()
		if underWay() {
			return
		}
	}
}
