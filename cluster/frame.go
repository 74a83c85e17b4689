package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// A stream's gRPC messages are batches: whole frames, one behind the other. A
// frame is a header and a body.
//
//	0   version   1 byte
//	1   type      1
//	2   flags     1
//	3   zero      1
//	4   length    4, of the body
//	8   sequence  8, what it counts depends on the type
//	16  checksum  4, CRC-32C of bytes 0 to 15 and the body
//
// Numbers are little-endian.
const (
	frameVersion    = 1
	frameHeaderSize = 20
)

// The oldest and newest frame version that this release speaks.
const (
	versionMin = frameVersion
	versionMax = frameVersion
)

type frameType uint8

const (
	// Up a Forward stream: records for the peer's broker, see batch.go. sequence
	// numbers the reliable ones from 1 and is 0 for others.
	frameRecords frameType = 1 + iota
	// Down a Forward stream: spans of sequences whose records are accepted.
	frameConfirm
	// Up a Feed stream: a full copy begins, goes on, ends. sequence is the version
	// that the copy shows, known at the end.
	frameCopyBegin
	frameCopy
	frameCopyEnd
	// Up a Feed stream: changes that lead up to version sequence. The body starts
	// with the version that they follow.
	frameChanges
	// Down a Feed stream: the receiver holds version sequence.
	frameHeld
	// Both ways on a Raft or Snapshot stream: a piece of its urgent or bulk row
	// (package raftnet).
	frameUrgent
	frameBulk

	frameTypes // how many, and one
)

const flagReliable = 1

// frame is one frame as read. body borrows the batch.
type frame struct {
	kind     frameType
	reliable bool
	seq      uint64
	body     []byte
}

// What a peer can do wrong; whatever it is, its stream is closed (case 53).
var (
	errFrameShort    = errors.New("frame cut short")
	errFrameVersion  = errors.New("frame of unknown version")
	errFrameType     = errors.New("frame of unknown type")
	errFrameFlags    = errors.New("frame with unknown flags")
	errFrameTooLarge = errors.New("frame above the bound")
	errFrameChecksum = errors.New("frame checksum wrong")
	errFrameMisplace = errors.New("frame out of place")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendFrame appends a frame with a copy of body.
func appendFrame(dst []byte, f frame) []byte {
	start := len(dst)
	dst = openFrame(dst, f.kind)
	if f.reliable {
		dst[start+2] = flagReliable
	}
	dst = append(dst, f.body...)
	return closeFrame(dst, start, f.seq)
}

// openFrame appends a header, to which the caller appends the body and which it
// then completes by closeFrame with the header's position.
func openFrame(dst []byte, kind frameType) []byte {
	var h [frameHeaderSize]byte
	h[0], h[1] = frameVersion, byte(kind)
	return append(dst, h[:]...)
}

func closeFrame(dst []byte, start int, seq uint64) []byte {
	h, body := dst[start:start+frameHeaderSize], dst[start+frameHeaderSize:]
	binary.LittleEndian.PutUint32(h[4:], uint32(len(body)))
	binary.LittleEndian.PutUint64(h[8:], seq)
	binary.LittleEndian.PutUint32(h[16:], checksum(h, body))
	return dst
}

// readFrame cuts the frame at the head of b and returns the rest. The bound is
// on the body. Whatever is wrong with b is an error that names it.
func readFrame(b []byte, bound int) (f frame, rest []byte, err error) {
	if len(b) < frameHeaderSize {
		return frame{}, nil, errFrameShort
	}
	h := b[:frameHeaderSize]
	if h[0] < versionMin || h[0] > versionMax {
		return frame{}, nil, fmt.Errorf("%w: %d", errFrameVersion, h[0])
	}
	f.kind = frameType(h[1])
	if f.kind == 0 || f.kind >= frameTypes {
		return frame{}, nil, fmt.Errorf("%w: %d", errFrameType, h[1])
	}
	if h[2]&^flagReliable != 0 || h[3] != 0 {
		return frame{}, nil, errFrameFlags
	}
	f.reliable = h[2]&flagReliable != 0
	n := uint64(binary.LittleEndian.Uint32(h[4:]))
	if n > uint64(bound) {
		return frame{}, nil, fmt.Errorf("%w: %d bytes", errFrameTooLarge, n)
	}
	if uint64(len(b)-frameHeaderSize) < n {
		return frame{}, nil, errFrameShort
	}
	end := frameHeaderSize + int(n)
	f.seq = binary.LittleEndian.Uint64(h[8:])
	f.body = b[frameHeaderSize:end:end]
	if binary.LittleEndian.Uint32(h[16:]) != checksum(h, f.body) {
		return frame{}, nil, errFrameChecksum
	}
	return f, b[end:], nil
}

func checksum(header, body []byte) uint32 {
	return crc32.Update(crc32.Checksum(header[:16], castagnoli), castagnoli, body)
}

// span is a run of sequences, both ends included.
type span struct{ lo, hi uint64 }

// appendSpans packs the body of a frameConfirm.
func appendSpans(dst []byte, spans []span) []byte {
	for _, s := range spans {
		dst = binary.AppendUvarint(dst, s.lo)
		dst = binary.AppendUvarint(dst, s.hi-s.lo)
	}
	return dst
}

// readSpan cuts the first span off b.
func readSpan(b []byte) (s span, rest []byte, err error) {
	lo, n := binary.Uvarint(b)
	if n <= 0 || lo == 0 {
		return span{}, nil, errFrameMisplace
	}
	d, m := binary.Uvarint(b[n:])
	if m <= 0 || lo+d < lo {
		return span{}, nil, errFrameMisplace
	}
	return span{lo, lo + d}, b[n+m:], nil
}
