package log

import (
	"testing"
	"unsafe"

	"github.com/hashicorp/raft"
)

// Entries that are short are bounded by what they take, not by their data (P10).
func TestRecentBounded(t *testing.T) {
	r := recent{limit: 64 << 10}
	for i := range uint64(100_000) {
		r.push(&raft.Log{Index: i + 1, Data: []byte("a")})
	}
	held := cap(r.logs) * int(unsafe.Sizeof(raft.Log{}))
	if len(r.logs) == 0 || held > 2*r.limit {
		t.Errorf("%d entries are held in %d bytes, not in %d or twice that", len(r.logs), held, r.limit)
	}
}
