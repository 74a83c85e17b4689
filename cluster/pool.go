package cluster

import (
	"math/bits"
	"sync"
)

// batches is where the bytes of batches come from, both ways. gRPC's own pool
// clears what it hands out, which cost 5 % of forwarding a message.
var batches bufferPool

const (
	minPooledBatch = 1 << 10
	batchTiers     = 9 // up to 256 KiB: a full batch and its last frame
)

// bufferPool is gRPC's mem.BufferPool of a few sizes, powers of two. What it
// returns is not cleared.
type bufferPool struct{ tiers [batchTiers]sync.Pool }

// Get returns a buffer of that length.
func (p *bufferPool) Get(length int) *[]byte {
	tier := tierOf(length)
	if tier >= batchTiers {
		b := make([]byte, length)
		return &b
	}
	b, ok := p.tiers[tier].Get().(*[]byte)
	if !ok {
		fresh := make([]byte, minPooledBatch<<tier)
		b = &fresh
	}
	*b = (*b)[:length]
	return b
}

// Put takes a buffer that nobody uses any more.
func (p *bufferPool) Put(b *[]byte) {
	// Of the tier that it fills, for append may have grown it.
	tier := bits.Len(uint(cap(*b))/minPooledBatch) - 1
	if tier >= 0 && tier < batchTiers {
		p.tiers[tier].Put(b)
	}
}

// tierOf is the smallest tier whose buffers hold n bytes.
func tierOf(n int) int {
	if n <= minPooledBatch {
		return 0
	}
	return bits.Len(uint(n-1) / minPooledBatch)
}
