package mqtt

import "encoding/binary"

// maxVariable is the largest variable byte integer, four bytes of seven bits.
const maxVariable = 1<<28 - 1

// maxString is the longest string or binary field in bytes.
const maxString = 1<<16 - 1

// variable reads the variable byte integer at the head of b. width is its
// length in bytes, 0 where b ends within it. Five bytes, and more bytes than
// the value needs [MQTT-1.5.5-1], are malformed.
func variable(b []byte) (value uint32, width int, err error) {
	for i, c := range b {
		value |= uint32(c&0x7F) << (7 * i)
		if c < 0x80 {
			if c == 0 && i > 0 {
				return 0, 0, errVariable
			}
			return value, i + 1, nil
		}
		if i == 3 {
			return 0, 0, errVariable
		}
	}
	return 0, 0, nil
}

// variableSize is the number of bytes that n takes as a variable byte integer.
func variableSize(n int) int {
	switch {
	case n < 1<<7:
		return 1
	case n < 1<<14:
		return 2
	case n < 1<<21:
		return 3
	}
	return 4
}

func appendVariable(dst []byte, n int) []byte {
	if uint(n) > maxVariable {
		panic("mqtt: number or packet too large to encode")
	}
	for n >= 0x80 {
		dst = append(dst, byte(n)|0x80)
		n >>= 7
	}
	return append(dst, byte(n))
}

// appendString appends a string or binary field. What is longer than the wire
// can say is a bug of the caller.
func appendString[S ~string | ~[]byte](dst []byte, s S) []byte {
	if len(s) > maxString {
		panic("mqtt: string too long to encode")
	}
	return append(append(dst, byte(len(s)>>8), byte(len(s))), s...)
}

// appendOpen and appendClose bracket what is preceded by its own length as a
// variable byte integer. Packets that are small or rare are written so: the
// length is known at the end and nothing has to be computed twice.
func appendOpen(dst []byte) (out []byte, at int) { return append(dst, 0), len(dst) }

func appendClose(dst []byte, at int) []byte {
	n := len(dst) - at - 1
	if n < 0x80 {
		dst[at] = byte(n)
		return dst
	}
	width := variableSize(n)
	var room [3]byte
	dst = append(dst, room[:width-1]...)
	copy(dst[at+width:], dst[at+1:])
	appendVariable(dst[:at], n)
	return dst
}

// reader takes fields off the head of a packet. The first error stays, and
// everything taken after it is empty.
type reader struct {
	rest []byte
	err  error
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.rest = nil
}

func (r *reader) take(n int) []byte {
	if n > len(r.rest) {
		r.fail(errShort)
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uint16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

// packetID takes a packet identifier, which is never 0 [MQTT-2.2.1-3].
func (r *reader) packetID() uint16 {
	id := r.uint16()
	if id == 0 {
		r.fail(errPacketID)
	}
	return id
}

// binary takes binary data, or a string whose text the caller checks.
func (r *reader) binary() []byte { return r.take(int(r.uint16())) }

// string takes a string and checks its text.
func (r *reader) string() []byte {
	s := r.binary()
	if !validText(s) {
		r.fail(errText)
		return nil
	}
	return s
}

// properties takes a property section with its length.
func (r *reader) properties() Properties {
	n, width, err := variable(r.rest)
	switch {
	case err != nil:
		r.fail(err)
	case width == 0:
		r.fail(errShort)
	default:
		r.take(width)
		return r.take(int(n))
	}
	return nil
}

// end is the verdict on a packet that must end here.
func (r *reader) end() error {
	if r.err == nil && len(r.rest) != 0 {
		return errTrailing
	}
	return r.err
}
