package backup

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cespare/xxhash/v2"
)

const magic = "DunlinF\x01"

type kind uint8

const (
	kindHead    kind = 1 + iota
	kindBegin        // of a shard
	kindPiece        // of it
	kindEnd          // of it
	kindClose        // of the file
	kindRecords      // some records, before the first shard

	lastKind = kindRecords
)

const (
	headBytes     = 1 + 2 + 4
	checksumBytes = 8
	pieceBytes    = 256 << 10
	maxBody       = 16 << 20 // the head has all settings in it
	maxShards     = 64
)

// Head says what a backup is of.
type Head struct {
	Cluster  string            `json:"cluster"` // identity of the cluster
	Shards   int               `json:"shards"`  // that it has; the file may lack some, if Recovered
	Taken    time.Time         `json:"taken"`   // when it was begun
	Program  string            `json:"program"` // version of Dunlin
	Settings map[string]string `json:"settings,omitempty"`
	// Recovered are the identities of the stopped nodes whose data it was made of,
	// none for a backup of a running cluster.
	Recovered []string `json:"recovered,omitempty"`
}

// Record is a record of access that the cluster shares: a user, say.
type Record struct {
	Kind  string `json:"kind"`
	Name  string `json:"name"`
	Value string `json:"value"`
}

// ErrFormat says that a file is no backup, damaged, not whole, or of a version
// that this release does not know.
var ErrFormat = errors.New("backup: not a whole backup file")

// chunk is one chunk; its body is borrowed until the next is read.
type chunk struct {
	kind  kind
	shard uint16
	body  []byte
}

func writeChunk(to io.Writer, c chunk) error {
	b := make([]byte, 0, headBytes+len(c.body)+checksumBytes)
	b = binary.BigEndian.AppendUint16(append(b, byte(c.kind)), c.shard)
	b = binary.BigEndian.AppendUint32(b, uint32(len(c.body)))
	b = append(b, c.body...)
	_, err := to.Write(binary.BigEndian.AppendUint64(b, xxhash.Sum64(b)))
	return err
}

// readChunk reads one into room, which it makes larger if it has to.
func readChunk(from io.Reader, room *[]byte) (chunk, error) {
	b := append((*room)[:0], make([]byte, headBytes)...)
	if _, err := io.ReadFull(from, b); err != nil {
		return chunk{}, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	c := chunk{kind: kind(b[0]), shard: binary.BigEndian.Uint16(b[1:])}
	n := int(binary.BigEndian.Uint32(b[3:]))
	if n > maxBody || c.kind < kindHead || c.kind > lastKind || c.shard >= maxShards {
		return chunk{}, fmt.Errorf("%w: bad chunk", ErrFormat)
	}
	for left := n + checksumBytes; left > 0; { // memory in proportion to what is there
		part := min(left, pieceBytes)
		at := len(b)
		b = append(b, make([]byte, part)...)
		if _, err := io.ReadFull(from, b[at:]); err != nil {
			return chunk{}, fmt.Errorf("%w: %w", ErrFormat, err)
		}
		left -= part
	}
	*room = b
	sum := len(b) - checksumBytes
	if xxhash.Sum64(b[:sum]) != binary.BigEndian.Uint64(b[sum:]) {
		return chunk{}, fmt.Errorf("%w: checksum", ErrFormat)
	}
	c.body = b[headBytes:sum]
	return c, nil
}
