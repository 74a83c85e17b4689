package backup

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

func write(t *testing.T, h Head, shards map[int][]byte, torn map[int]bool, records ...Record) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b, h)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Records(records); err != nil {
		t.Fatal(err)
	}
	for sh := range h.Shards {
		content, ok := shards[sh]
		if !ok {
			continue
		}
		if torn[sh] {
			fault := errors.New("its leader was lost")
			if err := w.Shard(sh, func(to io.Writer) error {
				_, _ = to.Write(content[:len(content)/2])
				return fault
			}); !errors.Is(err, fault) {
				t.Fatal(err)
			}
		}
		if err := w.Shard(sh, func(to io.Writer) error { _, err := to.Write(content); return err }); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestWriteAndRead(t *testing.T) {
	h := Head{Cluster: "c", Shards: 4, Taken: time.Unix(1e9, 0).UTC(), Program: "v1", Settings: map[string]string{"a": "b"}}
	shards := map[int][]byte{0: {}, 1: []byte("one"), 2: bytes.Repeat([]byte("two"), pieceBytes), 3: []byte("three")}
	b := write(t, h, shards, map[int]bool{1: true, 2: true})
	f, err := Open(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if f.Cluster != "c" || !f.Taken.Equal(h.Taken) || f.Settings["a"] != "b" || !slices.Equal(f.Held(), []int{0, 1, 2, 3}) {
		t.Errorf("%+v %v", f.Head, f.Held())
	}
	for sh, want := range shards {
		if got, err := io.ReadAll(f.Shard(sh)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("shard %d: %v, %d bytes", sh, err, len(got))
		}
	}

	var records []Record
	for i := range 5 {
		records = append(records, Record{"user", string(rune('a' + i)), strings.Repeat("x", pieceBytes/2)})
	}
	f, err = Open(bytes.NewReader(write(t, h, shards, nil, records...)))
	if err != nil || !slices.Equal(f.Records, records) || !slices.Equal(f.Held(), []int{0, 1, 2, 3}) {
		t.Errorf("%d records, shards %v, %v", len(f.Records), f.Held(), err)
	}

	// No part of it that is missing or changed goes unnoticed.
	small := write(t, h, map[int][]byte{0: {1}, 1: []byte("one"), 2: {2}, 3: {3}}, nil, Record{"user", "ann", "x"})
	for i := range small {
		if _, err := Open(bytes.NewReader(small[:i])); !errors.Is(err, ErrFormat) {
			t.Errorf("cut at %d: %v", i, err)
		}
		bad := slices.Clone(small)
		bad[i] ^= 4
		if _, err := Open(bytes.NewReader(bad)); !errors.Is(err, ErrFormat) {
			t.Errorf("byte %d changed: %v", i, err)
		}
	}
}

// What was recovered may lack shards, a backup may not.
func TestMissingShards(t *testing.T) {
	h := Head{Cluster: "c", Shards: 3}
	some := map[int][]byte{1: []byte("one")}
	if _, err := Open(bytes.NewReader(write(t, h, some, nil))); !errors.Is(err, ErrFormat) {
		t.Error(err)
	}
	h.Recovered = []string{"node"}
	f, err := Open(bytes.NewReader(write(t, h, some, nil)))
	if err != nil || !slices.Equal(f.Held(), []int{1}) {
		t.Error(err)
	}
}

func FuzzOpen(f *testing.F) {
	var b bytes.Buffer
	w, _ := NewWriter(&b, Head{Cluster: "c", Shards: 1})
	_ = w.Shard(0, func(to io.Writer) error { _, err := to.Write([]byte("x")); return err })
	_ = w.Close()
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		if file, err := Open(bytes.NewReader(b)); err == nil {
			for _, sh := range file.Held() {
				if _, err := io.Copy(io.Discard, file.Shard(sh)); err != nil {
					t.Error(err)
				}
			}
		}
	})
}
