package load

import "testing"

func TestProgress(t *testing.T) {
	p := newProgress(Scenario{Publishers: 1, Subscribers: 2, Spread: All})
	p.sent = 4
	for _, d := range []struct {
		n          uint64
		subscriber int
	}{{0, 0}, {0, 1}, {1, 0}, {2, 1}, {1, 1}, {0, 0}, {9, 0}} {
		p.deliver(d.n, d.subscriber)
	}
	// 0 came to both and once more; 1 came to the first, and to the second after
	// 2; 9 was never sent.
	if p.done != 1 || p.delivered != 4 || p.late != 3 || p.missing() != 4 || p.underway() != 3 {
		t.Errorf("%+v", p)
	}
}

func TestSharedProgress(t *testing.T) {
	p := newProgress(Scenario{Publishers: 1, Subscribers: 3, Spread: Share})
	p.sent = 4
	for _, n := range []uint64{2, 0, 1, 2, 1} { // members are not ordered among one another
		p.deliver(n, int(n))
	}
	if p.done != 3 || p.delivered != 3 || p.late != 2 || p.missing() != 1 {
		t.Errorf("%+v", p)
	}
}

func TestProgressOverManyRings(t *testing.T) {
	p := newProgress(Scenario{Publishers: 1, Subscribers: 1})
	for n := range uint64(3*ring + 7) {
		p.sent++
		p.deliver(n, 0)
	}
	if p.underway() != 0 || p.missing() != 0 || p.late != 0 {
		t.Errorf("%+v", p)
	}
}

func TestQuantile(t *testing.T) {
	l := latencies{5, 1, 4, 2, 3}
	if got := l.quantile(0.5); got != 3 {
		t.Errorf("median %d", got)
	}
	if got := l.quantile(0.99); got != 5 {
		t.Errorf("p99 %d", got)
	}
	if got := latencies(nil).quantile(0.5); got != 0 {
		t.Errorf("median of nothing %d", got)
	}
}
