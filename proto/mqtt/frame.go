package mqtt

// MaxPacketSize is the length in bytes of the longest packet there can be: one
// with a remaining length of 268,435,455.
const MaxPacketSize = 1 + 4 + maxVariable

// Frame is one whole control packet cut out of a byte stream: its first byte
// and what follows the remaining length. Body borrows the stream's buffer.
type Frame struct {
	First byte
	Body  []byte
}

// Kind is the packet's type, which may be one that does not exist.
func (f Frame) Kind() Kind { return Kind(f.First >> 4) }

// Cut finds the first packet in b. n is its length in bytes; n = 0 without an
// error means that b holds only a part of it. A packet of more than limit bytes
// in all is refused (0x95) as soon as its length can be read, a malformed
// length, or a first byte that no packet of any version has, with 0x81. A first
// byte of other packets is judged by [Decode], which knows the version.
func Cut(b []byte, limit uint32) (f Frame, n int, err error) {
	if len(b) >= 2 {
		if n := 2 + int(b[1]); n < 2+0x80 && n <= len(b) && uint64(n) <= uint64(limit) {
			return Frame{First: b[0], Body: b[2:n:n]}, n, nil
		}
	}
	return cutLong(b, limit)
}

// cutLong is Cut for what is rare: lengths of several bytes, parts of packets,
// errors.
func cutLong(b []byte, limit uint32) (f Frame, n int, err error) {
	if len(b) == 0 {
		return Frame{}, 0, nil
	}
	// Before the rest is waited for, so that bytes of another protocol are
	// seen as such (case 1). MQTT 3.1 allows what any version does.
	if err := checkFlags(b[0], V31); err != nil {
		return Frame{}, 0, err
	}
	remaining, width, err := variable(b[1:])
	if err != nil || width == 0 {
		return Frame{}, 0, err
	}
	size := 1 + width + int(remaining)
	if uint64(size) > uint64(limit) {
		return Frame{}, 0, errTooLarge
	}
	if size > len(b) {
		return Frame{}, 0, nil
	}
	return Frame{First: b[0], Body: b[1+width : size : size]}, size, nil
}

// checkFlags judges a packet's first byte [MQTT-2.1.3-1].
func checkFlags(first byte, v Version) error {
	flags := first & 15
	switch Kind(first >> 4) {
	case PUBLISH:
		if qos := flags >> 1 & 3; qos == 3 || qos == 0 && flags&flagDup != 0 {
			return errPublishFlags
		}
		return nil
	case PUBREL, SUBSCRIBE, UNSUBSCRIBE:
		// 3.1 has a DUP flag in these, set by clients that send again.
		if v == V31 {
			flags &^= flagDup
		}
		if flags != flagsOne {
			return errFlags
		}
		return nil
	case 0:
		return errReserved
	}
	if flags != 0 {
		return errFlags
	}
	return nil
}

// The flags of a first byte.
const (
	flagRetain = 0x01
	flagDup    = 0x08
	flagsOne   = 0x02 // what PUBREL, SUBSCRIBE and UNSUBSCRIBE carry, once their QoS
)
