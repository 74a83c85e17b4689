// Package field takes apart what nodes send one another in bytes of their own:
// the records of raftnet, shardnet and shardroutes.
package field

import "encoding/binary"

// Reader reads fields from the front of B. The first that is not there or does
// not parse sets Bad and empties B, so that all that is read after it is zero:
// one look at Done after the last field is enough.
type Reader struct {
	B   []byte // what is left
	Bad bool
}

// Fail makes what is read bad, for a field whose value is not allowed.
func (r *Reader) Fail() { r.Bad, r.B = true, nil }

// Done reports whether every field was there and nothing is left.
func (r *Reader) Done() bool { return !r.Bad && len(r.B) == 0 }

// Byte reads one byte.
func (r *Reader) Byte() byte {
	if len(r.B) == 0 {
		r.Fail()
		return 0
	}
	v := r.B[0]
	r.B = r.B[1:]
	return v
}

// Uvarint reads a number as binary.AppendUvarint writes it.
func (r *Reader) Uvarint() uint64 {
	v, n := binary.Uvarint(r.B)
	if n <= 0 {
		r.Fail()
		return 0
	}
	r.B = r.B[n:]
	return v
}

// Varint reads a number as binary.AppendVarint writes it.
func (r *Reader) Varint() int64 {
	v, n := binary.Varint(r.B)
	if n <= 0 {
		r.Fail()
		return 0
	}
	r.B = r.B[n:]
	return v
}

// Bytes reads what AppendBytes writes, nil for nothing. It borrows from B.
func (r *Reader) Bytes() []byte {
	n := r.Uvarint()
	if n > uint64(len(r.B)) {
		r.Fail()
		return nil
	}
	if n == 0 {
		return nil
	}
	v := r.B[:n:n]
	r.B = r.B[n:]
	return v
}

// AppendBytes appends the length of b and b to dst.
func AppendBytes(dst, b []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}
