package floor

import "encoding/binary"

// Kinds of packet, as they stand in the upper half of the first byte.
const (
	connect     = 1
	publish     = 3
	pubrec      = 5
	pubrel      = 6
	subscribe   = 8
	unsubscribe = 10
	pingreq     = 12
	disconnect  = 14
)

// cut returns the length of the first packet of b and where its body begins; 0 if it
// is not all there, -1 if there is none.
func cut(b []byte) (size, body int) {
	n := 0
	for k := 1; k < len(b); k++ {
		if k == 5 {
			return -1, 0
		}
		n |= int(b[k]&0x7f) << (7 * (k - 1))
		if b[k] < 0x80 {
			if size = k + 1 + n; size > len(b) {
				size = 0
			}
			return size, k + 1
		}
	}
	return 0, 0
}

// publishID is the packet identifier of a PUBLISH of QoS 1 or 2 with this body, as
// its two bytes.
func publishID(body []byte) []byte {
	if len(body) < 2 {
		return nil
	}
	at := 2 + int(binary.BigEndian.Uint16(body))
	if len(body) < at+2 {
		return nil
	}
	return body[at : at+2]
}

// parseConnect returns the protocol level and client identifier of a CONNECT.
func parseConnect(body []byte) (level byte, clientID string, ok bool) {
	_, rest, ok := cutString(body)
	if !ok || len(rest) < 4 {
		return 0, "", false
	}
	level, rest = rest[0], rest[4:]
	if level == 5 {
		if rest, ok = skipProperties(rest); !ok {
			return 0, "", false
		}
	}
	id, _, ok := cutString(rest)
	return level, string(id), ok
}

func cutString(b []byte) (s, rest []byte, ok bool) {
	if len(b) < 2 {
		return nil, nil, false
	}
	n := 2 + int(binary.BigEndian.Uint16(b))
	if len(b) < n {
		return nil, nil, false
	}
	return b[2:n], b[n:], true
}

func skipProperties(b []byte) ([]byte, bool) {
	n, width := binary.Uvarint(b)
	if width <= 0 || uint64(len(b)-width) < n {
		return nil, false
	}
	return b[width+int(n):], true
}

// reasons are the codes that grant what each filter of a SUBSCRIBE asks for, or that
// confirm each of an UNSUBSCRIBE.
func reasons(body []byte, v5, subscribe bool) (codes []byte, ok bool) {
	if len(body) < 2 {
		return nil, false
	}
	body = body[2:]
	if v5 {
		if body, ok = skipProperties(body); !ok {
			return nil, false
		}
	}
	for len(body) > 0 {
		if _, body, ok = cutString(body); !ok {
			return nil, false
		}
		code := byte(0)
		if subscribe {
			if len(body) == 0 {
				return nil, false
			}
			code, body = body[0]&3, body[1:]
		}
		codes = append(codes, code)
	}
	return codes, len(codes) > 0
}
