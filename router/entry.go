package router

import (
	"hash/maphash"
	"strings"
	"unsafe"
)

// entry is what a place in the table holds: who wants the topics of one text,
// or a branch of the trie. There are three forms, told apart by kind:
//
//   - one party (a subscriber or node), with the text packed behind the
//     header: one small object without pointers, as most filters have one
//     subscriber and a million of them must not keep the garbage collector busy
//   - many, whose set holds any number of parties
//   - branch, a node of the trie
//
// Readers may hold an entry at any time, so that none is changed once it is
// published: it is replaced. (Sets and nodes behind one do change, see there.)
type entry struct {
	party uint64 // kindSubscriber, kindNode: its number
	asks  asks   // kindSubscriber
	size  uint16 // of the text, bytes
	kind  kind
	whole bool // the key is the whole text, else its first level
}

type kind uint8

const (
	kindSubscriber kind = 1 + iota
	kindNode
	kindMany
	kindBranch
	kindGroup
)

// many is an entry with a set of parties.
type many struct {
	entry
	label string // the text
	set   *set
}

// branch is an entry that leads on to a node of the trie.
type branch struct {
	entry
	label string // the text: whole levels without #, not empty of levels
	node  *node
}

// listed is an entry of the list of share groups.
type listed struct {
	entry
	label string // the group's filter
	group *Group
}

// asks are Options in four bytes: QoS in two bits, no local, retain as
// published, and 28 bits of identifier.
type asks uint32

const (
	asksNoLocal asks = 1 << 2
	asksRetain  asks = 1 << 3
)

func pack(o Options) asks {
	a := asks(o.QoS&3) | asks(o.ID)<<4
	if o.NoLocal {
		a |= asksNoLocal
	}
	if o.RetainAsPublished {
		a |= asksRetain
	}
	return a
}

func (a asks) qos() uint8    { return uint8(a & 3) }
func (a asks) noLocal() bool { return a&asksNoLocal != 0 }
func (a asks) retain() bool  { return a&asksRetain != 0 }
func (a asks) id() uint32    { return uint32(a >> 4) }

func newOne(k kind, party uint64, a asks, text string, whole bool) *entry {
	// Words rather than bytes, so that the header is aligned.
	words := make([]uint64, (int(unsafe.Sizeof(entry{}))+len(text)+7)/8)
	e := (*entry)(unsafe.Pointer(unsafe.SliceData(words)))
	*e = entry{party: party, asks: a, size: uint16(len(text)), kind: k, whole: whole}
	if text != "" { // a pointer may not point beyond its object
		copy(unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(e), unsafe.Sizeof(*e))), len(text)), text)
	}
	return e
}

func newMany(s *set, text string, whole bool) *entry {
	m := &many{entry: entry{kind: kindMany, whole: whole}, label: text, set: s}
	return &m.entry
}

func newBranch(n *node, text string) *entry {
	b := &branch{entry: entry{kind: kindBranch}, label: text, node: n}
	return &b.entry
}

func newListed(g *Group) *entry {
	l := &listed{entry: entry{kind: kindGroup, whole: true}, label: g.filter.text, group: g}
	return &l.entry
}

// set of a kindMany, node of a kindBranch and group of a kindGroup: the header
// is the first field of the object that its kind names.
func (e *entry) set() *set     { return (*many)(unsafe.Pointer(e)).set }
func (e *entry) node() *node   { return (*branch)(unsafe.Pointer(e)).node }
func (e *entry) group() *Group { return (*listed)(unsafe.Pointer(e)).group }

// text is what is left of the pattern at the entry's place.
func (e *entry) text() string {
	switch e.kind {
	case kindMany:
		return (*many)(unsafe.Pointer(e)).label
	case kindBranch:
		return (*branch)(unsafe.Pointer(e)).label
	case kindGroup:
		return (*listed)(unsafe.Pointer(e)).label
	}
	if e.size == 0 {
		return ""
	}
	return unsafe.String((*byte)(unsafe.Add(unsafe.Pointer(e), unsafe.Sizeof(*e))), e.size)
}

// retext returns a copy of e with another text, which shares its set or node.
func (e *entry) retext(text string) *entry {
	switch e.kind {
	case kindMany:
		return newMany(e.set(), text, e.whole)
	case kindBranch:
		return newBranch(e.node(), text)
	}
	return newOne(e.kind, e.party, e.asks, text, e.whole)
}

// key is what an index finds e by.
func (e *entry) key() string {
	if e.whole {
		return e.text()
	}
	level, _, _ := strings.Cut(e.text(), "/")
	return level
}

func (e *entry) hasKey(key string) bool {
	text := e.text()
	return len(text) >= len(key) && text[:len(key)] == key &&
		(len(text) == len(key) || !e.whole && text[len(key)] == '/')
}

// isOwn says whether a subscriber of this node is among e's parties, so that
// peers must know of the filter.
func (e *entry) isOwn() bool {
	switch {
	case e == nil || e.kind == kindNode:
		return false
	case e.kind == kindMany:
		return e.set().isOwn()
	}
	return true
}

// hasNode says whether node n is among e's parties.
func (e *entry) hasNode(n NodeID) bool {
	switch {
	case e == nil:
		return false
	case e.kind == kindNode:
		return e.party == uint64(n)
	case e.kind == kindMany:
		return e.set().hasNode(n)
	}
	return false
}

// seed places keys in the indexes of this process. It is secret, since clients
// choose the keys and could otherwise make all of them collide.
var seed = maphash.MakeSeed()

func hash(key string) uint64 { return maphash.String(seed, key) }
