package raftstore

import (
	"encoding/binary"
	"maps"
	"slices"

	"dunlin/session"
)

// publishers remembers which QoS 2 messages the shard has taken of each
// publisher, so that no second copy is (R2): a low-water mark, which the
// publisher's later messages carry, and the numbers taken above it. What it
// remembers of a publisher goes only after the publisher's session ended.
type publishers struct {
	seen     map[uint64]*publisher
	most     int         // that were in seen since it was made: a map gives no memory back
	departed []departure // sessions of this shard that ended, by time; never written again

	changes func(origin uint64) // called before a publisher changes; nil for nobody
}

type publisher struct {
	low   uint64   // every number below was taken, or never will be sent
	above []uint64 // numbers taken from low on, rising
}

// departure is a publisher whose session ended; its memory is kept for the
// copies that may still be under way, its will among them.
type departure struct {
	at     session.Time // when all shards may forget it
	origin uint64
	again  bool // they were told before
}

// lingering is how long after its session's end a publisher is remembered:
// longer than any message is retried within the cluster.
var lingering = session.Seconds(600)

func newPublishers() publishers { return publishers{seen: make(map[uint64]*publisher)} }

// accept says whether the message is new, and remembers it.
func (t *publishers) accept(origin, seq, low uint64) bool {
	t.change(origin)
	p := t.seen[origin]
	if p == nil {
		p = &publisher{}
		t.seen[origin] = p
		t.most = max(t.most, len(t.seen))
	}
	return p.take(seq, low)
}

// take says whether a number is new, and remembers it.
func (p *publisher) take(seq, low uint64) bool {
	if low > p.low {
		p.low = low
		n, _ := slices.BinarySearch(p.above, low)
		p.above = slices.Delete(p.above, 0, n)
	}
	if seq < p.low {
		return false
	}
	i, taken := slices.BinarySearch(p.above, seq)
	if !taken {
		p.above = slices.Insert(p.above, i, seq)
	}
	return !taken
}

// depart schedules what ended sessions have published to be forgotten.
func (t *publishers) depart(origin uint64, now session.Time) {
	t.departed = append(t.departed, departure{at: now + lingering, origin: origin})
}

// next is when the first departed publisher may be forgotten.
func (t *publishers) next() session.Time {
	if len(t.departed) == 0 {
		return session.Never
	}
	return t.departed[0].at
}

// due takes the first departed publisher, whose time has come. It comes again
// once: a leader that dies over telling the other shards does not leave its memory
// in them. Of one whose will is still on its way nothing is told yet: the will may
// be sent once more (E5).
func (t *publishers) due(now session.Time, sends func(origin uint64) bool) (origin uint64, ok bool) {
	d := t.departed[0]
	t.departed = t.departed[1:]
	sending := sends(d.origin)
	if sending || !d.again {
		t.departed = append(t.departed, departure{at: now + lingering, origin: d.origin, again: !sending})
	}
	return d.origin, !sending
}

func (t *publishers) forget(origin uint64) {
	t.change(origin)
	delete(t.seen, origin)
	if t.most > fewPublishers && len(t.seen) <= t.most/8 {
		seen := make(map[uint64]*publisher, len(t.seen))
		maps.Copy(seen, t.seen)
		t.seen, t.most = seen, len(seen)
	}
}

// fewPublishers are those for whom no smaller map is made.
const fewPublishers = 1024

func (t *publishers) change(origin uint64) {
	if t.changes != nil {
		t.changes(origin)
	}
}

const (
	itemPublisher = iota
	itemDeparture
)

// appendPublisher writes one publisher; they come by origin, and after them the
// departures, in order.
func appendPublisher(w *snapshotWriter, origin uint64, p *publisher) {
	w.b = p.encode(binary.AppendUvarint(append(w.b, itemPublisher), origin))
	w.item()
}

func (p *publisher) encode(b []byte) []byte {
	b = binary.AppendUvarint(b, p.low)
	b = binary.AppendUvarint(b, uint64(len(p.above)))
	last := p.low
	for _, seq := range p.above {
		b = binary.AppendUvarint(b, seq-last)
		last = seq
	}
	return b
}

// taken reads what encode wrote.
func (r *reader) taken() (p publisher) {
	p.low = r.uvarint()
	p.above = make([]uint64, r.count(1))
	seq := p.low
	for i := range p.above {
		seq += r.uvarint()
		p.above[i] = seq
		if i > 0 && seq <= p.above[i-1] || seq < p.low {
			r.fail()
			return publisher{}
		}
	}
	return p
}

func appendDeparture(w *snapshotWriter, d departure) {
	w.b = binary.AppendUvarint(append(w.b, itemDeparture), d.origin)
	w.b = appendBool(binary.AppendUvarint(w.b, uint64(d.at)), d.again)
	w.item()
}

func (rs *restoring) publisher(r *reader) {
	t := &rs.st.publishers
	kind, origin := r.byte(), r.uvarint()
	if kind == itemDeparture {
		t.departed = append(t.departed, departure{origin: origin, at: r.time(), again: r.bool()})
		return
	}
	p := r.taken()
	if _, twice := t.seen[origin]; twice || kind != itemPublisher {
		r.fail()
		return
	}
	t.seen[origin] = &p
}
