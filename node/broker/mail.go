package broker

import "fmt"

// Mail takes what other goroutines posted to the worker's loop.
func (w *worker) Mail(m any) {
	switch m := m.(type) {
	case *batch:
		w.receiveBatch(m)
	case confirmation:
		w.confirmed(m.token, m.unknown)
	case landing:
		w.landed(m.slot, m.unknown)
	case *repayment:
		for i, h := range m.handles {
			w.repaid(m.from, h, m.kinds[i])
		}
	case *routing:
		w.routed(m)
	case *errand:
		w.takeErrand(m)
	case revocation:
		w.revoke(m)
	case eviction:
		w.evictions = append(w.evictions, m)
	case leaseBack:
	case again:
		w.resumeRested()
		if w.lapsing {
			w.endLapsed()
		}
	case relief:
		w.resumeHeld()
	case func(*worker):
		m(w)
	default:
		panic(fmt.Sprintf("broker: unknown mail %T", m))
	}
}
