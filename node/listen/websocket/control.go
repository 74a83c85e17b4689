package websocket

import "encoding/binary"

// Control is a control frame that is owed to the peer, or none. One is enough: of the
// pings that came at a time only the last needs an answer (RFC 6455, 5.5.3), and
// nothing follows a close.
type Control struct {
	kind byte // 0: none, since a continuation is no control frame
	size uint8
	data [maxControl]byte
}

// Owed says whether there is one.
func (c *Control) Owed() bool { return c.kind != 0 }

// Close makes c a close frame.
func (c *Control) Close(code Code) {
	c.kind, c.size = closing, 2
	binary.BigEndian.PutUint16(c.data[:], uint16(code))
}

// Closes says whether c is a close frame: the last frame that the peer is sent.
func (c *Control) Closes() bool { return c.kind == closing }

// answer makes c a pong, or a close without a code if that is what came, with payload
// of at most maxControl bytes.
func (c *Control) answer(kind byte, payload []byte) {
	c.kind, c.size = kind, uint8(copy(c.data[:], payload))
}

// Append appends the frame as a server sends it, nothing for none.
func (c *Control) Append(dst []byte) []byte {
	if c.kind == 0 {
		return dst
	}
	return append(appendHead(dst, c.kind, int(c.size), false, 0), c.data[:c.size]...)
}

// AppendMasked appends the frame as a client sends it.
func (c *Control) AppendMasked(dst []byte, key uint32) []byte {
	if c.kind == 0 {
		return dst
	}
	dst = appendHead(dst, c.kind, int(c.size), true, key)
	at := len(dst)
	dst = append(dst, c.data[:c.size]...)
	mask(dst[at:], dst[at:], key)
	return dst
}
