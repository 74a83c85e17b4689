package scram

import (
	"cmp"
	"math/bits"
	"slices"
)

// Shape is what a client is told of a Verifier beside the salt itself. The zero value is
// none's.
type Shape struct{ Iterations, SaltSize int }

// Shapes counts the shapes of many users' verifiers, so that who is not among them can be
// given one of those. The zero value has none.
type Shapes struct{ of [mechanisms]shapes }

type shapes struct {
	counted []counted // by Shape
	total   uint64
}

type counted struct {
	Shape
	count uint64
}

// maxShapes bounds those that are told apart: nobody has many.
const maxShapes = 64

// Add counts a verifier.
func (s *Shapes) Add(v Verifier) {
	of := &s.of[v.mechanism]
	i, found := slices.BinarySearchFunc(of.counted, v.shape(), func(c counted, s Shape) int {
		return cmp.Or(cmp.Compare(c.Iterations, s.Iterations), cmp.Compare(c.SaltSize, s.SaltSize))
	})
	switch {
	case found:
		of.counted[i].count++
	case len(of.counted) == maxShapes:
		return
	default:
		of.counted = slices.Insert(of.counted, i, counted{v.shape(), 1})
	}
	of.total++
}

// Pick returns one of the shapes that are counted, or the zero Shape. Of all values of at each
// comes for as large a part as it has of the verifiers: so few names change theirs when a
// verifier is added.
func Pick(m Mechanism, at uint64, all ...*Shapes) Shape {
	total := uint64(0)
	for _, s := range all {
		total += s.of[m].total
	}
	n, _ := bits.Mul64(at, total)
	for _, s := range all {
		for _, c := range s.of[m].counted {
			if n < c.count {
				return c.Shape
			}
			n -= c.count
		}
	}
	return Shape{}
}
