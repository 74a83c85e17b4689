package bulk

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// askBulk is the one kind of ask of raftnet that is this package's. Its body is
//
//	version  1 byte
//	verb     1 byte
//	id       8 bytes, little-endian: of the call, by the node that makes it
//	rest     open: what is called, 1 byte, and its argument; send: a piece
//
// and its answer, to send and receive
//
//	standing  1 byte
//	rest      goes: a piece, to receive; failed: code, 1 byte, and the error's text
const (
	askBulk        uint8 = 48
	messageVersion       = 1
	headBytes            = 1 + 1 + 8
)

// pieceBytes bounds a piece.
const pieceBytes = 256 << 10

type verb uint8

const (
	verbOpen    verb = 1 + iota // begin
	verbSend                    // take a piece of the input
	verbFinish                  // the input is over
	verbReceive                 // give a piece of the output
	verbCancel                  // the caller has given up
)

type standing uint8

const (
	goes   standing = iota // the call goes on
	done                   // it ended well
	failed                 // it ended with an error
)

var errMalformed = errors.New("bulk: message does not parse")

func appendHead(b []byte, v verb, id uint64) []byte {
	return binary.LittleEndian.AppendUint64(append(b, messageVersion, byte(v)), id)
}

func readHead(b []byte) (v verb, id uint64, rest []byte, err error) {
	if len(b) < headBytes || b[0] != messageVersion {
		return 0, 0, nil, errMalformed
	}
	return verb(b[1]), binary.LittleEndian.Uint64(b[2:]), b[headBytes:], nil
}

// Failure is what the node that was called ended a call with. It is the error of
// that text which both ends know, if it is one of them.
type Failure struct {
	Text string
	is   error
}

func (f *Failure) Error() string { return f.Text }

// Unwrap gives the error that both ends know.
func (f *Failure) Unwrap() error { return f.is }

// appendFailure tells of err, by a code if it is one of known.
func appendFailure(b []byte, err error, known []error) []byte {
	code := byte(0)
	for i, k := range known {
		if errors.Is(err, k) {
			code = byte(i) + 1
			break
		}
	}
	return append(append(b, byte(failed), code), err.Error()...)
}

// readAnswer gives the piece in an answer, and whether the call is over.
func readAnswer(b []byte, known []error) (piece []byte, over bool, err error) {
	if len(b) == 0 {
		return nil, true, errMalformed
	}
	switch s := standing(b[0]); {
	case s == goes:
		return b[1:], false, nil
	case s == done:
		return nil, true, nil
	case s == failed && len(b) > 1:
		f := &Failure{Text: string(b[2:])}
		if code := int(b[1]); code > 0 && code <= len(known) {
			f.is = known[code-1]
		}
		return nil, true, f
	default:
		return nil, true, fmt.Errorf("%w: standing %d", errMalformed, s)
	}
}
