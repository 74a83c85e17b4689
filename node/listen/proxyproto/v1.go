package proxyproto

import (
	"bytes"
	"net/netip"
	"strconv"
)

// Version 1 is a line of text: "PROXY TCP4 192.0.2.1 192.0.2.2 49152 8883\r\n".
const (
	prefixV1 = "PROXY "
	leastV1  = len("PROXY UNKNOWN\r\n")
	mostV1   = 107 // bytes, by the protocol's own count
)

func parseV1(b []byte) (h Header, n, want int, err error) {
	if !begins(b, prefixV1) {
		return h, 0, 0, ErrMissing
	}
	line, _, found := bytes.Cut(b[:min(len(b), mostV1)], []byte("\r\n"))
	if !found {
		if len(b) >= mostV1 {
			return h, 0, 0, ErrMalformed
		}
		return h, 0, max(leastV1, len(b)+1), nil
	}
	n = len(line) + len("\r\n")
	if string(line) == "PROXY UNKNOWN" || bytes.HasPrefix(line, []byte("PROXY UNKNOWN ")) {
		return h, n, 0, nil // whatever follows means nothing
	}
	h, ok := fieldsV1(line)
	if !ok {
		return Header{}, 0, 0, ErrMalformed
	}
	return h, n, 0, nil
}

// fieldsV1 reads family, addresses and ports, which single spaces part.
func fieldsV1(line []byte) (h Header, ok bool) {
	f := bytes.Split(line, []byte(" "))
	if len(f) != 6 {
		return h, false
	}
	family := string(f[1])
	if family != "TCP4" && family != "TCP6" {
		return h, false
	}
	for k, to := range []*netip.AddrPort{&h.Source, &h.Destination} {
		ip, err := netip.ParseAddr(string(f[2+k]))
		if err != nil || ip.Is4() != (family == "TCP4") || ip.Zone() != "" {
			return h, false
		}
		port, err := strconv.ParseUint(string(f[4+k]), 10, 16)
		if err != nil || len(f[4+k]) > 1 && f[4+k][0] == '0' {
			return h, false
		}
		*to = netip.AddrPortFrom(ip.Unmap(), uint16(port))
	}
	return h, true
}
