package router

import (
	"encoding/binary"
	"iter"
)

// Filters is a packed list of filters that differ, in the order in which they were
// added. It holds no pointers but its own, so that whoever keeps the lists of a million
// clients in one piece does not keep the garbage collector busy. The empty one has none.
//
// A packed filter is the length of its text, doubled, with the lowest bit set if it has a
// wildcard; where its pattern begins; and the text. The filters that a list gives out
// share its memory.
type Filters string

// AppendFilter appends f, packed, to the bytes of a list that does not have it.
func AppendFilter(list []byte, f Filter) []byte {
	head := uint64(len(f.text)) << 1
	if f.wild {
		head |= 1
	}
	list = binary.AppendUvarint(list, head)
	list = binary.AppendUvarint(list, uint64(f.at))
	return append(list, f.text...)
}

// All goes through the list. Whoever keeps one of its filters keeps the memory of all.
func (l Filters) All() iter.Seq[Filter] {
	return func(yield func(Filter) bool) {
		for rest := l; len(rest) > 0; {
			var f Filter
			if f, rest = rest.cut(); !yield(f) {
				return
			}
		}
	}
}

// Has says whether a filter is there.
func (l Filters) Has(f Filter) bool {
	for have := range l.All() {
		if have == f {
			return true
		}
	}
	return false
}

// cut reads the first of l, which AppendFilter wrote.
func (l Filters) cut() (f Filter, rest Filters) {
	head, n := l.uvarint()
	at, m := l[n:].uvarint()
	begin := n + m
	end := begin + int(head>>1)
	return Filter{text: string(l[begin:end]), at: uint32(at), wild: head&1 != 0}, l[end:]
}

func (l Filters) uvarint() (x uint64, size int) {
	return binary.Uvarint([]byte(l[:min(len(l), binary.MaxVarintLen64)]))
}
