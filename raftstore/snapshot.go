package raftstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"

	"github.com/cespare/xxhash/v2"
)

// A snapshot is a sequence of chunks, each
//
//	section  1 byte
//	length   4 bytes, big endian
//	checksum 8 bytes, xxhash64 of section and body
//	body     length bytes: whole items of the section
//
// The first chunk is the head, which has the version; the last is the end, whose
// body is the number of chunks before it. Sections come in the order of their
// numbers. Equal states have equal snapshots.
const snapshotVersion = 1

type section byte

const (
	sectionHead section = 1 + iota
	sectionWills
	sectionProposers
	sectionMail
	sectionMessages
	sectionSessions
	sectionRetained
	sectionPublishers
	sectionGroups
	sectionEnd
)

const (
	chunkHead  = 1 + 4 + 8
	chunkBytes = 64 << 10 // a chunk is cut at the item that fills it
)

// ErrSnapshot says that a snapshot is damaged, cut short or of an unknown version.
var ErrSnapshot = errors.New("raftstore: bad snapshot")

// snapshot writes the whole state.
func (st *state) snapshot(to io.Writer) error {
	f := st.freeze()
	defer f.release()
	for more := true; more; {
		var part []byte
		var err error
		if part, more, err = f.next(); err != nil {
			return err
		}
		if _, err := to.Write(part); err != nil {
			return err
		}
	}
	return nil
}

// hash is the same for equal states, on every replica and release with the same
// snapshotVersion.
func (st *state) hash() uint64 {
	h := xxhash.New()
	if err := st.snapshot(h); err != nil {
		panic("raftstore: hash: " + err.Error())
	}
	return h.Sum64()
}

func (st *state) appendHead(b []byte) []byte {
	b = append(b, snapshotVersion)
	for _, v := range [...]uint64{uint64(st.shard), uint64(st.now), st.index, st.epochs, st.wall, st.digest} {
		b = binary.AppendUvarint(b, v)
	}
	_, b = st.limits.encode(b, nil)
	return st.endings.encode(b)
}

// snapshotWriter gathers items into chunks.
type snapshotWriter struct {
	to      *bytes.Buffer
	b       []byte // the chunk in hand, its head included
	section section
	chunks  uint64
}

func (w *snapshotWriter) begin(s section) {
	w.flush()
	w.section = s
	w.b = append(w.b[:0], make([]byte, chunkHead)...)
}

// end writes the last chunk.
func (w *snapshotWriter) end() {
	w.begin(sectionEnd)
	w.b = binary.AppendUvarint(w.b, w.chunks)
	w.flush()
}

// item ends an item that was appended to b.
func (w *snapshotWriter) item() {
	if len(w.b) >= chunkBytes {
		w.begin(w.section)
	}
}

func (w *snapshotWriter) flush() {
	if len(w.b) <= chunkHead {
		return
	}
	body := w.b[chunkHead:]
	w.b[0] = byte(w.section)
	binary.BigEndian.PutUint32(w.b[1:], uint32(len(body)))
	binary.BigEndian.PutUint64(w.b[5:], checksum(w.section, body))
	w.to.Write(w.b)
	w.chunks++
	w.b = w.b[:0]
}

func checksum(s section, body []byte) uint64 {
	return xxhash.Sum64(body) ^ uint64(s)*0x9E3779B97F4A7C15
}
