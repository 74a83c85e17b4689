package listen

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// mailbox holds what was posted to a loop since its last turn. Only a loop that
// sleeps is woken, and only by the first who finds it asleep: a running loop looks
// before it sleeps.
type mailbox struct {
	sleeping atomic.Bool
	waking   atomic.Int32 // goroutines that may be about to wake the loop
	mu       struct {
		sync.Mutex
		in     []any
		closed bool
	}
	out []any // the loop's; swapped with in
}

// control is mail for the loop itself.
type control func(*loop)

func (l *loop) Post(m any) {
	b := &l.box
	b.mu.Lock()
	if b.mu.closed {
		b.mu.Unlock()
		return
	}
	b.mu.in = append(b.mu.in, m)
	b.mu.Unlock()
	if !b.sleeping.Load() {
		return
	}
	b.waking.Add(1)
	if b.sleeping.CompareAndSwap(true, false) {
		l.driver.wake()
	}
	b.waking.Add(-1)
}

// sleep tells that the loop is about to sleep; false: it must not, there is mail.
func (b *mailbox) sleep() bool {
	b.sleeping.Store(true)
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.mu.in) > 0 {
		b.sleeping.Store(false)
		return false
	}
	return true
}

func (b *mailbox) awake() { b.sleeping.Store(false) }

// take returns what has come; it is the loop's until the next call.
func (b *mailbox) take() []any {
	clear(b.out)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.out, b.mu.in = b.mu.in, b.out[:0]
	return b.out
}

// close refuses further mail, and returns when nobody will wake the loop any more.
func (b *mailbox) close() {
	b.mu.Lock()
	b.mu.closed = true
	b.mu.in = nil
	b.mu.Unlock()
	for b.waking.Load() > 0 {
		runtime.Gosched()
	}
}

func (l *loop) mail() {
	for _, m := range l.box.take() {
		if f, ok := m.(control); ok {
			f(l)
			continue
		}
		l.count.mail.Add(1)
		l.callMail(m)
	}
}
