package cluster

import (
	"encoding/binary"
	"errors"
)

// RecordKind says what a record of a frame's body asks of the peer's broker.
type RecordKind uint8

const (
	// RecordMessage: deliver Message to all your ordinary subscribers that match.
	RecordMessage RecordKind = 1 + iota
	// RecordGroup: give Message to one of your members of the share group Filter.
	// Handle is the sender's name for it, 0 if it wants no answer.
	RecordGroup
	// RecordSettled: the message of Handle has been acknowledged by a member.
	RecordSettled
	// RecordReturned: no member took the message of Handle, or the one that had it
	// left without acknowledging; its sender gives it to another.
	RecordReturned
	// RecordForget: the session of the publisher that Handle names as
	// Message.Origin has ended; no message of it comes again (R2).
	RecordForget
	// RecordFull: no member there has room for the message of Handle; its sender
	// tries other nodes.
	RecordFull
)

// Record is one entry of a frame's body. Filter and Message borrow the body.
type Record struct {
	Kind    RecordKind
	Handle  uint64
	Filter  []byte // of the share group, $share prefix included
	Message []byte // as session.Message.Append packs it
}

// ErrRecord is what reading a malformed body ends with.
var ErrRecord = errors.New("cluster: malformed record")

// A record is its kind, then
//
//	message   length of the message (4 bytes), message
//	group     handle (8), length of the filter (2), filter, length (4), message
//	settled   handle (8)
//	returned  handle (8)
//	forget    origin (8)
//	full      handle (8)
//
// Numbers are little-endian. Lengths have a fixed size so that a message can be
// packed in place, behind a length that is not known yet.

// OpenMessage appends a RecordMessage without its message, which the caller
// appends and then closes by CloseRecord with the mark.
func OpenMessage(dst []byte) (b []byte, mark int) {
	dst = append(dst, byte(RecordMessage), 0, 0, 0, 0)
	return dst, len(dst)
}

// OpenGroup is OpenMessage for a RecordGroup. The filter has at most 65,535
// bytes, as every MQTT string.
func OpenGroup(dst []byte, filter string, handle uint64) (b []byte, mark int) {
	dst = append(dst, byte(RecordGroup))
	dst = binary.LittleEndian.AppendUint64(dst, handle)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(filter)))
	dst = append(dst, filter...)
	dst = append(dst, 0, 0, 0, 0)
	return dst, len(dst)
}

// CloseRecord completes the record that was opened with mark: the message is
// what has been appended since.
func CloseRecord(dst []byte, mark int) []byte {
	binary.LittleEndian.PutUint32(dst[mark-4:], uint32(len(dst)-mark))
	return dst
}

// AppendMessage appends a RecordMessage with a packed message.
func AppendMessage(dst, message []byte) []byte {
	dst, mark := OpenMessage(dst)
	return CloseRecord(append(dst, message...), mark)
}

// AppendGroup appends a RecordGroup with a packed message.
func AppendGroup(dst []byte, filter string, handle uint64, message []byte) []byte {
	dst, mark := OpenGroup(dst, filter, handle)
	return CloseRecord(append(dst, message...), mark)
}

// AppendSettled appends a RecordSettled.
func AppendSettled(dst []byte, handle uint64) []byte {
	return binary.LittleEndian.AppendUint64(append(dst, byte(RecordSettled)), handle)
}

// AppendReturned appends a RecordReturned.
func AppendReturned(dst []byte, handle uint64) []byte {
	return binary.LittleEndian.AppendUint64(append(dst, byte(RecordReturned)), handle)
}

// AppendForget appends a RecordForget.
func AppendForget(dst []byte, origin uint64) []byte {
	return binary.LittleEndian.AppendUint64(append(dst, byte(RecordForget)), origin)
}

// AppendFull appends a RecordFull.
func AppendFull(dst []byte, handle uint64) []byte {
	return binary.LittleEndian.AppendUint64(append(dst, byte(RecordFull)), handle)
}

// ReadRecord cuts the record at the head of a frame's body and returns the rest,
// which is empty after the last. It allocates nothing.
func ReadRecord(body []byte) (r Record, rest []byte, err error) {
	if len(body) == 0 {
		return Record{}, nil, ErrRecord
	}
	r.Kind, body = RecordKind(body[0]), body[1:]
	switch r.Kind {
	case RecordMessage:
		r.Message, body, err = cutMessage(body)
	case RecordGroup:
		if len(body) < 10 {
			return Record{}, nil, ErrRecord
		}
		r.Handle = binary.LittleEndian.Uint64(body)
		n := int(binary.LittleEndian.Uint16(body[8:]))
		body = body[10:]
		if n == 0 || len(body) < n {
			return Record{}, nil, ErrRecord
		}
		r.Filter, body = body[:n:n], body[n:]
		r.Message, body, err = cutMessage(body)
	case RecordSettled, RecordReturned, RecordForget, RecordFull:
		if len(body) < 8 {
			return Record{}, nil, ErrRecord
		}
		r.Handle, body = binary.LittleEndian.Uint64(body), body[8:]
	default:
		err = ErrRecord
	}
	if err != nil {
		return Record{}, nil, err
	}
	return r, body, nil
}

func cutMessage(b []byte) (message, rest []byte, err error) {
	if len(b) < 4 {
		return nil, nil, ErrRecord
	}
	n := uint64(binary.LittleEndian.Uint32(b))
	b = b[4:]
	if uint64(len(b)) < n {
		return nil, nil, ErrRecord
	}
	return b[:n:n], b[n:], nil
}
