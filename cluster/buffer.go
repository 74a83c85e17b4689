package cluster

import "sync"

const (
	// A buffer that grew beyond this goes to the garbage collector.
	maxPooledBuffer = 256 << 10
	// So does one that would bring what lies in the pool above this.
	maxPooledBytes = 8 << 20
)

// buffers is a stack of bodies for the next frames. A sync.Pool would allocate
// for each slice that it is given.
type buffers struct {
	mu struct {
		sync.Mutex
		free  [][]byte
		bytes int
	}
}

func (p *buffers) get() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.mu.free)
	if n == 0 {
		return make([]byte, 0, 1<<10)
	}
	b := p.mu.free[n-1]
	p.mu.free[n-1] = nil
	p.mu.free = p.mu.free[:n-1]
	p.mu.bytes -= cap(b)
	return b
}

func (p *buffers) put(b []byte) {
	if cap(b) == 0 || cap(b) > maxPooledBuffer {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.bytes+cap(b) > maxPooledBytes {
		return
	}
	p.mu.free = append(p.mu.free, b[:0])
	p.mu.bytes += cap(b)
}
