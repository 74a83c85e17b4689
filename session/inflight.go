package session

// idSpan is the number of packet identifiers. Two unacknowledged deliveries
// never share one, as their indexes are less than that apart (S1).
const idSpan = 65535

// PacketID is the packet identifier of the delivery at index (S1).
func PacketID(index uint64) uint16 { return uint16(1 + (index-1)%idSpan) }

// flight is how far the handshake of a sent delivery has come.
type flight uint8

const (
	landed   flight = iota // acknowledged, or never sent
	sent1                  // QoS 1 PUBLISH sent
	sent2                  // QoS 2 PUBLISH sent
	recorded               // PUBREC came, its commit is awaited (S2)
	released               // PUBREL sent
)

// inflight holds the deliveries sent and not acknowledged, as a ring addressed
// by index: an acknowledgement is found in constant time, whatever the order.
//
//  1. first <= end; end-first <= idSpan.
//  2. n counts the indexes in [first, end) that have not landed; if n is 0,
//     first == end, else the one at first has not landed.
//  3. kept is nil or as long as states; an entry that has landed keeps nothing.
type inflight struct {
	first, end uint64
	n          int
	states     []flight // at index modulo its length, a power of two
	kept       []uint64 // position in the outbox + 1 of a delivery kept until acknowledged; nil while there are none
}

func (f *inflight) at(index uint64) *flight { return &f.states[index&uint64(len(f.states)-1)] }

// with is the range once index is in it.
func (f *inflight) with(index uint64) (first, end uint64) {
	if f.n == 0 {
		return index, index + 1
	}
	return min(f.first, index), max(f.end, index+1)
}

// room says whether index may be sent beside what is in flight.
func (f *inflight) room(index uint64) bool {
	first, end := f.with(index)
	return end-first <= idSpan
}

// add enters the delivery at index, for which there is room. Indexes rise but on
// resumption: a client that comes back with a lower Receive Maximum gets the
// PUBRELs of the window at once and may have to wait for a PUBLISH before them.
func (f *inflight) add(index uint64, s flight) {
	first, end := f.with(index)
	if end-first > idSpan || f.n > 0 && first == f.first && end == f.end && *f.at(index) != landed {
		panic("session: delivery index in flight already, or out of the window")
	}
	if f.n == 0 {
		f.first, f.end = first, first
	}
	for end-first > uint64(len(f.states)) {
		f.grow()
	}
	for ; f.first > first; f.first-- {
		*f.at(f.first - 1) = landed
	}
	for ; f.end < end; f.end++ {
		*f.at(f.end) = landed
	}
	*f.at(index) = s
	f.n++
}

// keep remembers where in the outbox the delivery at index stands.
func (f *inflight) keep(index, pos uint64) {
	if f.kept == nil {
		f.kept = make([]uint64, len(f.states))
	}
	f.kept[index&uint64(len(f.states)-1)] = pos + 1
}

// keptAt returns where in the outbox the delivery at index stands, if it does.
func (f *inflight) keptAt(index uint64) (pos uint64, ok bool) {
	if f.kept == nil {
		return 0, false
	}
	pos = f.kept[index&uint64(len(f.states)-1)]
	return pos - 1, pos != 0
}

func (f *inflight) grow() {
	states := make([]flight, max(16, 2*len(f.states)))
	mask := uint64(len(states) - 1)
	var kept []uint64
	if f.kept != nil {
		kept = make([]uint64, len(states))
	}
	for i := f.first; i < f.end; i++ {
		states[i&mask] = *f.at(i)
		if kept != nil {
			kept[i&mask] = f.kept[i&uint64(len(f.states)-1)]
		}
	}
	f.states, f.kept = states, kept
}

// find returns the index in flight under packet identifier id.
func (f *inflight) find(id uint16) (index uint64, ok bool) {
	if id == 0 || f.n == 0 {
		return 0, false
	}
	index = f.first + (uint64(id-1)+idSpan-(f.first-1)%idSpan)%idSpan
	return index, index < f.end && *f.at(index) != landed
}

// has says whether the delivery at index is in flight in state s.
func (f *inflight) has(index uint64, s flight) bool {
	return index >= f.first && index < f.end && *f.at(index) == s
}

// land takes the delivery at index, which is in flight, out.
func (f *inflight) land(index uint64) {
	*f.at(index) = landed
	if f.kept != nil {
		f.kept[index&uint64(len(f.states)-1)] = 0
	}
	f.n--
	for f.first < f.end && *f.at(f.first) == landed {
		f.first++
	}
}
