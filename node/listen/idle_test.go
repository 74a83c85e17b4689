package listen

import (
	"testing"
	"time"
)

func TestIdle(t *testing.T) {
	drivers(t, func(t *testing.T, o Options) {
		idle := make(chan ID, 1)
		closed := make(chan error, 1)
		_, addr := serve(t, o, func(l Loop) Handler {
			return &funcs{
				open:   func(id ID, _ Info) bool { l.SetIdle(id, tick); return true },
				idle:   func(id ID) { idle <- id; l.Close(id) },
				closed: func(_ ID, err error) { closed <- err },
			}
		})
		dial(t, addr)
		await(t, idle)
		must(t, await(t, closed))
	})
}

// stillDriver is a driver to which nothing happens.
type stillDriver struct{ driver }

func (stillDriver) wait(time.Duration, []event) []event { return nil }
func (stillDriver) wake()                               {}

// at has the loop's clock stand at d for what follows.
func (l *loop) at(d time.Duration) {
	l.now, l.tickNow = d, uint32(d/tick)
	l.sweepIdle()
}

// Idle comes not before the time is over, and at most two ticks after; each byte
// consumed puts it off, a pause holds it, and it comes again.
func TestIdleSweep(t *testing.T) {
	o, err := Options{}.withDefaults()
	must(t, err)
	var called int
	l := newLoop(0, o, stillDriver{})
	l.handler = &funcs{
		idle:    func(ID) { called++ },
		receive: func(_ ID, b []byte) (int, int) { return len(b) - 1, 0 },
	}
	index, c := l.conns.take()
	c.flags = connOpen
	id := l.id(index, c)
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	expect := func(at, want int) {
		t.Helper()
		if l.at(ms(at)); called != want {
			t.Errorf("at %d ms: called %d times, want %d", at, called, want)
		}
	}

	expect(249, 0)
	l.SetIdle(id, time.Second)
	expect(1248, 0)
	expect(1250, 1)
	expect(2499, 1)
	expect(2500, 2)

	l.now = ms(2600)
	l.hand(index, c, []byte("x")) // consumes nothing
	expect(3750, 3)
	l.hand(index, c, []byte("xy"))
	expect(4999, 3)
	l.Pause(id)
	expect(60_000, 3)
	l.Resume(id)
	expect(60_999, 3)
	expect(61_250, 4)

	l.SetIdle(id, 0)
	expect(600_000, 4)
	l.SetIdle(id, 1<<62)
	expect(1_000_000, 4)
}
