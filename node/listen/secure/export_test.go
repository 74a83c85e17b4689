package secure

// SetMost sets the number of handshakes that run at a time.
func (p *Protocol) SetMost(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.most = n
}
