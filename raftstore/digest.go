package raftstore

import "math/bits"

// This file has the digest: a running hash of what the state machine did, which
// costs a few multiplications a command and is equal on every replica at equal
// index, or they have parted (D6). A snapshot carries it, and a replica goes on
// from there. It says nothing of who caused a difference; state.hash finds where
// two states differ.

// mix takes one more value into the digest.
func (st *state) mix(v uint64) {
	hi, lo := bits.Mul64(st.digest^v^0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93)
	st.digest = hi ^ lo
}

func (st *state) digestResult(k kind, res *Result) {
	st.mix(uint64(k) | res.Index<<8 ^ resultNumber(res.Err)<<56)
	st.mix(uint64(res.Claim.Epoch) ^ res.Seq<<1 ^ res.Low<<32 ^ uint64(res.Dropped)<<16)
}

// digestTables takes in, after each entry, what the tables say of their size.
func (st *state) digestTables() {
	st.mix(uint64(st.now))
	st.mix(uint64(st.sessions.ids.used)<<32 ^ uint64(len(st.sessions.free)))
	st.mix(uint64(st.messages.bytes)<<24 ^ uint64(st.messages.stored()))
	st.mix(uint64(st.retained.bytes)<<24 ^ uint64(st.retained.tree.Len()))
	st.mix(uint64(len(st.publishers.seen))<<32 ^ uint64(len(st.groups.of))<<16 ^ st.wills.last)
}
