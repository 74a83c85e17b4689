package backup

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
)

// File is a backup that was read through once and found whole.
type File struct {
	Head
	Records []Record
	from    io.ReaderAt
	shards  map[int]extent
}

// extent is where the pieces of a shard lie in the file.
type extent struct{ from, to int64 }

// Open reads a file from its beginning to its end and verifies it.
func Open(from io.ReaderAt) (*File, error) {
	f := &File{from: from, shards: map[int]extent{}}
	counted := &counter{from: bufio.NewReaderSize(io.NewSectionReader(from, 0, 1<<62), pieceBytes)}
	var begin [len(magic)]byte
	const version = len(magic) - 1
	if _, err := io.ReadFull(counted, begin[:]); err != nil || string(begin[:version]) != magic[:version] {
		return nil, fmt.Errorf("%w: it does not begin as one", ErrFormat)
	}
	if begin[version] != magic[version] {
		return nil, fmt.Errorf("%w: format version %d, this release reads %d", ErrFormat, begin[version], magic[version])
	}
	var room []byte
	c, err := readChunk(counted, &room)
	if err != nil {
		return nil, err
	}
	if c.kind != kindHead || json.Unmarshal(c.body, &f.Head) != nil || f.Head.Shards < 1 || f.Head.Shards > maxShards {
		return nil, fmt.Errorf("%w: it has no head", ErrFormat)
	}
	open, began := -1, int64(0)
	for {
		at := counted.n
		c, err := readChunk(counted, &room)
		if err != nil {
			return nil, err
		}
		sh := int(c.shard)
		switch {
		case c.kind == kindClose:
			if missing := f.missing(); len(missing) > 0 && len(f.Recovered) == 0 {
				return nil, fmt.Errorf("%w: shards %v are missing", ErrFormat, missing)
			}
			return f, nil
		case c.kind == kindRecords && len(f.shards) == 0 && open < 0:
			var some []Record
			if json.Unmarshal(c.body, &some) != nil {
				return nil, fmt.Errorf("%w: records that cannot be read", ErrFormat)
			}
			f.Records = append(f.Records, some...)
		case c.kind == kindBegin && sh < f.Head.Shards:
			delete(f.shards, sh)
			open, began = sh, counted.n
		case c.kind == kindPiece && sh == open:
		case c.kind == kindEnd && sh == open:
			f.shards[sh] = extent{began, at}
			open = -1
		default:
			return nil, fmt.Errorf("%w: chunks are out of order", ErrFormat)
		}
	}
}

func (f *File) missing() (missing []int) {
	for sh := range f.Head.Shards {
		if _, ok := f.shards[sh]; !ok {
			missing = append(missing, sh)
		}
	}
	return missing
}

// Held are the shards in the file, by number.
func (f *File) Held() []int { return slices.Sorted(maps.Keys(f.shards)) }

// Shard reads what was written of a shard that is in the file.
func (f *File) Shard(shard int) io.Reader {
	at := f.shards[shard]
	return &pieces{from: bufio.NewReaderSize(io.NewSectionReader(f.from, at.from, at.to-at.from), pieceBytes)}
}

// pieces reads the bodies of chunks.
type pieces struct {
	from *bufio.Reader
	room []byte
	left []byte
}

func (p *pieces) Read(b []byte) (int, error) {
	for len(p.left) == 0 {
		if _, err := p.from.Peek(1); err != nil {
			return 0, err
		}
		c, err := readChunk(p.from, &p.room)
		if err != nil {
			return 0, err
		}
		p.left = c.body
	}
	n := copy(b, p.left)
	p.left = p.left[n:]
	return n, nil
}

// counter counts what is read.
type counter struct {
	from io.Reader
	n    int64
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.from.Read(b)
	c.n += int64(n)
	return n, err
}
