package session

// entry is one delivery: what it refers to and how it is to be sent.
type entry struct {
	ref   uint32
	id    uint32 // subscription identifier, 0 for none; with flagListed, a key of outbound.lists
	flags uint8
}

const (
	flagQoS2 uint8 = 1 << iota
	flagRetain
	flagListed   // several subscription identifiers, in outbound.lists
	flagReceived // PUBREC is committed: only PUBREL from here on (S2)
	flagDone     // acknowledged, behind one that is not
	flagShared   // given by a share group, which may have it back
	flagsAll     = 1<<iota - 1
)

// ring is a queue of entries.
type ring struct {
	buf  []entry // length a power of two, or 0
	head uint32
	len  uint32
}

// at is the i-th entry from the front.
func (r *ring) at(i uint32) *entry { return &r.buf[(r.head+i)&(uint32(len(r.buf))-1)] }

func (r *ring) push(e entry) {
	if r.len == uint32(len(r.buf)) {
		r.resize(max(4, 2*r.len))
	}
	r.len++
	*r.at(r.len - 1) = e
}

// pop takes the first entry, and gives memory back when most of the ring stands
// empty.
func (r *ring) pop() entry {
	e := *r.at(0)
	r.head = (r.head + 1) & (uint32(len(r.buf)) - 1)
	r.cut(r.len - 1)
	return e
}

// cut shortens the ring to its first n entries.
func (r *ring) cut(n uint32) {
	r.len = n
	if size := uint32(len(r.buf)); size > 16 && n <= size/8 {
		r.resize(n)
	}
}

// resize makes room for at least n entries and no more than twice as many.
func (r *ring) resize(n uint32) {
	size := uint32(0)
	if n > 0 {
		for size = 4; size < n; {
			size *= 2
		}
	}
	buf := make([]entry, size)
	for i := range r.len {
		buf[i] = *r.at(i)
	}
	r.buf, r.head = buf, 0
}
