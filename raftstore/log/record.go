package log

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"time"

	"github.com/hashicorp/raft"
)

// kind says what a record means. The numbers are the format's.
type kind uint8

const (
	kindBatch   kind = iota + 1 // the records that follow were written together: index is its number, term the bytes that follow
	kindEntry                   // the entry of a group that follows its last one
	kindMoved                   // a later copy of an entry, from a segment that is to be recycled
	kindCutTail                 // the group's entries from index on are gone
	kindCutHead                 // the group's entries below index are gone
	kindSet                     // a stable value: index is the key's length, the payload key and value
	kindRemove                  // the group is gone
	kindState                   // the group has the entries from index up to, not including, term
	kindSeal                    // nothing more is in this segment: index is the number of the next one
)

// A record is a header of headerLen bytes, little endian, and a payload.
//
//	 0  crc32c of the rest of the header and of the payload, xor the segment's mask
//	 4  length of the payload
//	 8  kind
//	 9  raft.LogType of an entry; flagCheckpoint of a batch
//	10  group
//	12  length of an entry's extensions
//	16  index
//	24  term
//
// The payload of an entry is when it was appended (Unix nanoseconds, 0 if not
// known), its extensions, its data.
const (
	headerLen      = 32
	entryPrefixLen = 8
)

// maxIndex is where indexes end, so that adding to one never overflows.
const maxIndex = 1 << 62

// flagCheckpoint marks the first batch of a segment, which begins with the
// state of all groups.
const flagCheckpoint = 1

// header is the decoded head of a record.
type header struct {
	length uint32
	kind   kind
	typ    uint8
	group  uint16
	extra  uint32
	index  uint64
	term   uint64
}

func (h header) size() int64 { return headerLen + int64(h.length) }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendHeader appends h with room for the checksum, which seal fills in.
func appendHeader(b []byte, h header) []byte {
	b = append(b, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, h.length)
	b = append(b, byte(h.kind), h.typ)
	b = binary.LittleEndian.AppendUint16(b, h.group)
	b = binary.LittleEndian.AppendUint32(b, h.extra)
	b = binary.LittleEndian.AppendUint64(b, h.index)
	return binary.LittleEndian.AppendUint64(b, h.term)
}

// parseHeader decodes the first headerLen bytes of b, unverified.
func parseHeader(b []byte) header {
	return header{
		length: binary.LittleEndian.Uint32(b[4:]),
		kind:   kind(b[8]),
		typ:    b[9],
		group:  binary.LittleEndian.Uint16(b[10:]),
		extra:  binary.LittleEndian.Uint32(b[12:]),
		index:  binary.LittleEndian.Uint64(b[16:]),
		term:   binary.LittleEndian.Uint64(b[24:]),
	}
}

// sealRecord writes the checksum of record, a whole one, under mask.
func sealRecord(record []byte, mask uint32) {
	binary.LittleEndian.PutUint32(record, crc32.Checksum(record[4:], castagnoli)^mask)
}

// remask changes the mask of a sealed record.
func remask(record []byte, mask uint32) {
	binary.LittleEndian.PutUint32(record, binary.LittleEndian.Uint32(record)^mask)
}

// intact says whether record, a whole one, has its checksum under mask.
func intact(record []byte, mask uint32) bool {
	return binary.LittleEndian.Uint32(record) == crc32.Checksum(record[4:], castagnoli)^mask
}

// cutRecord takes the record off the front of b, if it is whole and intact.
func cutRecord(b []byte, mask uint32) (h header, record []byte, ok bool) {
	if len(b) < headerLen {
		return header{}, nil, false
	}
	h = parseHeader(b)
	if h.size() > int64(len(b)) {
		return header{}, nil, false
	}
	record = b[:h.size()]
	return h, record, intact(record, mask)
}

// entrySize is the size of l as a record.
func entrySize(l *raft.Log) int {
	return headerLen + entryPrefixLen + len(l.Extensions) + len(l.Data)
}

// appendEntry appends l as a record sealed without a mask, so that callers
// compute checksums beside the syncer, which knows the segment's mask.
func appendEntry(b []byte, group uint16, l *raft.Log) []byte {
	from := len(b)
	b = appendHeader(b, header{
		length: uint32(entryPrefixLen + len(l.Extensions) + len(l.Data)),
		kind:   kindEntry, typ: uint8(l.Type), group: group,
		extra: uint32(len(l.Extensions)),
		index: l.Index, term: l.Term,
	})
	var appended int64
	if !l.AppendedAt.IsZero() {
		appended = l.AppendedAt.UnixNano()
	}
	b = binary.LittleEndian.AppendUint64(b, uint64(appended))
	b = append(b, l.Extensions...)
	b = append(b, l.Data...)
	sealRecord(b[from:], 0)
	return b
}

// decodeEntry fills l from an intact record, whose bytes l borrows.
func decodeEntry(h header, record []byte, l *raft.Log) error {
	payload := record[headerLen:]
	if h.length < entryPrefixLen || h.extra > h.length-entryPrefixLen {
		return fmt.Errorf("entry %d of group %d has %d bytes of extensions in %d", h.index, h.group, h.extra, h.length)
	}
	*l = raft.Log{Index: h.index, Term: h.term, Type: raft.LogType(h.typ)}
	if ns := int64(binary.LittleEndian.Uint64(payload)); ns != 0 {
		l.AppendedAt = time.Unix(0, ns)
	}
	body := payload[entryPrefixLen:]
	if h.extra > 0 {
		l.Extensions = body[:h.extra:h.extra]
	}
	if rest := body[h.extra:]; len(rest) > 0 {
		l.Data = rest
	}
	return nil
}

// appendSet appends a stable value as a record without checksum.
func appendSet(b []byte, group uint16, key string, value []byte) []byte {
	b = appendHeader(b, header{
		length: uint32(len(key) + len(value)),
		kind:   kindSet, group: group, index: uint64(len(key)),
	})
	b = append(b, key...)
	return append(b, value...)
}

// maxValueBytes bounds a stable key, and its value.
const maxValueBytes = math.MaxUint16

// decodeSet is the reverse of appendSet.
func decodeSet(h header, record []byte) (key string, value []byte, err error) {
	if h.index > uint64(h.length) {
		return "", nil, fmt.Errorf("stable value of group %d has a key of %d bytes in %d", h.group, h.index, h.length)
	}
	payload := record[headerLen:]
	return string(payload[:h.index]), append([]byte(nil), payload[h.index:]...), nil
}
