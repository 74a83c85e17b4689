package raftstore

import (
	"bytes"
	"fmt"
	"testing"
)

// offlineSessions is a state with sessions that are not connected, one
// subscription each, as a shard of a million sessions has 62,500.
func offlineSessions(n int) *state {
	o := DefaultOptions()
	sh := newManual(o)
	for i := range n {
		id := fmt.Sprint("offline-", i)
		e := sh.do(Claim{ClientID: id, Conn: 1, Expiry: 3600, Inflight: 100}).Claim.Epoch
		sh.do(Subscribe{ClientID: id, Epoch: e, Filters: []Subscription{subscription(fmt.Sprint("offline/", i), 1)}})
		sh.do(Detach{ClientID: id, Epoch: e})
	}
	return sh.st
}

// BenchmarkRestore reads a shard's snapshot, as a node that starts does, and tells
// what it costs a session: a thousand of them, and many times as many.
func BenchmarkRestore(b *testing.B) {
	for _, sessions := range []int{1000, 10_000, 60_000} {
		b.Run(fmt.Sprint(sessions), func(b *testing.B) {
			snapshot := snapshotOf(b, offlineSessions(sessions))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := restoreState(0, bytes.NewReader(snapshot)); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*sessions), "ns/session")
			b.ReportMetric(float64(len(snapshot))/float64(sessions), "snapshot-B/session")
		})
	}
}
