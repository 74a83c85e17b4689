package listen

import "testing"

// deafDriver has connections whose peers take nothing, by socket.
type deafDriver struct {
	sinkDriver
	deaf func(sock int32) bool
}

func (d *deafDriver) write(sock int32, b []byte) (int, error) {
	if d.deaf(sock) {
		return 0, errAgain
	}
	return d.sinkDriver.write(sock, b)
}

func (*deafDriver) watchWrite(int32, uint64) error { return nil }
func (*deafDriver) hangUp(int32)                   {}

// holding is a loop with n connections, whose sockets are numbered from 0.
func holding(t *testing.T, maxHeld, n int, deaf func(sock int32) bool) (l *loop, d *deafDriver, ids []ID) {
	t.Helper()
	o, err := Options{MaxHeld: maxHeld, Loops: 1}.withDefaults()
	must(t, err)
	d = &deafDriver{deaf: deaf}
	l = newLoop(0, o, d)
	l.handler = &funcs{}
	for sock := range n {
		index, c := l.conns.take()
		c.flags, c.sock = connOpen, int32(sock)
		ids = append(ids, l.id(index, c))
	}
	return l, d, ids
}

// Case 56: a large message to many who do not read is not held for all of them, not even
// within the turn; and who reads does not pay for it.
func TestHeldOutputIsBounded(t *testing.T) {
	const n, size, maxHeld = 400, 1 << 20, 64 << 20
	deaf := func(sock int32) bool { return sock%2 == 0 }
	l, d, ids := holding(t, maxHeld, n, deaf)
	message := make([]byte, size)
	for range 2 {
		for _, id := range ids {
			l.End(id, append(l.Begin(id), message...))
			if held := l.sumHeld(); held > maxHeld+maxHeld/8+2*maxFresh {
				t.Fatalf("%d bytes held", held)
			}
		}
		l.flush()
		l.relieve()
	}
	if held := l.sumHeld(); held > maxHeld {
		t.Errorf("%d bytes held in the end", held)
	}
	if d.taken != 2*n/2*size {
		t.Errorf("who reads took %d bytes of %d", d.taken, n*size)
	}
	if len(l.gone) == 0 || l.count.crowded.Load() != uint64(len(l.gone)) {
		t.Errorf("%d connections closed, %d counted", len(l.gone), l.count.crowded.Load())
	}
	for _, e := range l.gone {
		if e.err != ErrHeld || !deaf(l.conns.at(e.index).sock) {
			t.Fatalf("connection %d was closed: %v", e.index, e.err)
		}
	}
}

// The same of packets that come and do not end: who holds most goes first.
func TestHeldInputIsBounded(t *testing.T) {
	const n, maxHeld = 10, 8 << 20
	l, _, ids := holding(t, maxHeld, n, func(int32) bool { return false })
	for k, id := range ids {
		_, c := l.find(id)
		size := 256 << 10
		if k == 7 {
			size = 4 << 20
		}
		l.keep(c, make([]byte, size), size+1)
	}
	l.relieve()
	if len(l.gone) != 0 || l.count.held.Load() != uint64(l.sumHeld()) {
		t.Fatalf("%d closed within the bound, %d bytes counted", len(l.gone), l.count.held.Load())
	}
	for _, id := range ids[:3] {
		_, c := l.find(id)
		l.keep(c, make([]byte, 1<<20), 2<<20)
	}
	l.relieve()
	if len(l.gone) != 1 || l.gone[0].index != ids[7].Index() || l.gone[0].err != ErrHeld {
		t.Errorf("closed: %v", l.gone)
	}
}
