package raftstore

import (
	"encoding/binary"
	"errors"
	"fmt"

	"dunlin/session"
)

// errMalformed is what reading bad bytes comes to: of a log entry or a snapshot.
var errMalformed = errors.New("raftstore: malformed bytes")

// reader takes apart a log entry or a snapshot section. After the first bad
// field all that it reads is empty and err is set. Byte strings are borrowed.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail() {
	if r.b = nil; r.err == nil {
		r.err = errMalformed
	}
}

// version reads the version of a format, of which this release knows one.
func (r *reader) version(known byte) {
	if v := r.byte(); r.err == nil && v != known {
		r.b, r.err = nil, versionError(v, known)
	}
}

// versionError says that a later release, or a much earlier one, wrote what is read.
func versionError(found, known byte) error {
	return fmt.Errorf("format version %d, this release reads %d: start the release that wrote it", found, known)
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.fail()
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *reader) bool() bool { return r.byte() != 0 }

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

// count reads a number of items that take at least size bytes each, so that
// what is allocated for them is in proportion to the input.
func (r *reader) count(size int) int {
	n := r.uvarint()
	if n > uint64(len(r.b)/size) {
		r.fail()
		return 0
	}
	return int(n)
}

func (r *reader) bytes() []byte {
	n := r.count(1)
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

// clone reads a byte string that outlives the input.
func (r *reader) clone() []byte { return append([]byte(nil), r.bytes()...) }

func (r *reader) string() string { return string(r.bytes()) }

func appendBytes[T string | []byte](b []byte, v T) []byte {
	b = binary.AppendUvarint(b, uint64(len(v)))
	return append(b, v...)
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

const maxNode = 1<<32 - 1

// node reads a node's number.
func (r *reader) node() Node {
	n := r.uvarint()
	if n > maxNode {
		r.fail()
		return 0
	}
	return Node(n)
}

// time reads a moment, which may be session.Never.
func (r *reader) time() session.Time {
	t := session.Time(r.uvarint())
	if t < 0 {
		r.fail()
		return 0
	}
	return t
}
