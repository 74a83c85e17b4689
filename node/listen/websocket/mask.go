package websocket

import (
	"encoding/binary"
	"math/bits"
)

// mask XORs src with key, over and over, into dst, which may lie over the same bytes
// or before them, and returns the key that goes on behind. The lowest byte of a key
// comes first.
func mask(dst, src []byte, key uint32) uint32 {
	long := uint64(key)<<32 | uint64(key)
	n := len(src)
	dst = dst[:n]
	for len(src) >= 32 {
		// All four are read before the first is written: dst may be a few bytes before src.
		s, d := src[:32], dst[:32]
		a := binary.LittleEndian.Uint64(s)
		b := binary.LittleEndian.Uint64(s[8:])
		c := binary.LittleEndian.Uint64(s[16:])
		e := binary.LittleEndian.Uint64(s[24:])
		binary.LittleEndian.PutUint64(d, a^long)
		binary.LittleEndian.PutUint64(d[8:], b^long)
		binary.LittleEndian.PutUint64(d[16:], c^long)
		binary.LittleEndian.PutUint64(d[24:], e^long)
		src, dst = src[32:], dst[32:]
	}
	for len(src) >= 8 {
		binary.LittleEndian.PutUint64(dst, binary.LittleEndian.Uint64(src)^long)
		src, dst = src[8:], dst[8:]
	}
	for k, v := range src {
		dst[k] = v ^ byte(key>>(8*(k%4)))
	}
	return bits.RotateLeft32(key, -8*(n%4))
}
