package router

import (
	"encoding/binary"
	"iter"
	"unsafe"
)

// Filters is a list of filters that differ, in the order in which they were added. All of
// it is one piece of memory without pointers, so that the lists of a million clients do
// not keep the garbage collector busy. The zero value is empty.
//
// A packed filter is the length of its text, doubled, with the lowest bit set if it has a
// wildcard; where its pattern begins; and the text. Bytes once written are never changed,
// since the filters that a list gave out share them.
type Filters struct {
	packed []byte
	count  int
}

// Len is how many there are.
func (l *Filters) Len() int { return l.count }

// Add appends a filter, which must not be there.
func (l *Filters) Add(f Filter) {
	head := uint64(len(f.text)) << 1
	if f.wild {
		head |= 1
	}
	l.packed = binary.AppendUvarint(l.packed, head)
	l.packed = binary.AppendUvarint(l.packed, uint64(f.at))
	l.packed = append(l.packed, f.text...)
	l.count++
}

// All goes through the list. Whoever keeps one of its filters keeps the memory of all.
func (l *Filters) All() iter.Seq[Filter] {
	return func(yield func(Filter) bool) {
		for b := l.packed; len(b) > 0; {
			var f Filter
			if f, b = cutFilter(b); !yield(f) {
				return
			}
		}
	}
}

// Has says whether a filter is there.
func (l *Filters) Has(f Filter) bool {
	for have := range l.All() {
		if have == f {
			return true
		}
	}
	return false
}

// Delete takes out those of which gone is true. Others may still hold filters of the list
// as it was, so that what is left moves.
func (l *Filters) Delete(gone func(Filter) bool) {
	kept := Filters{}
	for f := range l.All() {
		if !gone(f) {
			kept.Add(f)
		}
	}
	if kept.count < l.count {
		*l = kept
	}
}

// cutFilter reads the first of b, which Add wrote.
func cutFilter(b []byte) (f Filter, rest []byte) {
	head, n := binary.Uvarint(b)
	at, m := binary.Uvarint(b[n:])
	text := b[n+m:][:head>>1]
	return Filter{text: unsafe.String(unsafe.SliceData(text), len(text)), at: uint32(at), wild: head&1 != 0}, b[n+m+len(text):]
}
