package raftstore

import (
	"encoding/binary"

	"dunlin/session"
)

// A log entry is a batch of commands:
//
//	version  1 byte
//	time     uvarint, shard time at which the leader made the entry
//	wall     uvarint, the leader's wall clock then, in Unix seconds; 0 if nobody asks
//	maker    uvarint, names the start of the shard at which the entry was made
//	number   uvarint, among the entries of the maker
//	commands, each: kind 1 byte, length uvarint, body
//
// Commands after one of kindFrom are those of a proposer, numbered on from what
// it says; those before it are the leader's own.
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
	kindPublished
	kindLost
	kindFrom // no command: says whose follow
	kindReplaying
	kindMember
	kindShare
	kindLetter
	kindDelivered

	// Submitted like the others but never logged: a QoS 0 message, what is left of
	// one that came too fast, and who waits for the entry alone.
	kindTransient kind = 0xFF
	kindRefused   kind = 0xFE
	kindConfirm   kind = 0xFD

	kindTransientFirst = kindConfirm
)

// entryHead is what an entry says of itself.
type entryHead struct {
	time          session.Time
	wall          uint64
	maker, number uint64
}

func appendEntryHead(b []byte, h entryHead) []byte {
	b = append(b, entryVersion)
	for _, v := range [...]uint64{uint64(h.time), h.wall, h.maker, h.number} {
		b = binary.AppendUvarint(b, v)
	}
	return b
}

// numbered says whether a proposer numbers commands of that kind. Claims and
// letters have numbers of their own.
func (k kind) numbered() bool { return k != kindClaim && k != kindLetter && k < kindTransientFirst }

func appendCommand(b []byte, k kind, body []byte) []byte {
	return appendBytes(append(b, byte(k)), body)
}

// openEntry reads the head of an entry; its commands are left in the reader.
func openEntry(b []byte) (h entryHead, r reader) {
	r = reader{b: b}
	r.version(entryVersion)
	h = entryHead{time: r.time(), wall: r.uvarint(), maker: r.uvarint(), number: r.uvarint()}
	if h.time > lastTime {
		r.fail()
	}
	return h, r
}

// command cuts the next command out of an entry.
func (r *reader) command() (kind, reader) {
	k := kind(r.byte())
	return k, reader{b: r.bytes()}
}
