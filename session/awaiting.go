package session

// awaiting is the set of packet identifiers of QoS 2 publishes received and not
// yet released, each with its stage. It is an open-addressed table of 4 bytes a
// slot; identifier 0, which no packet has, marks an empty slot.
type awaiting struct {
	slots []uint32 // id | stage<<16; length zero or a power of two
	n     int
}

// stage is how far the handshake of an inbound QoS 2 publish has come.
type stage uint8

const (
	unknown   stage = iota
	resumed         // came on an earlier connection, which may have sent PUBREC or not
	routed          // handed to the broker, PUBREC not yet due
	received        // PUBREC sent
	repeated        // PUBREC sent, and once more among the answers that wait
	releasing       // PUBREL came; waits for SendComplete
)

// slot finds id's slot, or the empty one where it would go.
func (a *awaiting) slot(id uint16) int {
	mask := len(a.slots) - 1
	// Clients count identifiers up, so the identifier itself spreads well.
	i := int(id) & mask
	for a.slots[i] != 0 && uint16(a.slots[i]) != id {
		i = (i + 1) & mask
	}
	return i
}

// get returns id's stage, unknown if it is not in the set.
func (a *awaiting) get(id uint16) stage {
	if a.n == 0 {
		return unknown
	}
	return stage(a.slots[a.slot(id)] >> 16)
}

// set adds id or changes its stage.
func (a *awaiting) set(id uint16, s stage) {
	if 4*(a.n+1) > 3*len(a.slots) {
		a.grow()
	}
	i := a.slot(id)
	if a.slots[i] == 0 {
		a.n++
	}
	a.slots[i] = uint32(id) | uint32(s)<<16
}

func (a *awaiting) grow() {
	old := a.slots
	a.slots = make([]uint32, max(8, 2*len(old)))
	for _, e := range old {
		if e != 0 {
			a.slots[a.slot(uint16(e))] = e
		}
	}
}

// remove takes id out and moves back what had been pushed past its slot.
func (a *awaiting) remove(id uint16) {
	if a.n == 0 {
		return
	}
	hole := a.slot(id)
	if a.slots[hole] == 0 {
		return
	}
	a.n--
	mask := len(a.slots) - 1
	for i := (hole + 1) & mask; a.slots[i] != 0; i = (i + 1) & mask {
		home := int(uint16(a.slots[i])) & mask
		if (i-home)&mask >= (i-hole)&mask {
			a.slots[hole] = a.slots[i]
			hole = i
		}
	}
	a.slots[hole] = 0
}
