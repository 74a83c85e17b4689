package raftnet

import (
	"encoding/binary"
	"time"

	"github.com/hashicorp/raft"
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
		dst = appendBytes(dst, e.Extensions)
		dst = appendBytes(dst, e.Data)
	}
	return dst
}

// minEntry is the fewest bytes an entry takes.
const minEntry = 6

// readAppend reads an AppendEntries, whose entries borrow b: for they are kept,
// it must be the caller's own.
func readAppend(b []byte, peer string) (*raft.AppendEntriesRequest, error) {
	r := reader{b: b}
	a := &raft.AppendEntriesRequest{RPCHeader: header(r.uint(), peer)}
	a.Term, a.PrevLogEntry, a.PrevLogTerm, a.LeaderCommitIndex = r.uint(), r.uint(), r.uint(), r.uint()
	n := r.uint()
	if n > uint64(len(r.b)/minEntry) {
		return nil, malformed("entries")
	}
	if n > 0 {
		logs := make([]raft.Log, n)
		a.Entries = make([]*raft.Log, n)
		index, at := a.PrevLogEntry, int64(0)
		for i := range logs {
			e := &logs[i]
			e.Type = raft.LogType(r.byte())
			index += r.uint()
			e.Index, e.Term = index, r.uint()
			if at += r.int(); at != 0 {
				e.AppendedAt = time.Unix(0, at)
			}
			e.Extensions, e.Data = r.bytes(), r.bytes()
			a.Entries[i] = e
		}
	}
	return a, r.end("append entries")
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
	r := reader{b: b}
	a.RPCHeader = header(r.uint(), peer)
	a.Term, a.LastLog = r.uint(), r.uint()
	flags := r.byte()
	a.Success, a.NoRetryBackoff = flags&1 != 0, flags&2 != 0
	return r.end("append reply")
}

func appendVote(dst []byte, v *raft.RequestVoteRequest) []byte {
	dst = appendNumbers(dst, uint64(v.ProtocolVersion), v.Term, v.LastLogIndex, v.LastLogTerm)
	return appendBool(dst, v.LeadershipTransfer)
}

func readVote(b []byte, peer string) (*raft.RequestVoteRequest, error) {
	r := reader{b: b}
	v := &raft.RequestVoteRequest{RPCHeader: header(r.uint(), peer)}
	v.Term, v.LastLogIndex, v.LastLogTerm = r.uint(), r.uint(), r.uint()
	v.LeadershipTransfer = r.byte() != 0
	return v, r.end("vote")
}

func appendPreVote(dst []byte, v *raft.RequestPreVoteRequest) []byte {
	return appendNumbers(dst, uint64(v.ProtocolVersion), v.Term, v.LastLogIndex, v.LastLogTerm)
}

func readPreVote(b []byte, peer string) (*raft.RequestPreVoteRequest, error) {
	r := reader{b: b}
	v := &raft.RequestPreVoteRequest{RPCHeader: header(r.uint(), peer)}
	v.Term, v.LastLogIndex, v.LastLogTerm = r.uint(), r.uint(), r.uint()
	return v, r.end("pre-vote")
}

// The replies to votes, pre-votes and snapshots are alike.
func appendGranted(dst []byte, version raft.ProtocolVersion, term uint64, granted bool) []byte {
	return appendBool(appendNumbers(dst, uint64(version), term), granted)
}

func readGranted(b []byte, peer string) (h raft.RPCHeader, term uint64, granted bool, err error) {
	r := reader{b: b}
	h = header(r.uint(), peer)
	term, granted = r.uint(), r.byte() != 0
	return h, term, granted, r.end("vote reply")
}

// A TimeoutNow and its reply are a version.
func appendVersion(dst []byte, h raft.RPCHeader) []byte {
	return appendNumbers(dst, uint64(h.ProtocolVersion))
}

func readVersion(b []byte, peer string) (raft.RPCHeader, error) {
	r := reader{b: b}
	h := header(r.uint(), peer)
	return h, r.end("version")
}

func appendInstall(dst []byte, s *raft.InstallSnapshotRequest) []byte {
	dst = appendNumbers(dst, uint64(s.ProtocolVersion), uint64(s.SnapshotVersion), s.Term, s.LastLogIndex, s.LastLogTerm,
		s.ConfigurationIndex, uint64(s.Size))
	return appendBytes(dst, s.Configuration)
}

func readInstall(b []byte, peer string) (*raft.InstallSnapshotRequest, error) {
	r := reader{b: b}
	s := &raft.InstallSnapshotRequest{RPCHeader: header(r.uint(), peer)}
	s.Leader = s.Addr
	s.SnapshotVersion = raft.SnapshotVersion(r.uint())
	s.Term, s.LastLogIndex, s.LastLogTerm, s.ConfigurationIndex = r.uint(), r.uint(), r.uint(), r.uint()
	s.Size = int64(r.uint())
	s.Configuration = append([]byte(nil), r.bytes()...)
	if s.Size < 0 {
		return nil, malformed("snapshot size")
	}
	return s, r.end("snapshot")
}

func appendBool(dst []byte, v bool) []byte {
	if v {
		return append(dst, 1)
	}
	return append(dst, 0)
}
