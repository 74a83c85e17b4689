package listen

import "sort"

// What a connection holds, of output that its peer has not taken and of input that is not
// whole, is bounded; what all of them hold is not by that, as connections are many. So a
// loop sums it up, and beyond its part of MaxHeld closes those that hold most: in the end
// somebody has to give, and who holds much is slow, or sends large packets slowly.

// maxFresh is how many bytes of output a turn gathers before it is flushed, so that what
// nobody takes is known before it is many times as much: a large message to many.
const maxFresh = 16 << 20

// sumHeld is what the connections hold.
func (l *loop) sumHeld() (held int) {
	for k := range l.outputs.items {
		held += cap(l.outputs.items[k].b)
	}
	for k := range l.partials.items {
		held += cap(l.partials.items[k].b)
	}
	return held
}

// heldBy is what one of them does.
func (l *loop) heldBy(c *conn) (held int) {
	if c.out != 0 {
		held += cap(l.outputs.at(c.out).b)
	}
	if c.in != 0 {
		held += cap(l.partials.at(c.in).b)
	}
	return held
}

// relieve closes connections while they hold more than the loop's part of MaxHeld. It
// follows on a flush, after which output is what the peers do not take.
func (l *loop) relieve() {
	l.gathered, l.summing = 0, false
	held := l.sumHeld()
	if held > l.maxHeld && l.maxHeld > 0 {
		held = l.shed(held)
	}
	l.count.held.Store(uint64(held))
}

// shed closes those that hold most, until an eighth of what may be held is free.
func (l *loop) shed(held int) int {
	type holder struct {
		index uint32
		held  int
	}
	var holders []holder
	for index := range l.conns.used {
		if c := l.conns.at(index); c.is(connOpening|connOpen|connClosing) && c.out|c.in != 0 {
			holders = append(holders, holder{index, l.heldBy(c)})
		}
	}
	sort.Slice(holders, func(i, j int) bool { return holders[i].held > holders[j].held })
	for _, h := range holders {
		if held <= l.maxHeld-l.maxHeld/8 {
			break
		}
		held -= h.held
		l.count.crowded.Add(1)
		l.fail(h.index, l.conns.at(h.index), ErrHeld)
	}
	return held
}
