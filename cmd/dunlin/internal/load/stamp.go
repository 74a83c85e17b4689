package load

import "encoding/binary"

// stamp is how every payload begins: MinSize bytes that say whose message it is.
//
//	bits 0-15    the run's tag
//	     16-39   the stream: its publisher's number, or its receiver's where one
//	             publisher writes to many
//	     40-79   the message's number in the stream
//	     80-127  when it was due: nanoseconds of the monotonic clock, which wrap
//	             after three days
type stamp struct {
	tag    uint16
	stream int
	number uint64
	due    int64
}

// The bounds that follow from the widths.
const (
	maxStreams = 1 << 24
	maxNumber  = 1 << 40
	dueBits    = 48
)

// put writes s at the beginning of b.
func (s stamp) put(b []byte) {
	_ = b[MinSize-1]
	binary.BigEndian.PutUint64(b, uint64(s.tag)<<48|uint64(s.stream)<<24|s.number>>16)
	binary.BigEndian.PutUint64(b[8:], s.number<<dueBits|uint64(s.due)&(1<<dueBits-1))
}

// readStamp reads what put wrote. due is wrapped; since knows how to use it.
func readStamp(b []byte) stamp {
	hi, lo := binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])
	return stamp{
		tag: uint16(hi >> 48), stream: int(hi >> 24 & (maxStreams - 1)),
		number: hi<<16&(maxNumber-1) | lo>>dueBits, due: int64(lo & (1<<dueBits - 1)),
	}
}

// since is the time from when the message was due to now, right if it is shorter than
// a day and a half either way.
func (s stamp) since(now int64) int64 {
	return (now - s.due) << (64 - dueBits) >> (64 - dueBits)
}
