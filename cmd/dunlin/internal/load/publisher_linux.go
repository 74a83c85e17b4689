package load

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"golang.org/x/sys/unix"

	"dunlin/proto/mqtt"
)

// publisher is one connection's messages: encoded once, numbered and stamped in place
// for each write.
type publisher struct {
	conn   *conn
	place  int // in worker.pubs
	stream int // that it sends now; with offline, others follow
	stride int // to the next stream, 0: there is none
	number uint64
	left   uint64 // of the stream's quota

	sent   uint64 // of all streams
	acked  uint64
	landed int     // copies that have come, or were passed over
	times  []int64 // by packet identifier, of a power of two: when what was sent was due; 0: acknowledged

	batch   []byte // Config.Batch messages; nil until the first is sent
	size    int    // of one
	id      int    // offset of its packet identifier
	payload int    // and of its payload
	listed  bool   // to be looked at before the worker waits
}

// newPublisher is publisher i of the whole run.
func (w *worker) newPublisher(c *conn, i int) *publisher {
	p := &publisher{conn: c, place: len(w.pubs), stream: i}
	if w.Config.Verb == Offline {
		p.stride = w.Config.Publishers
	}
	c.publisher = p
	p.left = w.left(p.stream)
	if w.Config.QoS > 0 {
		n := 1
		for n < w.Config.Window {
			n *= 2
		}
		p.times = make([]int64, n)
	}
	return p
}

// left is how many messages a stream is to be sent.
func (w *worker) left(stream int) uint64 {
	if stream >= w.Config.streams() {
		return 0
	}
	if q := w.Config.quota(stream); q > 0 || w.Config.Limit > 0 {
		return q
	}
	return math.MaxUint64
}

// pairUp has held connections send each other the messages of conn: one to every
// Config.Each'th client, by the next one that is there.
func (w *worker) pairUp() {
	n := len(w.conns)
	for i := range w.conns {
		target := &w.conns[i]
		global, _ := w.who(target)
		if global%w.Config.Each != 0 || target.state != ready {
			continue
		}
		for k := 1; k <= n; k++ {
			if from := &w.conns[(i+k)%n]; from.state == ready && from.publisher == nil {
				w.pubs = append(w.pubs, w.newPublisher(from, global))
				break
			}
		}
	}
}

// encode makes the batch for the stream.
func (p *publisher) encode(c Config, tag uint16) {
	payload := make([]byte, c.Size)
	stamp{tag: tag, stream: p.stream}.put(payload)
	m := mqtt.Publish{QoS: mqtt.QoS(c.QoS), Topic: []byte(c.topicOf(p.stream)), Payload: payload, Retain: c.Retain}
	if c.QoS > 0 {
		m.PacketID = 1
	}
	p.batch = p.batch[:0]
	for range c.Batch {
		p.batch = m.Append(p.batch, c.Version)
	}
	p.size = len(p.batch) / c.Batch
	p.payload = p.size - c.Size
	p.id = p.payload - 2
	if c.Version == mqtt.V5 {
		p.id-- // the length of no properties is between
	}
}

// room is the number of messages that the window has room for.
func (w *worker) room(p *publisher) int {
	underway := 0
	if w.Alone && w.Config.Verb != Offline && w.Config.Verb != Conn && w.Config.Verb != Pub {
		copies := w.Config.copies()
		if copies == 1 {
			underway = int(p.sent) - p.landed
		} else {
			underway = int(p.sent) - p.landed/copies
		}
	}
	if w.Config.QoS > 0 {
		underway = max(underway, int(p.sent-p.acked))
	}
	return w.Config.Window - underway
}

// look lists p to be filled before the worker waits again.
func (w *worker) look(p *publisher) {
	if !p.listed {
		p.listed = true
		w.due = append(w.due, p)
	}
}

// fill has the publishers that are listed send what they may.
func (w *worker) fill() {
	n := len(w.due)
	for _, p := range w.due[:n] {
		p.listed = false
		if !w.sending || p.conn.state != ready {
			continue
		}
		if w.Rate > 0 {
			w.catchUp(p)
		} else {
			w.flood(p)
		}
	}
	w.due = w.due[:copy(w.due, w.due[n:])]
}

// manyAtOnce bounds the writes of one publisher that nothing else bounds, before
// others have their turn.
const manyAtOnce = 64

// flood sends what the window allows, in writes as full as they can be: without
// acknowledgements to wait for, a half-full one waits for more room.
func (w *worker) flood(p *publisher) {
	c := &w.Config
	for range manyAtOnce {
		n := min(w.room(p), c.Batch)
		if n <= 0 || p.left == 0 || c.QoS == 0 && n < c.Batch || len(p.conn.out) > 0 {
			return
		}
		now := w.clock.now()
		w.publish(p, n, func(int) int64 { return now })
	}
	w.look(p)
}

// publish writes the next n messages, or fewer if the stream ends before.
func (w *worker) publish(p *publisher, n int, due func(int) int64) {
	if p.batch == nil {
		p.encode(w.Config, w.Tag)
	}
	n = int(min(uint64(n), p.left))
	for i := range n {
		m := p.batch[i*p.size : (i+1)*p.size]
		at := due(i)
		if p.times != nil {
			binary.BigEndian.PutUint16(m[p.id:], uint16(p.sent%identifiers)+1)
			p.times[p.sent&uint64(len(p.times)-1)] = at
		}
		stamp{tag: w.Tag, stream: p.stream, number: p.number, due: at}.put(m[p.payload:])
		p.number++
		p.sent++
	}
	w.counts.Sent += uint64(n)
	w.counts.SentBytes += uint64(n * p.size)
	w.write(p.conn, p.batch[:n*p.size])
	if p.left -= uint64(n); p.left == 0 && p.stride > 0 {
		p.stream += p.stride
		p.number, p.batch, p.left = 0, p.batch[:0], w.left(p.stream)
		if p.left > 0 {
			p.encode(w.Config, w.Tag)
		}
	}
}

// ack notes that the handshake of what was sent under an identifier is over, and
// returns when that was due; false: nothing was under way under it.
func (p *publisher) ack(id uint16) (due int64, ok bool) {
	if id == 0 || p.times == nil {
		return 0, false
	}
	slot := &p.times[int(id-1)&(len(p.times)-1)]
	due, *slot = *slot, 0
	if due == 0 {
		return 0, false
	}
	p.acked++
	return due, true
}

// pace is the schedule of a rate: message k of all publishers is due at start + k *
// step, by the publishers in turn.
type pace struct {
	start int64
	step  float64 // nanoseconds
	next  uint64  // message that has not had its turn
}

// leastTick bounds how often the timer of a rate ticks, which it does for each
// message.
const leastTick = 50 * time.Microsecond

func (s *pace) begin(w *worker, now int64) error {
	s.start, s.step = now, 1e9/w.Rate
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("timer: %w", err)
	}
	w.timer = fd
	every := unix.NsecToTimespec(max(int64(s.step), int64(leastTick)))
	if err := unix.TimerfdSettime(fd, 0, &unix.ItimerSpec{Interval: every, Value: every}, nil); err != nil {
		return fmt.Errorf("timer: %w", err)
	}
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: timerEvent}
	if err := unix.EpollCtl(w.epoll, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	return nil
}

// due is when message k is.
func (s *pace) due(k uint64) int64 { return s.start + int64(float64(k)*s.step) }

// late notes that message k leaves now, and says from when its latency counts.
func (w *worker) late(k uint64, now int64) int64 {
	due := w.pace.due(k)
	w.interval.Lag.Record(time.Duration(now - due))
	if w.Config.FromWrite {
		return now
	}
	return due
}

// tick gives each message that is due by now its turn.
func (w *worker) tick() {
	var fired [8]byte
	if _, err := unix.Read(w.timer, fired[:]); errors.Is(err, unix.EAGAIN) {
		return
	}
	s, n := &w.pace, uint64(len(w.pubs))
	now := w.clock.now()
	for w.sending && n > 0 && s.due(s.next) <= now {
		k := s.next
		s.next++
		p := w.pubs[k%n]
		if p.sent != k/n || p.left == 0 || p.conn.state != ready || len(p.conn.out) > 0 || w.room(p) <= 0 {
			continue // it is behind, and catches up when it can
		}
		w.publish(p, 1, func(int) int64 { return w.late(k, now) })
	}
}

// catchUp sends what p has not sent although its turn has come.
func (w *worker) catchUp(p *publisher) {
	s, n := &w.pace, uint64(len(w.pubs))
	place := uint64(p.place)
	turns := (s.next + n - 1 - place) / n // that have come
	for p.sent < turns && p.left > 0 && len(p.conn.out) == 0 {
		m := min(w.room(p), w.Config.Batch, int(min(turns-p.sent, 1<<20)))
		if m <= 0 {
			return
		}
		now, first := w.clock.now(), p.sent
		w.publish(p, m, func(i int) int64 { return w.late((first+uint64(i))*n+place, now) })
	}
}
