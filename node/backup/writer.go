package backup

import (
	"bufio"
	"encoding/json"
	"io"
)

// Writer writes a backup. Close says that it is whole.
type Writer struct{ to io.Writer }

// NewWriter begins a backup.
func NewWriter(to io.Writer, h Head) (*Writer, error) {
	body, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	if _, err := io.WriteString(to, magic); err != nil {
		return nil, err
	}
	return &Writer{to}, writeChunk(to, chunk{kind: kindHead, body: body})
}

// Records writes some of the records, before the first shard.
func (w *Writer) Records(some []Record) error {
	for len(some) > 0 {
		n, size := 0, 0
		for n < len(some) && size < pieceBytes {
			size += len(some[n].Name) + len(some[n].Value)
			n++
		}
		body, err := json.Marshal(some[:n])
		if err != nil {
			return err
		}
		if err := writeChunk(w.to, chunk{kind: kindRecords, body: body}); err != nil {
			return err
		}
		some = some[n:]
	}
	return nil
}

// Shard writes a shard: what write writes. If write fails the shard is not in the
// file, and may be written again.
func (w *Writer) Shard(shard int, write func(io.Writer) error) error {
	if err := writeChunk(w.to, chunk{kind: kindBegin, shard: uint16(shard)}); err != nil {
		return err
	}
	pieces := bufio.NewWriterSize(pieceWriter{w.to, uint16(shard)}, pieceBytes)
	if err := write(pieces); err != nil {
		return err
	}
	if err := pieces.Flush(); err != nil {
		return err
	}
	return writeChunk(w.to, chunk{kind: kindEnd, shard: uint16(shard)})
}

// Close ends the file.
func (w *Writer) Close() error { return writeChunk(w.to, chunk{kind: kindClose}) }

// pieceWriter makes a chunk of each write.
type pieceWriter struct {
	to    io.Writer
	shard uint16
}

func (w pieceWriter) Write(b []byte) (n int, err error) {
	for n < len(b) {
		part := b[n:min(n+pieceBytes, len(b))]
		if err := writeChunk(w.to, chunk{kindPiece, w.shard, part}); err != nil {
			return n, err
		}
		n += len(part)
	}
	return n, nil
}
