package raftnet

import (
	"encoding/binary"
	"errors"
	"fmt"

	"dunlin/cluster/field"
)

// A stream is two rows of records in each direction, urgent and bulk, cut into
// pieces anywhere. A record is a header and a payload:
//
//	0   kind    1 byte
//	1   ask     1, what an ask asks or a push brings; otherwise 0
//	2   group   2
//	4   length  4, of the payload
//	8   id      4, of the call; 0 if no reply is wanted, and of a push
//
// Numbers are little-endian. The frames that pieces travel in have the version
// and the checksum.
const recordHeader = 12

type kind uint8

const (
	kindBeat      kind = 1 + iota // payload: reports, see decide.go
	kindHeartbeat                 // an AppendEntries that need not wait for the disk
	kindAppend
	kindVote
	kindPreVote
	kindTimeoutNow
	kindAsk
	kindReply   // the payload depends on what was called
	kindFailure // the payload is a text
	kindSnapshot
	kindPush // on the way back, see push.go

	kinds // how many, and one
)

func (k kind) reply() bool { return k == kindReply || k == kindFailure }

// ErrMalformed is what a record that cannot be read ends a stream with.
var ErrMalformed = errors.New("raftnet: malformed record")

func malformed(what string) error { return fmt.Errorf("%w: %s", ErrMalformed, what) }

// record is one as read. The payload borrows the piece.
type record struct {
	kind    kind
	ask     uint8
	group   uint16
	id      uint32
	payload []byte
}

// openRecord appends a header, to which the caller appends the payload and which
// closeRecord completes.
func openRecord(dst []byte, k kind, ask uint8, group uint16, id uint32) []byte {
	dst = append(dst, byte(k), ask)
	dst = binary.LittleEndian.AppendUint16(dst, group)
	dst = append(dst, 0, 0, 0, 0)
	return binary.LittleEndian.AppendUint32(dst, id)
}

func closeRecord(dst []byte, start int) []byte {
	binary.LittleEndian.PutUint32(dst[start+4:], uint32(len(dst)-start-recordHeader))
	return dst
}

// readRecord cuts the record at the head of b. If b ends within it, missing is
// how many bytes it has in all as far as b tells, else 0.
func readRecord(b []byte, bound int) (r record, rest []byte, missing int, err error) {
	if len(b) < recordHeader {
		return record{}, b, recordHeader, nil
	}
	r.kind, r.ask = kind(b[0]), b[1]
	if r.kind == 0 || r.kind >= kinds || r.ask != 0 && r.kind != kindAsk && r.kind != kindPush {
		return record{}, nil, 0, malformed("kind")
	}
	r.group = binary.LittleEndian.Uint16(b[2:])
	n := uint64(binary.LittleEndian.Uint32(b[4:]))
	if n > uint64(bound) {
		return record{}, nil, 0, malformed("length")
	}
	r.id = binary.LittleEndian.Uint32(b[8:])
	end := recordHeader + int(n)
	if len(b) < end {
		return record{}, b, end, nil
	}
	r.payload = b[recordHeader:end:end]
	return r, b[end:], 0, nil
}

// done is nil if every field of what was there and nothing is left.
func done(r *field.Reader, what string) error {
	if !r.Done() {
		return malformed(what)
	}
	return nil
}
