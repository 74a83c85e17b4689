package mqtt

import "encoding/binary"

// raw builds bytes the way the standard writes packets down: a string is two
// bytes of length and its bytes, int and rune are one byte, uint16 and uint32 are
// big-endian, []byte and Properties stand as they are.
func raw(parts ...any) (b []byte) {
	for _, part := range parts {
		switch x := part.(type) {
		case int:
			b = append(b, byte(x))
		case rune:
			b = append(b, byte(x))
		case Reason:
			b = append(b, byte(x))
		case PropertyID:
			b = append(b, byte(x))
		case Version:
			b = append(b, byte(x))
		case uint16:
			b = binary.BigEndian.AppendUint16(b, x)
		case uint32:
			b = binary.BigEndian.AppendUint32(b, x)
		case string:
			b = append(b, raw(uint16(len(x)))...)
			b = append(b, x...)
		case []byte:
			b = append(b, x...)
		default:
			panic("raw: no such part")
		}
	}
	return b
}

// sized is raw behind its length, as a property section stands in a packet.
func sized(parts ...any) []byte {
	b := raw(parts...)
	return append(appendVariable(nil, len(b)), b...)
}

// packet is a whole packet.
func packet(first int, parts ...any) []byte {
	return append([]byte{byte(first)}, sized(parts...)...)
}
