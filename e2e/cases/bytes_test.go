package cases

import (
	"encoding/binary"
	"encoding/hex"
	"strings"
)

// raw is a control packet with a right length around whatever is in it.
func raw(first byte, parts ...[]byte) []byte {
	var body []byte
	for _, p := range parts {
		body = append(body, p...)
	}
	return append(append([]byte{first}, vint(len(body))...), body...)
}

// vint is a variable byte integer.
func vint(n int) []byte {
	var b []byte
	for {
		d := byte(n & 0x7F)
		if n >>= 7; n == 0 {
			return append(b, d)
		}
		b = append(b, d|0x80)
	}
}

// text is a length and the bytes of s, well-formed or not.
func text(s string) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...)
}

// hx is bytes written as hexadecimal digits, with spaces where they please.
func hx(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

// props is a property section.
func props(parts ...[]byte) []byte {
	var b []byte
	for _, p := range parts {
		b = append(b, p...)
	}
	return append(vint(len(b)), b...)
}

// connect5 is a CONNECT of version 5 with these flags, properties and payload.
func connect5(flags byte, properties []byte, payload ...[]byte) []byte {
	return raw(0x10, append([][]byte{text("MQTT"), {5, flags}, hx("0000"), properties}, payload...)...)
}

// publish5 is a PUBLISH of version 5; id is left out for QoS 0.
func publish5(first byte, topic string, id uint16, properties []byte, payload string) []byte {
	parts := [][]byte{text(topic)}
	if first&0x06 != 0 {
		parts = append(parts, binary.BigEndian.AppendUint16(nil, id))
	}
	return raw(first, append(parts, properties, []byte(payload))...)
}

// subscribe5 is a SUBSCRIBE of version 5 to filters, each with its options.
func subscribe5(id string, properties []byte, filters ...[]byte) []byte {
	return raw(0x82, append([][]byte{hx(id), properties}, filters...)...)
}
