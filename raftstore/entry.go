package raftstore

import (
	"encoding/binary"

	"dunlin/session"
)

// A log entry is a batch of commands:
//
//	version  1 byte
//	time     uvarint, shard time at which the leader made the entry
//	commands, each: kind 1 byte, length uvarint, body
//
// Entries outlive releases: kinds are never numbered anew, and a body changes
// only together with entryVersion.
const entryVersion = 1

// kind says which command a body is.
type kind uint8

const (
	kindLimits kind = 1 + iota
	kindClaim
	kindDetach
	kindSubscribe
	kindUnsubscribe
	kindEnqueue
	kindEnqueueFor
	kindAcks
	kindReceive
	kindRelease
	kindRetain
	kindDelete
	kindForget

	// Submitted like the others but never logged: a QoS 0 message, and what is
	// left of one that came too fast.
	kindTransient kind = 0xFF
	kindRefused   kind = 0xFE
)

func appendEntryHead(b []byte, now session.Time) []byte {
	return binary.AppendUvarint(append(b, entryVersion), uint64(now))
}

func appendCommand(b []byte, k kind, body []byte) []byte {
	return appendBytes(append(b, byte(k)), body)
}

// openEntry reads the head of an entry; its commands are left in the reader.
func openEntry(b []byte) (now session.Time, r reader) {
	r = reader{b: b}
	if r.byte() != entryVersion {
		r.fail()
	}
	now = session.Time(r.uvarint())
	if now < 0 || now > lastTime {
		r.fail()
	}
	return now, r
}

// command cuts the next command out of an entry.
func (r *reader) command() (kind, reader) {
	k := kind(r.byte())
	return k, reader{b: r.bytes()}
}
