package raftstore

// guestTable finds guests by their identifiers: a dense list, and an open hash table of
// places in it. It costs some 45 bytes a guest and nothing for the garbage collector; a
// map costs twice as much.
//
// Invariants: places names each of list once, going on from its identifier's home
// without passing an empty one; at most three quarters are taken.
type guestTable struct {
	list   []guest
	places []uint32 // place in list + 1, 0 where empty; length a power of two
}

func newGuestTable() guestTable { return guestTable{places: make([]uint32, 8)} }

func (t *guestTable) mask() uint32 { return uint32(len(t.places)) - 1 }

// at is where in places an identifier is found, or would be put.
func (t *guestTable) at(id identifier) (i uint32, ok bool) {
	for i = uint32(id[0]) & t.mask(); t.places[i] != 0; i = (i + 1) & t.mask() {
		if t.list[t.places[i]-1].id == id {
			return i, true
		}
	}
	return i, false
}

func (t *guestTable) find(id identifier) (g guest, ok bool) {
	if i, ok := t.at(id); ok {
		return t.list[t.places[i]-1], true
	}
	return guest{}, false
}

// add takes in a guest whose identifier is not there.
func (t *guestTable) add(g guest) {
	t.list = append(t.list, g)
	if len(t.list) > len(t.places)/4*3 {
		t.places = make([]uint32, 2*len(t.places))
		for k := range t.list[:len(t.list)-1] {
			i, _ := t.at(t.list[k].id)
			t.places[i] = uint32(k) + 1
		}
	}
	i, _ := t.at(g.id)
	t.places[i] = uint32(len(t.list))
}

// remove takes out a guest, if it is there. The last of the list takes its place, and
// what would no longer be found behind the gap moves up.
func (t *guestTable) remove(id identifier) {
	gap, ok := t.at(id)
	if !ok {
		return
	}
	k, last := t.places[gap], uint32(len(t.list))
	moved, _ := t.at(t.list[last-1].id)
	t.places[moved] = k
	t.list[k-1] = t.list[last-1]
	t.list = t.list[:last-1]
	t.places[gap] = 0
	for i := (gap + 1) & t.mask(); t.places[i] != 0; i = (i + 1) & t.mask() {
		// An item whose home lies cyclically in (gap, i] stays where it is.
		home := uint32(t.list[t.places[i]-1].id[0]) & t.mask()
		if (i-home)&t.mask() >= (i-gap)&t.mask() {
			t.places[gap], t.places[i] = t.places[i], 0
			gap = i
		}
	}
	if len(t.list) == 0 {
		*t = newGuestTable()
	}
}
