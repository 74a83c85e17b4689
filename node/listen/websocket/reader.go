package websocket

import (
	"encoding/binary"
	"errors"
	"unicode/utf8"
)

// Why a stream ends.
var (
	ErrClosed   = errors.New("websocket: closed by the peer, in order")
	ErrProtocol = errors.New("websocket: a frame that the protocol does not allow")
	ErrText     = errors.New("websocket: a text frame, where MQTT is binary")
)

// MaxKept is the greatest number of bytes that Read leaves: a head, or a control
// frame, that lacks its last byte.
const MaxKept = 2 + 4 + maxControl - 1

// Reader takes the byte stream out of one peer's frames. It is all the state there
// is; the zero value reads what a client sends.
type Reader struct {
	left   uint64 // bytes that the data frame under way has yet to bring
	key    uint32 // their mask
	inside bool   // a message has begun and not ended
	server bool   // the peer is a server, which masks nothing
}

// NewServerReader reads what a server sends.
func NewServerReader() Reader { return Reader{server: true} }

// Read takes the frames at the start of src and leaves their payload at the start of
// dst, which may be src itself: m bytes of n. It stops where dst is full. src[n:]
// could not be used yet, and has to be at the start of the next src; if dst is not
// full it is at most MaxKept bytes. If the peer is owed an answer, owed becomes that.
// src is overwritten.
//
// An error ends the stream behind the m bytes: ErrClosed if the peer has closed in order,
// else ErrProtocol or ErrText. Then owed is the close frame to part with. Read must
// not be called again.
//
// A control frame may stand between the frames of a message, and even MQTT packets may
// be split by them.
func (r *Reader) Read(dst, src []byte, owed *Control) (m, n int, err error) {
	for n < len(src) {
		if r.left > 0 {
			k := int(min(r.left, uint64(min(len(src)-n, len(dst)-m))))
			if k == 0 {
				return m, n, nil
			}
			r.key = mask(dst[m:], src[n:n+k], r.key)
			m, n, r.left = m+k, n+k, r.left-uint64(k)
			continue
		}
		if err := r.judge(src[n:]); err != nil {
			return m, n, refuse(err, owed)
		}
		h, size, ok := parseHead(src[n:])
		switch {
		case size == 0:
			return m, n, nil
		case !ok:
			return m, n, refuse(ErrProtocol, owed)
		case h.kind&closing == 0:
			r.left, r.key, r.inside = h.length, h.key, !h.fin
			n += size
			continue
		}
		end := n + size + int(h.length)
		if end > len(src) {
			return m, n, nil
		}
		payload := src[n+size : end]
		mask(payload, payload, h.key)
		n = end
		if err := answer(h.kind, payload, owed); err != nil {
			return m, n, err
		}
	}
	return m, n, nil
}

// judge says whether the frame that begins b may come here, as soon as its first two
// bytes are there.
func (r *Reader) judge(b []byte) error {
	if len(b) < 2 {
		return nil
	}
	fin, kind, length := b[0]&finBit != 0, b[0]&kindBits, b[1]&lengthBits
	switch {
	case b[0]&reservedBit != 0: // extensions are not negotiated
		return ErrProtocol
	case b[1]&maskBit == 0 != r.server: // a client's frames are masked, a server's are not
		return ErrProtocol
	}
	switch kind {
	case continuation, text, binaryData:
		if r.inside != (kind == continuation) {
			return ErrProtocol
		}
		if kind == text { // [MQTT-6.0.0-1]
			return ErrText
		}
		return nil
	case closing, ping, pong:
		if !fin || length > maxControl {
			return ErrProtocol
		}
		return nil
	}
	return ErrProtocol
}

// answer makes owed what a control frame calls for. An error ends the stream.
func answer(kind byte, payload []byte, owed *Control) error {
	switch kind {
	case ping:
		owed.answer(pong, payload)
	case closing:
		if code := judgeClose(payload); code != Normal {
			owed.Close(code)
			return ErrProtocol
		}
		owed.answer(closing, payload[:min(len(payload), 2)])
		return ErrClosed
	}
	return nil
}

// judgeClose says whether a close frame may say this: Normal, or with what to answer.
func judgeClose(payload []byte) Code {
	switch len(payload) {
	case 0:
		return Normal
	case 1:
		return BadProtocol
	}
	switch code := binary.BigEndian.Uint16(payload); {
	case code < 1000 || code >= 5000: // not defined, and never will be
		return BadProtocol
	case code == 1004 || code == 1005 || code == 1006 || code == 1015: // not to be sent
		return BadProtocol
	case code > 1014 && code < 3000: // left to future versions
		return BadProtocol
	case !utf8.Valid(payload[2:]):
		return BadText
	}
	return Normal
}

// refuse makes owed the close frame that goes with err.
func refuse(err error, owed *Control) error {
	if err == ErrText {
		owed.Close(BadKind)
	} else {
		owed.Close(BadProtocol)
	}
	return err
}
