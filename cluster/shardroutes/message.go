package shardroutes

import (
	"encoding/binary"
	"errors"
	"fmt"

	"dunlin/cluster/feed"
	"dunlin/cluster/field"
	"dunlin/router"
)

// A leader asks a node to hold routes (askHold), about the group of the shard:
//
//	version  1 byte
//	verb     1 byte
//	reign    uvarint
//	rest, by verb:
//	  copy     number of the piece from 0 uvarint, whether it is the last 1 byte,
//	           version that the whole copy is of uvarint (0 before the last), changes
//	  changes  version that they start from uvarint, changes: each leads one further
//
// The answer:
//
//	version  1 byte
//	verdict  1 byte
//	number   uvarint, see verdict
//
// A node asks the leader of a shard (askLeader):
//
//	version  1 byte
//	verb     1 byte
//	index    uvarint: of the command that is to be synced (Routes.Synced); 0 for none
//	reign    uvarint, for holding: that of which the asking node holds routes; 0 for none
//
// which answers with nothing, or fails it.
const messageVersion = 1

// Kinds of asks (see raftnet.Net.Handle), apart from those of shardnet and control.
const (
	askHold   uint8 = 24
	askLeader uint8 = 25
)

type verb uint8

const (
	verbCopy    verb = 1 + iota // of askHold
	verbChanges                 // of askHold
	verbSynced                  // of askLeader
	verbHolding                 // of askLeader: as synced, and says what the asking node holds
)

// verdict is what came of an askHold.
type verdict uint8

const (
	taken verdict = 1 + iota // the piece of a copy; the next is to have that number
	holds                    // that version of this reign is held; the changes may not have fitted
	lacks                    // a copy, from its beginning
	later                    // the node has heard of that later reign
)

// errMalformed marks what is no message.
var errMalformed = errors.New("shardroutes: malformed")

// A piece of a copy, or a run of changes, is cut at maxPiece bytes.
const (
	maxPiece   = 192 << 10
	maxMessage = maxPiece + feed.MaxChange + 64
)

// hold is an askHold.
type hold struct {
	verb    verb
	reign   uint64
	number  uint64 // copy: of the piece
	last    bool   // copy
	version uint64 // copy: of the whole, in the last piece; changes: that they start from
	changes []router.Change
}

// appendHold appends all but the changes, which follow it.
func appendHold(b []byte, h *hold) []byte {
	b = append(b, messageVersion, byte(h.verb))
	b = binary.AppendUvarint(b, h.reign)
	if h.verb == verbCopy {
		b = binary.AppendUvarint(b, h.number)
		last := byte(0)
		if h.last {
			last = 1
		}
		b = append(b, last)
	}
	return binary.AppendUvarint(b, h.version)
}

// readHold reads an askHold, whose changes own their filters.
func readHold(b []byte) (h hold, err error) {
	r := field.Reader{B: b}
	h.verb = verb(head(&r))
	h.reign = r.Uvarint()
	switch h.verb {
	case verbCopy:
		h.number = r.Uvarint()
		last := r.Byte()
		h.last = last == 1
		if last > 1 {
			r.Fail()
		}
	case verbChanges:
	default:
		r.Fail()
	}
	h.version = r.Uvarint()
	if r.Bad || len(b) > maxMessage || h.reign == 0 {
		return hold{}, fmt.Errorf("%w: routes", errMalformed)
	}
	if h.changes, err = feed.ReadChanges(r.B, nil); err != nil {
		return hold{}, fmt.Errorf("%w: %w", errMalformed, err)
	}
	return h, nil
}

// held is the answer to an askHold.
type held struct {
	verdict verdict
	number  uint64
}

func appendHeld(b []byte, h held) []byte {
	return binary.AppendUvarint(append(b, messageVersion, byte(h.verdict)), h.number)
}

func readHeld(b []byte) (held, error) {
	r := field.Reader{B: b}
	h := held{verdict: verdict(head(&r)), number: r.Uvarint()}
	if !r.Done() || h.verdict < taken || h.verdict > later {
		return held{}, fmt.Errorf("%w: answer", errMalformed)
	}
	return h, nil
}

// question is an askLeader.
type question struct {
	verb  verb
	index uint64
	reign uint64
}

func appendQuestion(b []byte, q question) []byte {
	b = binary.AppendUvarint(append(b, messageVersion, byte(q.verb)), q.index)
	if q.verb == verbHolding {
		b = binary.AppendUvarint(b, q.reign)
	}
	return b
}

func readQuestion(b []byte) (q question, err error) {
	r := field.Reader{B: b}
	q.verb, q.index = verb(head(&r)), r.Uvarint()
	switch q.verb {
	case verbSynced:
	case verbHolding:
		q.reign = r.Uvarint()
	default:
		r.Fail()
	}
	if !r.Done() {
		return question{}, fmt.Errorf("%w: question", errMalformed)
	}
	return q, nil
}

// head reads the version, and returns the byte after it.
func head(r *field.Reader) byte {
	if r.Byte() != messageVersion {
		r.Fail()
	}
	return r.Byte()
}
