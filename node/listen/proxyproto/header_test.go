package proxyproto

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net/netip"
	"strings"
	"testing"
)

// v2 builds a header of version 2.
func v2(command, family byte, rest ...string) string {
	body := strings.Join(rest, "")
	b := append([]byte(signatureV2), command, family)
	return string(binary.BigEndian.AppendUint16(b, uint16(len(body)))) + body
}

// tlv builds an extension.
func tlv(kind byte, value string) string {
	return string(binary.BigEndian.AppendUint16([]byte{kind}, uint16(len(value)))) + value
}

const (
	four   = "\xc0\x00\x02\x01" + "\xc0\x00\x02\x02" + "\xc0\x00" + "\x22\xb3"
	six    = "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01" + "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02" + "\xc0\x00" + "\x22\xb3"
	mapped = "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xc0\x00\x02\x01" + "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xc0\x00\x02\x02" + "\xc0\x00" + "\x22\xb3"
)

// summed is a header with a checksum; bad changes it.
func summed(bad byte) string {
	b := []byte(v2(proxyV2, tcp4V2, four, tlv(0x05, "id"), tlv(crcV2, "\x00\x00\x00\x00"), tlv(0x02, "example.com")))
	at := strings.Index(string(b), "\x03\x00\x04") + 3
	binary.BigEndian.PutUint32(b[at:], crc32.Checksum(b, castagnoli))
	b[at] ^= bad
	return string(b)
}

var golden = []struct {
	name         string
	in           string
	source, dest string // "": not relayed
	err          error
}{
	{"v1 IPv4", "PROXY TCP4 192.0.2.1 192.0.2.2 49152 8883\r\n", "192.0.2.1:49152", "192.0.2.2:8883", nil},
	{"v1 IPv6", "PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n", "[2001:db8::1]:1", "[2001:db8::2]:65535", nil},
	{"v1 mapped", "PROXY TCP6 ::ffff:192.0.2.1 ::ffff:192.0.2.2 1 2\r\n", "192.0.2.1:1", "192.0.2.2:2", nil},
	{"v1 longest", "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
		"[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535", "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535", nil},
	{"v1 unknown", "PROXY UNKNOWN\r\n", "", "", nil},
	{"v1 unknown with more", "PROXY UNKNOWN ffff::1 ffff::1 65535 65535\r\n", "", "", nil},
	{"v1 unknown, almost", "PROXY UNKNOWNS\r\n", "", "", ErrMalformed},
	{"v1 datagrams", "PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n", "", "", ErrMalformed},
	{"v1 family that is not the addresses'", "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n", "", "", ErrMalformed},
	{"v1 one address of each family", "PROXY TCP6 2001:db8::1 192.0.2.2 1 2\r\n", "", "", ErrMalformed},
	{"v1 zone", "PROXY TCP6 fe80::1%eth0 fe80::2 1 2\r\n", "", "", ErrMalformed},
	{"v1 two spaces", "PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n", "", "", ErrMalformed},
	{"v1 space at the end", "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n", "", "", ErrMalformed},
	{"v1 too large a port", "PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n", "", "", ErrMalformed},
	{"v1 port with a zero before it", "PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n", "", "", ErrMalformed},
	{"v1 port with a sign", "PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n", "", "", ErrMalformed},
	{"v1 no port", "PROXY TCP4 192.0.2.1 192.0.2.2\r\n", "", "", ErrMalformed},
	{"v1 without a carriage return", "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n" + strings.Repeat("x", 107), "", "", ErrMalformed},
	{"v1 without end", "PROXY UNKNOWN " + strings.Repeat("x", 107), "", "", ErrMalformed},
	{"v1 one byte too long", "PROXY UNKNOWN " + strings.Repeat("x", 107-14-1) + "\r\n", "", "", ErrMalformed},
	{"v1 small letters", "proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n", "", "", ErrMissing},

	{"v2 IPv4", v2(proxyV2, tcp4V2, four), "192.0.2.1:49152", "192.0.2.2:8883", nil},
	{"v2 IPv6", v2(proxyV2, tcp6V2, six), "[2001:db8::1]:49152", "[2001:db8::2]:8883", nil},
	{"v2 mapped", v2(proxyV2, tcp6V2, mapped), "192.0.2.1:49152", "192.0.2.2:8883", nil},
	{"v2 Unix socket", v2(proxyV2, unixV2, strings.Repeat("/", addressesUnixV2)), "", "", nil},
	{"v2 own connection", v2(localV2, unspecV2), "", "", nil},
	{"v2 own connection with anything", v2(localV2, tcp4V2, "anything"), "", "", nil},
	{"v2 unspecified", v2(proxyV2, unspecV2, "anything"), "", "", nil},
	{"v2 extensions", v2(proxyV2, tcp4V2, four, tlv(0x20, strings.Repeat("c", 300)), tlv(0x04, "")), "192.0.2.1:49152", "192.0.2.2:8883", nil},
	{"v2 longest", v2(proxyV2, tcp4V2, four, tlv(0x04, strings.Repeat("\x00", MaxHeader-fixedV2-12-3))), "192.0.2.1:49152", "192.0.2.2:8883", nil},
	{"v2 too long", v2(proxyV2, tcp4V2, four, tlv(0x04, strings.Repeat("\x00", MaxHeader-fixedV2-12-2))), "", "", ErrMalformed},
	{"v2 checksum", summed(0), "192.0.2.1:49152", "192.0.2.2:8883", nil},
	{"v2 wrong checksum", summed(1), "", "", ErrMalformed},
	{"v2 checksum of three bytes", v2(proxyV2, tcp4V2, four, tlv(crcV2, "abc")), "", "", ErrMalformed},
	{"v2 cut extension", v2(proxyV2, tcp4V2, four, "\x04\x00"), "", "", ErrMalformed},
	{"v2 extension longer than the header", v2(proxyV2, tcp4V2, four, "\x04\x00\x02x"), "", "", ErrMalformed},
	{"v2 datagrams", v2(proxyV2, 0x12, four), "", "", ErrMalformed},
	{"v2 unknown family", v2(proxyV2, 0x41, four), "", "", ErrMalformed},
	{"v2 addresses cut", v2(proxyV2, tcp4V2, four[:11]), "", "", ErrMalformed},
	{"v2 addresses of IPv6 cut", v2(proxyV2, tcp6V2, four), "", "", ErrMalformed},
	{"v2 path cut", v2(proxyV2, unixV2, four), "", "", ErrMalformed},
	{"v2 unknown command", v2(0x22, tcp4V2, four), "", "", ErrMalformed},
	{"version 3", v2(0x31, tcp4V2, four), "", "", ErrMalformed},

	{"CONNECT", "\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00", "", "", ErrMissing},
	{"ClientHello", "\x16\x03\x01\x02\x00", "", "", ErrMissing},
	{"GET", "GET /mqtt HTTP/1.1\r\n", "", "", ErrMissing},
	{"POST", "POST / HTTP/1.1\r\n", "", "", ErrMissing},
}

func TestParse(t *testing.T) {
	const more = "\x10\x0c\x00\x04MQTT" // what follows is the client's
	for _, tt := range golden {
		t.Run(tt.name, func(t *testing.T) {
			h, n, _, err := Parse([]byte(tt.in + more))
			if !errors.Is(err, tt.err) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if tt.err != nil {
				if n != 0 || h != (Header{}) {
					t.Errorf("refused, and yet %d bytes and %v", n, h)
				}
				return
			}
			if n != len(tt.in) {
				t.Errorf("%d bytes, want %d", n, len(tt.in))
			}
			if h.Relayed() != (tt.source != "") {
				t.Errorf("relayed: %v", h.Relayed())
			}
			if tt.source == "" {
				return
			}
			if want := netip.MustParseAddrPort(tt.source); h.Source != want {
				t.Errorf("source %v, want %v", h.Source, want)
			}
			if want := netip.MustParseAddrPort(tt.dest); h.Destination != want {
				t.Errorf("destination %v, want %v", h.Destination, want)
			}
		})
	}
}

// What comes in pieces is read as what comes at once, and what want asks for is
// never more than the header has.
func FuzzParse(f *testing.F) {
	for _, tt := range golden {
		f.Add([]byte(tt.in))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		whole, size, _, failure := Parse(in)
		if size > min(len(in), MaxHeader) {
			t.Fatalf("a header of %d bytes in %d", size, len(in))
		}
		for k := range len(in) + 1 {
			h, n, want, err := Parse(in[:k:k])
			switch {
			case err != nil:
				if failure == nil || !errors.Is(err, failure) {
					t.Fatalf("%d bytes: %v, all of them: %v", k, err, failure)
				}
				return // it stays refused
			case n != 0:
				if n != size || h != whole {
					t.Fatalf("%d bytes: %d %v, all of them: %d %v", k, n, h, size, whole)
				}
				return
			case want <= k || want > MaxHeader || size != 0 && want > size:
				t.Fatalf("%d bytes: %d wanted, the header has %d", k, want, size)
			}
		}
		if failure != nil || size != 0 {
			t.Fatalf("all bytes: %d, %v", size, failure)
		}
	})
}

// FuzzWritten has headers as proxies write them, of any addresses: what is read is what
// was written, and all that follows is the client's.
func FuzzWritten(f *testing.F) {
	f.Add([]byte(four[:4]), []byte(four[4:8]), uint16(1), uint16(8883), "text", true)
	f.Add([]byte(six[:16]), []byte(six[16:32]), uint16(0), uint16(65535), "", false)
	f.Add([]byte(mapped[:16]), []byte(mapped[16:32]), uint16(7), uint16(7), "\x03", true)
	f.Fuzz(func(t *testing.T, from, to []byte, fromPort, toPort uint16, more string, old bool) {
		source, ok := netip.AddrFromSlice(from)
		dest, good := netip.AddrFromSlice(to)
		if !ok || !good || source.BitLen() != dest.BitLen() || len(more) > 1000 {
			return
		}
		kind, name := byte(tcp4V2), "TCP4"
		if source.Is6() {
			kind, name = tcp6V2, "TCP6"
		}
		var in string
		if old {
			in = fmt.Sprintf("PROXY %s %s %s %d %d\r\n", name, source, dest, fromPort, toPort)
		} else {
			ports := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, fromPort), toPort)
			in = v2(proxyV2, kind, string(from), string(to), string(ports), tlv(0x20, more))
		}
		h, n, _, err := Parse([]byte(in + more))
		if err != nil || n != len(in) || !h.Relayed() ||
			h.Source != netip.AddrPortFrom(source.Unmap(), fromPort) || h.Destination != netip.AddrPortFrom(dest.Unmap(), toPort) {
			t.Fatalf("%q is read as %d bytes: %+v, %v", in, n, h, err)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	for _, tt := range []struct{ name, in string }{
		{"v1", "PROXY TCP4 192.0.2.1 192.0.2.2 49152 8883\r\n"},
		{"v2", summed(0)},
	} {
		b.Run(tt.name, func(b *testing.B) {
			in := []byte(tt.in)
			b.ReportAllocs()
			for b.Loop() {
				if _, n, _, err := Parse(in); n != len(in) || err != nil {
					b.Fatal(n, err)
				}
			}
		})
	}
}
