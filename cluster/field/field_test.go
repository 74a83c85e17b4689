package field

import (
	"bytes"
	"encoding/binary"
	"math"
	"testing"
)

func TestFieldsComeBack(t *testing.T) {
	b := []byte{7}
	b = binary.AppendUvarint(b, math.MaxUint64)
	b = binary.AppendVarint(b, math.MinInt64)
	b = AppendBytes(b, []byte("abc"))
	b = AppendBytes(b, nil)
	whole := b
	read := func(b []byte) (*Reader, bool) {
		r := &Reader{B: b}
		same := r.Byte() == 7
		same = r.Uvarint() == math.MaxUint64 && same
		same = r.Varint() == math.MinInt64 && same
		same = bytes.Equal(r.Bytes(), []byte("abc")) && same
		return r, r.Bytes() == nil && same
	}
	if r, same := read(whole); !same || !r.Done() {
		t.Errorf("read back %+v, the same: %v", r, same)
	}
	for n := range whole {
		if r, _ := read(whole[:n]); r.Done() || !r.Bad {
			t.Errorf("cut to %d bytes: %+v", n, r)
		}
	}
	if r, same := read(append(whole, 0)); !same || r.Bad || r.Done() {
		t.Errorf("a byte too many: %+v", r)
	}
}

// What is read of whatever bytes stays within them.
func FuzzReader(f *testing.F) {
	f.Add([]byte{1, 2, 3, 'a', 'b', 'c'})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := Reader{B: b}
		for left := len(b) + 1; len(r.B) < left && !r.Bad; {
			left = len(r.B)
			r.Byte()
			r.Uvarint()
			r.Varint()
			if v := r.Bytes(); len(v) > left {
				t.Fatalf("%d bytes out of %d", len(v), left)
			}
		}
		if r.Bad && (len(r.B) > 0 || r.Byte() != 0 || r.Uvarint() != 0 || r.Bytes() != nil) {
			t.Fatalf("something after a bad field: %+v", r)
		}
	})
}
