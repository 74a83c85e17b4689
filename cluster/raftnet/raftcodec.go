package raftnet

import (
	"encoding/binary"
	"time"

	"github.com/hashicorp/raft"

	"dunlin/cluster/field"
)

// Raft's own messages as payloads. Who sends is known from the stream, so that
// no header but the protocol's version is carried; of what is deprecated nothing
// is. All numbers are varints.

func header(version uint64, peer string) raft.RPCHeader {
	return raft.RPCHeader{ProtocolVersion: raft.ProtocolVersion(version), ID: []byte(peer), Addr: []byte(peer)}
}

func appendNumbers(dst []byte, vs ...uint64) []byte {
	for _, v := range vs {
		dst = binary.AppendUvarint(dst, v)
	}
	return dst
}

// heartbeat says that a is one: Raft sends these beside the log, only to be heard.
func heartbeat(a *raft.AppendEntriesRequest) bool {
	return a.PrevLogEntry == 0 && a.PrevLogTerm == 0 && len(a.Entries) == 0 && a.LeaderCommitIndex == 0
}

// sizeAppend is an upper bound of what appendAppend appends.
func sizeAppend(a *raft.AppendEntriesRequest) int {
	n := 6 * binary.MaxVarintLen64
	for _, e := range a.Entries {
		n += sizeEntry(e)
	}
	return n
}

func sizeEntry(e *raft.Log) int {
	return 1 + 5*binary.MaxVarintLen64 + len(e.Data) + len(e.Extensions)
}

// appendAppend packs an AppendEntries: where the log goes on and the entries, each
// relative to the one before.
func appendAppend(dst []byte, a *raft.AppendEntriesRequest) []byte {
	dst = appendNumbers(dst, uint64(a.ProtocolVersion), a.Term, a.PrevLogEntry, a.PrevLogTerm, a.LeaderCommitIndex,
		uint64(len(a.Entries)))
	index, at := a.PrevLogEntry, int64(0)
	for _, e := range a.Entries {
		dst = append(dst, byte(e.Type))
		dst = appendNumbers(dst, e.Index-index, e.Term)
		var t int64
		if !e.AppendedAt.IsZero() {
			t = e.AppendedAt.UnixNano()
		}
		dst = binary.AppendVarint(dst, t-at)
		index, at = e.Index, t
		dst = field.AppendBytes(dst, e.Extensions)
		dst = field.AppendBytes(dst, e.Data)
	}
	return dst
}

// minEntry is the fewest bytes an entry takes.
const minEntry = 6

// readAppend reads an AppendEntries, whose entries borrow b: see own.
func readAppend(b []byte, peer string) (*raft.AppendEntriesRequest, error) {
	r := field.Reader{B: b}
	a := &raft.AppendEntriesRequest{RPCHeader: header(r.Uvarint(), peer)}
	a.Term, a.PrevLogEntry, a.PrevLogTerm, a.LeaderCommitIndex = r.Uvarint(), r.Uvarint(), r.Uvarint(), r.Uvarint()
	n := r.Uvarint()
	if n > uint64(len(r.B)/minEntry) {
		return nil, malformed("entries")
	}
	if n > 0 {
		logs := make([]raft.Log, n)
		a.Entries = make([]*raft.Log, n)
		index, at := a.PrevLogEntry, int64(0)
		for i := range logs {
			e := &logs[i]
			e.Type = raft.LogType(r.Byte())
			index += r.Uvarint()
			e.Index, e.Term = index, r.Uvarint()
			if at += r.Varint(); at != 0 {
				e.AppendedAt = time.Unix(0, at)
			}
			e.Extensions, e.Data = r.Bytes(), r.Bytes()
			a.Entries[i] = e
		}
	}
	return a, done(&r, "append entries")
}

func appendAppendReply(dst []byte, a *raft.AppendEntriesResponse) []byte {
	dst = appendNumbers(dst, uint64(a.ProtocolVersion), a.Term, a.LastLog)
	var flags byte
	if a.Success {
		flags |= 1
	}
	if a.NoRetryBackoff {
		flags |= 2
	}
	return append(dst, flags)
}

func readAppendReply(b []byte, peer string, a *raft.AppendEntriesResponse) error {
	r := field.Reader{B: b}
	a.RPCHeader = header(r.Uvarint(), peer)
	a.Term, a.LastLog = r.Uvarint(), r.Uvarint()
	flags := r.Byte()
	a.Success, a.NoRetryBackoff = flags&1 != 0, flags&2 != 0
	return done(&r, "append reply")
}

func appendVote(dst []byte, v *raft.RequestVoteRequest) []byte {
	dst = appendNumbers(dst, uint64(v.ProtocolVersion), v.Term, v.LastLogIndex, v.LastLogTerm)
	return appendBool(dst, v.LeadershipTransfer)
}

func readVote(b []byte, peer string) (*raft.RequestVoteRequest, error) {
	r := field.Reader{B: b}
	v := &raft.RequestVoteRequest{RPCHeader: header(r.Uvarint(), peer)}
	v.Term, v.LastLogIndex, v.LastLogTerm = r.Uvarint(), r.Uvarint(), r.Uvarint()
	v.LeadershipTransfer = r.Byte() != 0
	return v, done(&r, "vote")
}

func appendPreVote(dst []byte, v *raft.RequestPreVoteRequest) []byte {
	return appendNumbers(dst, uint64(v.ProtocolVersion), v.Term, v.LastLogIndex, v.LastLogTerm)
}

func readPreVote(b []byte, peer string) (*raft.RequestPreVoteRequest, error) {
	r := field.Reader{B: b}
	v := &raft.RequestPreVoteRequest{RPCHeader: header(r.Uvarint(), peer)}
	v.Term, v.LastLogIndex, v.LastLogTerm = r.Uvarint(), r.Uvarint(), r.Uvarint()
	return v, done(&r, "pre-vote")
}

// The replies to votes, pre-votes and snapshots are alike.
func appendGranted(dst []byte, version raft.ProtocolVersion, term uint64, granted bool) []byte {
	return appendBool(appendNumbers(dst, uint64(version), term), granted)
}

func readGranted(b []byte, peer string) (h raft.RPCHeader, term uint64, granted bool, err error) {
	r := field.Reader{B: b}
	h = header(r.Uvarint(), peer)
	term, granted = r.Uvarint(), r.Byte() != 0
	return h, term, granted, done(&r, "vote reply")
}

// A TimeoutNow and its reply are a version.
func appendVersion(dst []byte, h raft.RPCHeader) []byte {
	return appendNumbers(dst, uint64(h.ProtocolVersion))
}

func readVersion(b []byte, peer string) (raft.RPCHeader, error) {
	r := field.Reader{B: b}
	h := header(r.Uvarint(), peer)
	return h, done(&r, "version")
}

func appendInstall(dst []byte, s *raft.InstallSnapshotRequest) []byte {
	dst = appendNumbers(dst, uint64(s.ProtocolVersion), uint64(s.SnapshotVersion), s.Term, s.LastLogIndex, s.LastLogTerm,
		s.ConfigurationIndex, uint64(s.Size))
	return field.AppendBytes(dst, s.Configuration)
}

func readInstall(b []byte, peer string) (*raft.InstallSnapshotRequest, error) {
	r := field.Reader{B: b}
	s := &raft.InstallSnapshotRequest{RPCHeader: header(r.Uvarint(), peer)}
	s.Leader = s.Addr
	s.SnapshotVersion = raft.SnapshotVersion(r.Uvarint())
	s.Term, s.LastLogIndex, s.LastLogTerm, s.ConfigurationIndex = r.Uvarint(), r.Uvarint(), r.Uvarint(), r.Uvarint()
	s.Size = int64(r.Uvarint())
	s.Configuration = append([]byte(nil), r.Bytes()...)
	if s.Size < 0 {
		return nil, malformed("snapshot size")
	}
	return s, done(&r, "snapshot")
}

func appendBool(dst []byte, v bool) []byte {
	if v {
		return append(dst, 1)
	}
	return append(dst, 0)
}
