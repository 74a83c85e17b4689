package secure

import (
	"io"
	"net"
	"time"
)

const (
	headerSize = 5
	// maxRecord is the largest payload of a record that crypto/tls does not refuse
	// for its length alone.
	maxRecord = 16<<10 + 2048

	recordHandshake = 22
)

// errAgain has crypto/tls try again later.
var errAgain net.Error = again{}

type again struct{}

func (again) Error() string   { return "secure: no more bytes for now" }
func (again) Timeout() bool   { return true }
func (again) Temporary() bool { return true }

// pipe is the net.Conn below a tls.Conn: bytes from the peer in, bytes for it out.
// While the handshake has a goroutine both sides share it, and Read waits; later it is
// the loop's alone.
type pipe struct {
	in   []byte // not yet read; borrowed while the loop calls
	left int    // bytes of in that belong to the record which has been begun
	out  []byte

	shaking *handshake // nil after
}

// whole says whether b begins with a whole record, or with what is none.
func whole(b []byte) (size int, ok bool) {
	if len(b) < headerSize {
		return 0, false
	}
	size = headerSize + int(b[3])<<8 + int(b[4])
	if size > headerSize+maxRecord {
		return len(b), true
	}
	return size, len(b) >= size
}

func (p *pipe) Read(b []byte) (int, error) {
	h := p.shaking
	if h == nil {
		if !p.begin() {
			return 0, errAgain
		}
		return p.take(b), nil
	}
	waited, err := h.await(p)
	if waited {
		h.turns <- struct{}{}
	}
	if err != nil {
		return 0, err
	}
	return p.take(b), nil // which is not the loop's to touch before it waits again
}

// begin says whether there is something of a record to read.
func (p *pipe) begin() bool {
	if p.left == 0 {
		if size, ok := whole(p.in); ok {
			p.left = size
		}
	}
	return p.left > 0
}

func (p *pipe) take(b []byte) int {
	n := copy(b, p.in[:p.left])
	p.in = p.in[n:]
	p.left -= n
	return n
}

func (p *pipe) Write(b []byte) (int, error) {
	h := p.shaking
	if h == nil {
		p.out = append(p.out, b...)
		return len(b), nil
	}
	h.mu.Lock()
	if h.mu.close != nil {
		h.mu.Unlock()
		return 0, io.ErrClosedPipe
	}
	p.out = append(p.out, b...)
	h.mu.Unlock()
	h.wake()
	return len(b), nil
}

func (*pipe) Close() error                     { return nil }
func (*pipe) LocalAddr() net.Addr              { return nil }
func (*pipe) RemoteAddr() net.Addr             { return nil }
func (*pipe) SetDeadline(time.Time) error      { return nil }
func (*pipe) SetReadDeadline(time.Time) error  { return nil }
func (*pipe) SetWriteDeadline(time.Time) error { return nil }
