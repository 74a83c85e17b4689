package cluster

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
)

func TestFrameFaults(t *testing.T) {
	good := appendFrame(nil, frame{kind: frameRecords, reliable: true, seq: 5, body: []byte("hello")})
	with := func(at int, b byte) []byte {
		bad := bytes.Clone(good)
		bad[at] = b
		return bad
	}
	for _, c := range []struct {
		name string
		b    []byte
		want error
	}{
		{"empty", nil, errFrameShort},
		{"half a header", good[:10], errFrameShort},
		{"half a body", good[:len(good)-1], errFrameShort},
		{"version 0", with(0, 0), errFrameVersion},
		{"version 2", with(0, 2), errFrameVersion},
		{"type 0", with(1, 0), errFrameType},
		{"type beyond", with(1, byte(frameTypes)), errFrameType},
		{"flags", with(2, 2), errFrameFlags},
		{"reserved byte", with(3, 1), errFrameFlags},
		{"length above the bound", with(5, 1), errFrameTooLarge},
		{"length beyond the batch", with(4, 6), errFrameShort},
		{"sequence changed", with(8, 6), errFrameChecksum},
		{"body changed", with(frameHeaderSize, 'j'), errFrameChecksum},
		{"checksum changed", with(16, good[16]+1), errFrameChecksum},
	} {
		if _, _, err := readFrame(c.b, 100); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, not %v", c.name, err, c.want)
		}
	}
	f, rest, err := readFrame(append(good, 1, 2), 100)
	if err != nil || f.kind != frameRecords || !f.reliable || f.seq != 5 || string(f.body) != "hello" || len(rest) != 2 {
		t.Errorf("%+v, %v, %v", f, rest, err)
	}
}

// A batch reads as what it was written from, or fails; nothing panics.
func FuzzFrame(f *testing.F) {
	good := appendFrame(nil, frame{kind: frameRecords, reliable: true, seq: 5, body: []byte("hello")})
	f.Add(good)
	f.Add(appendFrame(good, frame{kind: frameConfirm, body: appendSpans(nil, []span{{1, 3}, {9, 9}})}))
	f.Add(good[:21])
	f.Fuzz(func(t *testing.T, b []byte) {
		var again []byte
		for rest := b; len(rest) > 0; {
			fr, next, err := readFrame(rest, 1<<10)
			if err != nil {
				return
			}
			if len(fr.body) > 1<<10 {
				t.Fatal("body above the bound")
			}
			again = appendFrame(again, fr)
			rest = next
		}
		if !bytes.Equal(again, b) {
			t.Fatalf("%x became %x", b, again)
		}
	})
}

// What a peer confirms is an error, or spans.
func FuzzSpans(f *testing.F) {
	f.Add(binary.AppendUvarint(nil, 7))
	f.Add(appendSpans(nil, []span{{1, 3}, {1 << 60, 1 << 61}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		for rest := b; len(rest) > 0; {
			s, next, err := readSpan(rest)
			if err != nil {
				break
			}
			if s.lo == 0 || s.hi < s.lo {
				t.Fatalf("span %v", s)
			}
			rest = next
		}
	})
}
