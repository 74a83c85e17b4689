//go:build invariants

package session

const invariants = true

// A queue of more than longQueue deliveries, or a span of more than longSpan in flight,
// is looked through at about one step in sparse only: to do so at each would be
// quadratic, and a node that does nothing else looks like one that hangs.
const (
	longQueue = 256
	longSpan  = 1024
	sparse    = 61
)

// checked verifies l's invariants and passes out through.
func (l *Live) checked(out []byte) []byte {
	if t := l.traffic; t != nil {
		f := &t.inflight
		if t.outbox.waiting > longQueue && t.outbox.end()%sparse != 0 || f.end-f.first > longSpan && (f.end+uint64(f.n))%sparse != 0 {
			return out
		}
	}
	l.check()
	return out
}
