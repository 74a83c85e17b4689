package websocket

import "encoding/binary"

// A frame begins with two bytes: the end of a message, reserved bits and the kind,
// and the mark of a mask and the length. A longer length follows in two or eight
// bytes, then the mask in four.
const (
	finBit      = 0x80
	reservedBit = 0x70
	kindBits    = 0x0f

	maskBit    = 0x80
	lengthBits = 0x7f
	length16   = 126
	length64   = 127

	maxControl = 125 // bytes of payload of a control frame
)

// Kinds of frames.
const (
	continuation = 0x0
	text         = 0x1
	binaryData   = 0x2
	closing      = 0x8
	ping         = 0x9
	pong         = 0xa
)

// Code is why a connection is closed, as a close frame says it.
type Code uint16

// The codes that are sent.
const (
	Normal      Code = 1000
	BadProtocol Code = 1002
	BadKind     Code = 1003 // text, where only binary is taken
	BadText     Code = 1007 // a reason that is not UTF-8
)

// head is what a frame begins with.
type head struct {
	fin, reserved, masked bool
	kind                  byte
	length                uint64
	key                   uint32
}

// parseHead reads the head at the start of b. size 0: it is not all there yet. ok is
// false if the length is spelled longer than it need be, or has a sign.
func parseHead(b []byte) (h head, size int, ok bool) {
	if len(b) < 2 {
		return h, 0, true
	}
	h.fin, h.reserved, h.kind = b[0]&finBit != 0, b[0]&reservedBit != 0, b[0]&kindBits
	h.masked, h.length = b[1]&maskBit != 0, uint64(b[1]&lengthBits)
	size = 2
	switch h.length {
	case length16:
		size += 2
	case length64:
		size += 8
	}
	at := size
	if h.masked {
		size += 4
	}
	if len(b) < size {
		return h, 0, true
	}
	switch h.length {
	case length16:
		h.length = uint64(binary.BigEndian.Uint16(b[2:]))
		ok = h.length >= length16
	case length64:
		h.length = binary.BigEndian.Uint64(b[2:])
		ok = h.length > 1<<16-1 && h.length < 1<<63
	default:
		ok = true
	}
	if h.masked {
		h.key = binary.LittleEndian.Uint32(b[at:])
	}
	return h, size, ok
}

// appendHead appends the head of a frame that ends its message.
func appendHead(dst []byte, kind byte, length int, masked bool, key uint32) []byte {
	var m byte
	if masked {
		m = maskBit
	}
	dst = append(dst, finBit|kind)
	switch {
	case length < length16:
		dst = append(dst, m|byte(length))
	case length < 1<<16:
		dst = binary.BigEndian.AppendUint16(append(dst, m|length16), uint16(length))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, m|length64), uint64(length))
	}
	if masked {
		dst = binary.LittleEndian.AppendUint32(dst, key)
	}
	return dst
}

// AppendHead appends the head of a server's binary frame of length bytes.
func AppendHead(dst []byte, length int) []byte { return appendHead(dst, binaryData, length, false, 0) }

// AppendMasked appends a client's binary frame around payload, masked with key, which
// has to be a new and unpredictable one for each frame.
func AppendMasked(dst, payload []byte, key uint32) []byte {
	dst = appendHead(dst, binaryData, len(payload), true, key)
	at := len(dst)
	dst = append(dst, payload...)
	mask(dst[at:], dst[at:], key)
	return dst
}
