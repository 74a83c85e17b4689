package cluster

import "testing"

func TestPooledBuffersHoldWhatWasAskedFor(t *testing.T) {
	var p bufferPool
	for _, n := range []int{0, 1, minPooledBatch, minPooledBatch + 1, 100_000, 256 << 10, 1 << 20} {
		b := p.Get(n)
		if len(*b) != n {
			t.Errorf("asked for %d bytes, got %d", n, len(*b))
		}
		grown := append((*b)[:n], make([]byte, 300)...)
		p.Put(&grown)
	}
	for _, n := range []int{256 << 10, 1, minPooledBatch + 1, 200_000} {
		if b := p.Get(n); len(*b) != n {
			t.Errorf("asked for %d bytes after reuse, got %d", n, len(*b))
		}
	}
}
