package session

import "dunlin/proto/mqtt"

// answers holds the PUBLISHes of one QoS that wait for their PUBACK or PUBREC,
// in the order in which they came: a later one, even when it is ready, waits
// for the earlier ones [MQTT-4.6.0-2] [MQTT-4.6.0-3].
//
// It is a ring of 4 bytes each: packet id, reason, and whether it is ready. The
// oldest due of them are ready, the next one is not.
type answers struct {
	ring []uint32 // length zero or a power of two
	head uint32   // of the oldest; counts on and on
	n    uint32
	due  uint32
}

const (
	answerReady = 1 << 24
	answerVoid  = 1 << 25 // ready, but not to be given any more
)

func (a *answers) at(i uint32) *uint32 { return &a.ring[i&uint32(len(a.ring)-1)] }

// push adds a publish that waits, or one whose answer is known already.
func (a *answers) push(id uint16, ready bool) {
	if int(a.n) == len(a.ring) {
		a.grow()
	}
	e := uint32(id)
	if ready {
		e |= answerReady
	}
	*a.at(a.head + a.n) = e
	a.n++
	a.lead()
}

// lead counts the answers whose turn has come.
func (a *answers) lead() {
	for a.due < a.n && *a.at(a.head + a.due)&answerReady != 0 {
		a.due++
	}
}

func (a *answers) grow() {
	ring := make([]uint32, max(8, 2*len(a.ring)))
	for i := range a.n {
		ring[i] = *a.at(a.head + i)
	}
	a.ring, a.head = ring, 0
}

// settle gives the oldest waiting publish with that id its answer and says
// whether there was one. The broker answers mostly in order, so the search is
// short.
func (a *answers) settle(id uint16, reason mqtt.Reason) bool {
	for i := a.due; i < a.n; i++ {
		if e := a.at(a.head + i); *e == uint32(id) {
			*e |= answerReady | uint32(reason)<<16
			a.lead()
			return true
		}
	}
	return false
}

// void takes back a ready answer that was not given yet.
func (a *answers) void(id uint16) {
	for i := range a.n {
		if e := a.at(a.head + i); *e == uint32(id)|answerReady {
			*e |= answerVoid
			return
		}
	}
}

// next takes the oldest publish off if its answer is ready.
func (a *answers) next() (id uint16, reason mqtt.Reason, ok bool) {
	for a.due > 0 {
		e := *a.at(a.head)
		a.head++
		a.n--
		a.due--
		if e&answerVoid == 0 {
			return uint16(e), mqtt.Reason(e >> 16), true
		}
	}
	return 0, 0, false
}
