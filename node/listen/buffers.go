package listen

import "math/bits"

// buffers is a loop's stock of byte slices by size class, bounded in bytes. A
// buffer of class k has a capacity of at least minBuffer<<k.
type buffers struct {
	class [bufferClasses][][]byte
	low   [bufferClasses]int // fewest in stock since the last trim
	bytes int                // in stock
}

const (
	minBuffer     = 256
	bufferClasses = 13      // up to 1 MiB
	maxStock      = 4 << 20 // bytes in stock
)

// classOf is the smallest class whose buffers hold n bytes.
func classOf(n int) int {
	if n <= minBuffer {
		return 0
	}
	return bits.Len(uint(n-1) / minBuffer)
}

// get returns an empty buffer of class k or a little more. Beyond the largest
// class nothing is kept.
func (p *buffers) get(k int) []byte {
	for j := k; j < min(k+3, bufferClasses); j++ {
		if n := len(p.class[j]); n > 0 {
			b := p.class[j][n-1]
			p.class[j][n-1] = nil
			p.class[j] = p.class[j][:n-1]
			p.low[j] = min(p.low[j], n-1)
			p.bytes -= cap(b)
			return b
		}
	}
	return make([]byte, 0, minBuffer<<k)
}

// put takes a buffer that nobody uses any more.
func (p *buffers) put(b []byte) {
	if cap(b) < minBuffer || p.bytes+cap(b) > maxStock {
		return
	}
	k := bits.Len(uint(cap(b)/minBuffer)) - 1
	if k >= bufferClasses {
		return
	}
	if invariants {
		mangle(b[:cap(b)])
	}
	p.class[k] = append(p.class[k], b[:0])
	p.bytes += cap(b)
}

// trim drops half of what was not needed since the last trim.
func (p *buffers) trim() {
	for k := range p.class {
		n := len(p.class[k])
		keep := n - (p.low[k]+1)/2
		for j := keep; j < n; j++ {
			p.bytes -= cap(p.class[k][j])
			p.class[k][j] = nil
		}
		p.class[k] = p.class[k][:keep]
		p.low[k] = keep
	}
}

// mangle overwrites bytes, one at least, that nobody may read any more.
func mangle(b []byte) {
	b[0] = 0xA5
	for n := 1; n < len(b); n *= 2 {
		copy(b[n:], b[:n])
	}
}

// slab is a table of values addressed by 1 + index, so that 0 is none.
type slab[T any] struct {
	items []T
	free  []uint32
}

func (s *slab[T]) take() (uint32, *T) {
	if n := len(s.free); n > 0 {
		at := s.free[n-1]
		s.free = s.free[:n-1]
		return at, &s.items[at-1]
	}
	var zero T
	s.items = append(s.items, zero)
	return uint32(len(s.items)), &s.items[len(s.items)-1]
}

func (s *slab[T]) at(at uint32) *T { return &s.items[at-1] }

func (s *slab[T]) put(at uint32) {
	var zero T
	s.items[at-1] = zero
	s.free = append(s.free, at)
}
