package proxyproto

import (
	"encoding/binary"
	"hash/crc32"
	"net/netip"
)

// Version 2 is binary: a signature that no other protocol begins with, version and
// command, family and kind of transport, and a length. So many bytes follow:
// addresses, and extensions of type, length and value.
const (
	signatureV2 = "\r\n\r\n\x00\r\nQUIT\n"
	fixedV2     = len(signatureV2) + 4
)

// The values of the bytes behind the signature.
const (
	localV2 = 0x20 // version 2, the proxy's own connection
	proxyV2 = 0x21 // version 2, a client's

	unspecV2 = 0x00
	tcp4V2   = 0x11
	tcp6V2   = 0x21
	unixV2   = 0x31

	addressesUnixV2 = 2 * 108
)

// The extension that holds a checksum over the whole header. No other one is of use
// here; they are passed over.
const crcV2 = 0x03

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func parseV2(b []byte) (h Header, n, want int, err error) {
	if !begins(b, signatureV2) {
		return h, 0, 0, ErrMissing
	}
	if len(b) < fixedV2 {
		return h, 0, fixedV2, nil
	}
	n = fixedV2 + int(binary.BigEndian.Uint16(b[fixedV2-2:]))
	command, family := b[12], b[13]
	if command != localV2 && command != proxyV2 || n > MaxHeader {
		return h, 0, 0, ErrMalformed
	}
	if len(b) < n {
		return h, 0, n, nil
	}
	if command == localV2 {
		return h, n, 0, nil // whatever follows is to be ignored
	}
	rest := b[fixedV2:n]
	size, ok := 0, true
	switch family {
	case unspecV2:
		return h, n, 0, nil // likewise: there are no addresses, and where they end is not known
	case tcp4V2:
		h, size = addressesV2(rest, 4)
	case tcp6V2:
		h, size = addressesV2(rest, 16)
	case unixV2:
		size = addressesUnixV2
	default:
		ok = false // datagrams, or what nobody has defined
	}
	if !ok || len(rest) < size || !extensionsV2(b[:n], rest[size:]) {
		return Header{}, 0, 0, ErrMalformed
	}
	return h, n, 0, nil
}

// addressesV2 reads two addresses of ip bytes and two ports. size is what they take;
// b may be shorter.
func addressesV2(b []byte, ip int) (h Header, size int) {
	size = 2*ip + 2*2
	if len(b) < size {
		return h, size
	}
	source, _ := netip.AddrFromSlice(b[:ip])
	destination, _ := netip.AddrFromSlice(b[ip : 2*ip])
	ports := b[2*ip:]
	h.Source = netip.AddrPortFrom(source.Unmap(), binary.BigEndian.Uint16(ports))
	h.Destination = netip.AddrPortFrom(destination.Unmap(), binary.BigEndian.Uint16(ports[2:]))
	return h, size
}

// extensionsV2 says whether the extensions e at the end of header are well formed and
// a checksum among them is right.
func extensionsV2(header, e []byte) bool {
	for len(e) > 0 {
		if len(e) < 3 {
			return false
		}
		size := 3 + int(binary.BigEndian.Uint16(e[1:]))
		if len(e) < size {
			return false
		}
		if e[0] == crcV2 && !checksumV2(header, len(header)-len(e)+3, size-3) {
			return false
		}
		e = e[size:]
	}
	return true
}

// checksumV2 compares the checksum of size bytes at header[at:]: over the whole
// header, in which it counts as zero.
func checksumV2(header []byte, at, size int) bool {
	if size != crc32.Size {
		return false
	}
	sum := crc32.Update(0, castagnoli, header[:at])
	sum = crc32.Update(sum, castagnoli, []byte{0, 0, 0, 0})
	sum = crc32.Update(sum, castagnoli, header[at+size:])
	return sum == binary.BigEndian.Uint32(header[at:])
}
