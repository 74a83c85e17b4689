package raftnet

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/hashicorp/raft"
)

// appended is an AppendEntries with entries of so many bytes each.
func appended(sizes ...int) *raft.AppendEntriesRequest {
	a := &raft.AppendEntriesRequest{RPCHeader: header(3, "n1")}
	for i, n := range sizes {
		e := &raft.Log{Index: uint64(i + 1), Term: 1}
		if n > 0 {
			e.Data = bytes.Repeat([]byte{byte(i)}, n)
		}
		if i%3 == 1 {
			e.Extensions = bytes.Repeat([]byte{0xEE}, n/2+1)
		}
		a.Entries = append(a.Entries, e)
	}
	return a
}

// Entries that are kept are what came, though the bytes that they were read from are used
// again.
func TestKeptEntriesAreTheirOwn(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 5))
	for range 100 {
		var sizes []int
		for range rnd.IntN(70) {
			sizes = append(sizes, rnd.IntN(1<<rnd.IntN(17)))
		}
		want := appended(sizes...)
		b := appendAppend(nil, want)
		got, err := readAppend(b, "n1")
		if err != nil {
			t.Fatal(err)
		}
		own(got)
		for i := range b {
			b[i] = 0xAA
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("entries of %d bytes are others", sizes)
		}
		for _, e := range got.Entries {
			_ = append(e.Data, 0xBB) // writes over no other's
			_ = append(e.Extensions, 0xBB)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("entries of %d bytes have room that is another's", sizes)
		}
	}
}

// P10: of what came together, an entry that is kept keeps little more than itself, so that what
// the log keeps is bounded by what its entries take.
func TestKeptEntryKeepsNoOther(t *testing.T) {
	for _, c := range []struct {
		name    string
		sizes   []int
		objects float64
	}{
		{"none", nil, 0},
		{"short ones lie together", []int{100, 0, 100, 100}, 1},
		{"but not too many", alike(64, maxShort), 64 * maxShort / maxTogether},
		{"long ones each by itself", alike(64, maxShort+1), 64},
	} {
		a := appended(c.sizes...)
		for _, e := range a.Entries {
			e.Extensions = nil
		}
		if n := testing.AllocsPerRun(10, func() { own(a) }); n != c.objects {
			t.Errorf("%s: %d entries lie in %v places, not %v", c.name, len(c.sizes), n, c.objects)
		}
	}
}

func alike(n, size int) (all []int) {
	for range n {
		all = append(all, size)
	}
	return all
}
