package raftnet

// Class is one of the two rows of records of a stream's direction. An urgent
// record never waits for more than the piece of bulk that is being written.
type Class uint8

const (
	Urgent Class = iota
	Bulk
	classes
)

// Stream carries pieces to one peer and back. Send and Recv are called by one
// goroutine each. When either fails the stream has ended.
type Stream interface {
	// Send sends a piece of each row, either of which may be empty; together they
	// have at most MaxPiece bytes. It keeps neither.
	Send(urgent, bulk []byte) error
	// Recv waits for pieces and gives each to f, which borrows it. An error of f
	// ends Recv and the stream; it is what the peer did wrong.
	Recv(f func(c Class, piece []byte) error) error
}

// MaxPiece is how many bytes go at a time: how long an urgent record may wait.
const MaxPiece = 64 << 10

// assembler makes records of one row's pieces. Records that lie within a piece
// are not copied.
type assembler struct {
	bound int    // of a payload
	tail  []byte // a record that has begun
}

// add calls f for each record that piece completes.
func (a *assembler) add(piece []byte, f func(record) error) error {
	for len(a.tail) > 0 && len(piece) > 0 {
		// Take up no more than belongs to the record that has begun.
		_, _, missing, err := readRecord(a.tail, a.bound)
		if err != nil {
			return err
		}
		n := min(missing-len(a.tail), len(piece))
		a.tail = append(a.tail, piece[:n]...)
		piece = piece[n:]
		r, _, missing, err := readRecord(a.tail, a.bound)
		if err != nil {
			return err
		}
		if missing > 0 {
			continue
		}
		if err := f(r); err != nil {
			return err
		}
		if a.tail = a.tail[:0]; cap(a.tail) > keepBytes {
			a.tail = nil
		}
	}
	for len(piece) > 0 {
		r, rest, missing, err := readRecord(piece, a.bound)
		if err != nil {
			return err
		}
		if missing > 0 {
			a.tail = append(a.tail, piece...)
			return nil
		}
		if err := f(r); err != nil {
			return err
		}
		piece = rest
	}
	return nil
}

// keepBytes is up to which size an empty buffer is kept for later.
const keepBytes = 256 << 10
