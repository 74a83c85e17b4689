// Package log is the log and the stable store of all Raft groups of a node.
//
// All groups write to one stream of segment files, and one goroutine, the
// syncer, writes it: what all groups want stored at a moment becomes one batch,
// one write and one fdatasync. [Open] reads the stream back, [Log.Group] gives
// the view of one group, which is a raft.LogStore (monotonic) and a
// raft.StableStore.
//
// What a call stored is on stable storage when the call returns (D1). What
// cannot be trusted is never used: each record has a checksum that every read
// verifies; damage to anything that was acknowledged is a [DamageError], and
// nothing is cut or skipped because of it (D2). After the first failed write or
// sync the log is poisoned, and every call returns [ErrFailed] (D2). An
// operation that hangs is told to the node while it hangs (D3).
//
// DESIGN.md beside this file describes the format and the decisions.
package log
