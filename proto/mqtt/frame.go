package mqtt

// Frame is one whole control packet cut out of a byte stream: its first byte
// and what follows the remaining length. Body borrows the stream's buffer.
type Frame struct {
	First byte
	Body  []byte
}

// Kind is the packet's type, which may be one that does not exist.
func (f Frame) Kind() Kind { return Kind(f.First >> 4) }

// Cut finds the first packet in b. n is its length in bytes; n = 0 without an
// error means that b holds only a part of it. A remaining length over limit is
// refused (0x95) as soon as it can be read, a malformed one with 0x81.
func Cut(b []byte, limit uint32) (f Frame, n int, err error) { panic("seam") }

// Decode reads f as version v into p. What a Version 5 server must refuse is
// an *Error with its reason. CONNECT names its own version; v is ignored for it.
func Decode(f Frame, v Version, p *Packet) error { panic("seam") }
