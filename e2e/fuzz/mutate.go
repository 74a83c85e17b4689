package fuzz

import (
	"encoding/binary"
	"slices"
)

// mutate makes packets wrong in one to three places.
func (c *composer) mutate(packets [][]byte) [][]byte {
	for range 1 + c.IntN(3) {
		if len(packets) == 0 {
			break
		}
		i := c.IntN(len(packets))
		j := c.IntN(len(packets))
		switch c.IntN(10) {
		case 0: // said twice
			packets = slices.Insert(packets, j, packets[i])
		case 1: // never said
			packets = slices.Delete(packets, i, i+1)
		case 2: // in another order
			packets[i], packets[j] = packets[j], packets[i]
		case 3: // broken off, and it goes on all the same
			packets[i] = packets[i][:c.IntN(len(packets[i]))]
		case 4: // broken off for good
			packets[i] = packets[i][:c.IntN(len(packets[i]))]
			packets = packets[:i+1]
		case 5: // another length
			packets[i] = c.relength(packets[i])
		case 6: // half one and half another
			packets[i] = slices.Concat(packets[i][:c.IntN(len(packets[i])+1)], packets[j][c.IntN(len(packets[j])+1):])
		case 7: // something in between
			packets = slices.Insert(packets, i, c.junk())
		default:
			packets[i] = c.flip(packets[i])
		}
		packets = slices.DeleteFunc(packets, func(p []byte) bool { return len(p) == 0 })
	}
	return packets
}

// flip changes a bit, a byte or a number of two bytes of a copy of b.
func (c *composer) flip(b []byte) []byte {
	c.wrong = true
	b = slices.Clone(b)
	switch i := c.IntN(len(b)); c.IntN(4) {
	case 0:
		b[i] ^= 1 << c.IntN(8)
	case 1:
		b[i] = pick[byte](c, 0, 1, 0x7F, 0x80, 0xFF, '#', '+', '/')
	case 2:
		b[i] = byte(c.Uint32())
	default:
		if i+2 <= len(b) {
			binary.BigEndian.PutUint16(b[i:], pick[uint16](c, 0, 1, 0x7F, 0xFF, 0x100, 0x7FFF, 0xFFFF))
		}
	}
	return b
}

// relength gives a packet another remaining length.
func (c *composer) relength(p []byte) []byte {
	body := 1
	for body < len(p) && p[body]&0x80 != 0 {
		body++
	}
	body = min(body+1, len(p))
	length := pick(c, []byte{0}, []byte{1}, []byte{0x7F}, []byte{0x80, 0}, []byte{0xFF, 0x7F}, []byte{0x80, 0x80, 4},
		[]byte{0xFF, 0xFF, 0xFF, 0x7F}, []byte{0xFF, 0xFF, 0xFF, 0xFF, 0x7F}, []byte{byte(c.IntN(128))})
	return slices.Concat(p[:1], length, p[body:])
}

func (c *composer) junk() []byte {
	b := make([]byte, 1+c.IntN(64))
	for i := range b {
		b[i] = byte(c.Uint32())
	}
	return b
}

const request = "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"

// upgrade is the request for a WebSocket.
func (c *composer) upgrade() []byte {
	b := []byte(request)
	switch c.IntN(30) {
	case 0:
		return c.flip(b)
	case 1:
		c.wrong = true
		return b[:c.IntN(len(b))]
	case 2:
		c.wrong = true
		at := c.IntN(len(b))
		return slices.Concat(b[:at], c.junk(), b[at:])
	}
	return b
}

// The kinds of WebSocket's frames, and the bit that ends a message.
const (
	wsContinuation = 0x0
	wsText         = 0x1
	wsBinary       = 0x2
	wsClose        = 0x8
	wsPing         = 0x9
	wsPong         = 0xA
	wsFin          = 0x80
)

// frames puts b, which is part of a stream, into frames: one for the most part.
func (c *composer) frames(b []byte) (out []byte) {
	frame := func(first byte, payload []byte) { out = c.frame(out, first, payload, true) }
	switch c.IntN(40) {
	case 0: // in fragments, with a ping in between
		at := c.IntN(len(b) + 1)
		frame(wsBinary, b[:at])
		frame(wsFin|wsPing, []byte("ping"))
		frame(wsContinuation, nil)
		frame(wsFin|wsContinuation, b[at:])
	case 1, 2: // each byte by itself
		for i := range b {
			frame(wsFin|wsBinary, b[i:i+1])
		}
	case 3:
		frame(wsFin|wsBinary, nil)
		frame(wsFin|wsPong, []byte("unasked"))
		frame(wsFin|wsBinary, b)
	case 4:
		c.wrong = true
		frame(wsFin|wsBinary, b)
		out = c.flip(out)
	case 5:
		c.wrong = true
		switch c.IntN(5) {
		case 0:
			frame(wsFin|wsText, b)
		case 1:
			out = c.frame(out, wsFin|wsBinary, b, false)
		case 2:
			frame(wsFin|0x40|wsBinary, b) // as if compressed
		case 3:
			frame(wsFin|wsContinuation, b)
		case 4:
			frame(wsFin|wsClose, pick(c, nil, []byte{3}, []byte{3, 0xE8}, []byte("\x03\xE8bye"), []byte("\x03\xE8\xFF"), []byte{0, 1}))
			frame(wsFin|wsBinary, b)
		}
	default:
		frame(wsFin|wsBinary, b)
	}
	return out
}

// frame appends a frame of a client, whose mask is missing if it must not be.
func (c *composer) frame(dst []byte, first byte, payload []byte, masked bool) []byte {
	return appendFrame(dst, first, payload, masked, c.Uint32())
}

func appendFrame(dst []byte, first byte, payload []byte, masked bool, key uint32) []byte {
	var mask byte
	if masked {
		mask = 0x80
	}
	dst = append(dst, first)
	switch n := len(payload); {
	case n < 126:
		dst = append(dst, mask|byte(n))
	case n < 1<<16:
		dst = binary.BigEndian.AppendUint16(append(dst, mask|126), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, mask|127), uint64(n))
	}
	if !masked {
		return append(dst, payload...)
	}
	var k [4]byte
	binary.BigEndian.PutUint32(k[:], key)
	dst = append(dst, k[:]...)
	for i, b := range payload {
		dst = append(dst, b^k[i%4])
	}
	return dst
}
