//go:build invariants

package session

const invariants = true

// A queue of more than longQueue deliveries is looked through at about one step in
// sparse only: to do so at each would be quadratic, and a node that does nothing
// else looks like one that hangs.
const (
	longQueue = 256
	sparse    = 61
)

// checked verifies l's invariants and passes out through.
func (l *Live) checked(out []byte) []byte {
	if t := l.traffic; t != nil && t.outbox.waiting > longQueue && t.outbox.end()%sparse != 0 {
		return out
	}
	l.check()
	return out
}
