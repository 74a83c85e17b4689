package listen

import (
	"io"
	"slices"
)

// strata is what lies between a connection's socket and its Handler.
//
// Invariants: a connection's output is wire bytes, in the order in which the Layers
// made them; levels[:ready] are past Opening; info is kept until all are.
type strata struct {
	levels []level // from the bottom up
	ready  int
	ended  int    // levels[:ended] give no more; without err: none has ended
	plain  []byte // the Handler's output of this turn, nil for none
	info   *Info
	told   int   // levels[:told] have described the peer in info
	inside bool  // the Gate has let it in
	err    error // why no more comes, told when all that has come is handed over
	more   bool  // a Layer has stopped early
	busy   bool  // a Layer goes on by itself with what has come
	unread bool  // the socket may have more
}

// level is one Layer and what it has left of its input, nil for nothing.
type level struct {
	layer Layer
	spent bool
	kept  []byte
}

// wakeLayers has Decode called, on behalf of a Layer that has news from elsewhere.
func (l *loop) wakeLayers(id ID) {
	c := l.conns.find(id.generation(), id.Index(), connOpening|connOpen)
	if c != nil && c.strata != 0 {
		l.markReady(id.Index(), c)
	}
}

// recvThrough is recv for a connection with Layers. When they are all ready it
// announces the connection to the Handler.
func (l *loop) recvThrough(index uint32, c *conn, b []byte) (n int, more bool, err error) {
	s := l.strata.at(c.strata)
	n = l.decode(index, c, s, b)
	if c.is(connOpening) && s.ready == len(s.levels) && (n > 0 || s.err == nil) {
		l.introduce(index, c, s)
	}
	if !c.is(connOpening | connOpen) {
		return 0, false, errAgain // its end is on its way
	}
	if s.err != nil && s.busy {
		return 0, false, errAgain // the stream's end comes when what was before it has been taken
	}
	// A Layer that is opening may leave so much that nothing moves until it wakes us.
	full := s.ready < len(s.levels) && len(s.levels[s.ready].kept) == layerBuffer
	if s.err != nil && (!s.more || full) && n == 0 {
		return 0, false, s.err
	}
	more = !full && (s.more || s.unread || c.is(connEnding)) || s.err != nil
	l.removeSpent(index, c, s)
	if n == 0 {
		return 0, more, errAgain
	}
	return n, more, nil
}

// decode reads once from the socket, unless the Layers have enough already, and
// takes what has come through each of them once. It returns how many bytes have
// come to b.
func (l *loop) decode(index uint32, c *conn, s *strata, b []byte) int {
	defer l.caught(l.id(index, c))
	if s.ended == len(s.levels) {
		return 0
	}
	came := l.gather(c, s)
	s.more, s.busy = false, false
	for k := s.ended; ; k++ {
		f := Flow{Src: l.levelBufs[k][:len(s.levels[k].kept)+came]}
		top := k == len(s.levels)-1
		if top {
			f.Dst = b[:0:len(b)]
		} else {
			f.Dst = l.fill(k+1, s)[:0]
		}
		if l.decodeLevel(index, c, s, k, &f); !c.is(connOpening | connOpen) {
			return 0
		}
		if !s.inside && s.ready > 0 && s.err == nil && !l.admit(index, c, s) {
			return 0
		}
		came = len(f.Dst)
		if s.ready <= k {
			return 0
		}
		if top {
			l.budget -= came
			return came
		}
	}
}

// gather reads from the socket behind what the lowest level has kept, and returns
// how many bytes came.
func (l *loop) gather(c *conn, s *strata) int {
	room := l.fill(s.ended, s)
	if s.err != nil {
		return 0
	}
	if s.more || len(room) == 0 {
		s.unread = true // it may have been an event that brought us here
		return 0
	}
	n, err := l.recvRaw(c, room)
	s.unread = n == len(room)
	switch {
	case n > 0 || err == errAgain:
	case err != nil:
		s.err = err
	default:
		c.flags |= connEnded
		s.err = io.EOF
	}
	return n
}

// fill puts what a level has kept into its buffer, and returns the room behind.
func (l *loop) fill(k int, s *strata) []byte {
	b := l.levelBufs[k]
	return b[copy(b, s.levels[k].kept):]
}

// decodeLevel has one Layer decode, keeps what it leaves, and sends what it replies.
func (l *loop) decodeLevel(index uint32, c *conn, s *strata, k int, f *Flow) {
	v := &s.levels[k]
	f.Reply = l.buffers.get(0)
	state, err := v.layer.Decode(f)
	if invariants && state == Opening && len(f.Dst) > 0 {
		panic("listen: a layer that is opening gives bytes to above")
	}
	if state != Opening {
		s.ready = max(s.ready, k+1)
		v.spent = state == Spent
	}
	if len(f.Src) == layerBuffer && len(f.Dst) == 0 && err == nil && f.Room() > 0 && state != Opening {
		err = errLayerStuck
	}
	if err != nil {
		s.err, s.ended, s.unread, s.more, s.busy = err, k+1, false, false, false
		f.Src, f.More = nil, false
	}
	s.more = s.more || f.More
	s.busy = s.busy || f.Busy && err == nil
	l.keepLevel(v, f.Src)
	if len(f.Reply) > 0 {
		l.descend(index, c, s, k-1, f.Reply)
	}
	l.buffers.put(f.Reply)
}

// keepLevel makes rest what a level has left of its input.
func (l *loop) keepLevel(v *level, rest []byte) {
	k := classOf(len(rest))
	if v.kept != nil && (len(rest) == 0 || cap(v.kept) < len(rest) || cap(v.kept) > minBuffer<<(k+3)) {
		l.buffers.put(v.kept)
		v.kept = nil
	}
	if len(rest) > 0 {
		if v.kept == nil {
			v.kept = l.buffers.get(k)
		}
		v.kept = append(v.kept[:0], rest...)
	}
}

// removeSpent takes Layers out that have done what they were for; a connection
// without any is as one that never had some.
func (l *loop) removeSpent(index uint32, c *conn, s *strata) {
	if !c.is(connOpen) || s.err != nil || s.more {
		return
	}
	spent := func(v level) bool { return v.spent && v.kept == nil }
	if !slices.ContainsFunc(s.levels, spent) {
		return
	}
	for _, v := range s.levels {
		if spent(v) {
			l.closeLayer(v.layer)
		}
	}
	s.levels = slices.DeleteFunc(s.levels, spent)
	s.ready = len(s.levels)
	if s.ready > 0 {
		return
	}
	l.encode(index, c)
	l.strata.put(c.strata)
	c.strata = 0
}

// encode has the Handler's output of this turn go down through the Layers.
func (l *loop) encode(index uint32, c *conn) {
	s := l.strata.at(c.strata)
	b := s.plain
	if b == nil {
		return
	}
	s.plain = nil
	if len(b) > 0 && (s.err == nil || s.err == io.EOF) {
		l.descend(index, c, s, len(s.levels)-1, b)
	}
	l.buffers.put(b)
}

// descend has b go down from level k and appends what it becomes to the connection's
// output. b remains the caller's.
func (l *loop) descend(index uint32, c *conn, s *strata, k int, b []byte) {
	defer l.caught(l.id(index, c))
	lent := b
	for ; k > 0 && len(b) > 0; k-- {
		below, err := s.levels[k].layer.Encode(l.buffers.get(classOf(encodedSize(b))), b)
		if &b[0] != &lent[0] {
			l.buffers.put(b)
		}
		if b = below; err != nil {
			l.fail(index, c, err)
			return
		}
	}
	if len(b) == 0 { // a Layer has nothing more to say
		l.buffers.put(b)
		return
	}
	o := l.outputRoom(index, c, encodedSize(b))
	if k < 0 {
		o.b = append(o.b, b...)
	} else {
		before := o.b
		below, err := s.levels[0].layer.Encode(o.b, b)
		if err != nil {
			l.fail(index, c, err)
			return
		}
		if o.b = below; &before[:1][0] != &below[:1][0] {
			l.buffers.put(before)
		}
	}
	if &b[0] != &lent[0] {
		l.buffers.put(b)
	}
	l.markDirty(index, c)
}

// encodedSize is about what a Layer makes of b.
func encodedSize(b []byte) int { return len(b) + len(b)/32 + 128 }

// outputRoom returns a connection's output with room for n bytes.
func (l *loop) outputRoom(index uint32, c *conn, n int) *output {
	if c.out == 0 {
		var o *output
		c.out, o = l.outputs.take()
		o.b = l.buffers.get(classOf(n))
		o.index, o.since = index, l.now
		return o
	}
	o := l.outputs.at(c.out)
	if full := o.b; cap(full)-len(full) < n {
		o.b = append(l.buffers.get(classOf(max(2*cap(full), len(full)+n))), full...)
		l.buffers.put(full)
	}
	return o
}

// goodbye has the Layers of a connection that is about to be closed say so, after
// the Handler's last output.
func (l *loop) goodbye(index uint32, c *conn) {
	s := l.strata.at(c.strata)
	l.encode(index, c)
	if s.err != nil && s.err != io.EOF {
		return
	}
	for k := len(s.levels) - 1; k >= 0 && !c.is(connGone); k-- {
		l.sayGoodbye(index, c, s, k)
	}
}

func (l *loop) sayGoodbye(index uint32, c *conn, s *strata, k int) {
	defer l.caught(l.id(index, c))
	b := s.levels[k].layer.Goodbye(l.buffers.get(0))
	if len(b) > 0 {
		l.descend(index, c, s, k-1, b)
	}
	l.buffers.put(b)
}

// dropStrata frees the Layers of a connection that ends, and returns why they say it
// does.
func (l *loop) dropStrata(c *conn) error {
	s := l.strata.at(c.strata)
	err := s.err
	if s.info != nil && s.inside {
		l.callDepart(s.info)
	}
	for k := range s.levels {
		l.keepLevel(&s.levels[k], nil)
		l.closeLayer(s.levels[k].layer)
	}
	if s.plain != nil {
		l.buffers.put(s.plain)
	}
	l.strata.put(c.strata)
	c.strata = 0
	if err == io.EOF {
		err = nil
	}
	return err
}

func (l *loop) closeLayer(y Layer) {
	defer l.caught(0)
	y.Close()
}
