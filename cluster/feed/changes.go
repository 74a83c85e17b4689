package feed

import (
	"encoding/binary"
	"errors"

	"dunlin/router"
)

// ErrMalformed says that bytes are not route changes.
var ErrMalformed = errors.New("route changes malformed")

// A change on the wire is its op, then
//
//	AddExact, RemoveExact         fingerprint (8 bytes, little-endian)
//	AddWildcard, RemoveWildcard   length (uvarint), filter
//	SetGroup                      members (uvarint), length (uvarint), filter

// AppendChange appends the form of c.
func AppendChange(dst []byte, c router.Change) []byte {
	dst = append(dst, byte(c.Op))
	switch c.Op {
	case router.AddExact, router.RemoveExact:
		return binary.LittleEndian.AppendUint64(dst, c.Fingerprint)
	case router.SetGroup:
		dst = binary.AppendUvarint(dst, uint64(c.Members))
	}
	dst = binary.AppendUvarint(dst, uint64(len(c.Filter)))
	return append(dst, c.Filter...)
}

// MaxChange is what a change takes at most: its filter is 64 KiB.
const MaxChange = 1 + 2*binary.MaxVarintLen64 + 64<<10

// ReadChanges appends the changes that b consists of. They own their filters.
func ReadChanges(b []byte, dst []router.Change) ([]router.Change, error) {
	for len(b) > 0 {
		c := router.Change{Op: router.Op(b[0])}
		b = b[1:]
		switch c.Op {
		case router.AddExact, router.RemoveExact:
			if len(b) < 8 {
				return dst, ErrMalformed
			}
			c.Fingerprint, b = binary.LittleEndian.Uint64(b), b[8:]
			dst = append(dst, c)
			continue
		case router.SetGroup:
			m, n := binary.Uvarint(b)
			if n <= 0 || m > 1<<32-1 {
				return dst, ErrMalformed
			}
			c.Members, b = uint32(m), b[n:]
		case router.AddWildcard, router.RemoveWildcard:
		default:
			return dst, ErrMalformed
		}
		l, n := binary.Uvarint(b)
		if n <= 0 || l == 0 || l > uint64(len(b)-n) {
			return dst, ErrMalformed
		}
		b = b[n:]
		c.Filter, b = string(b[:l]), b[l:]
		dst = append(dst, c)
	}
	return dst, nil
}
