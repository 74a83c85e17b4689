package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
)

func ExampleReadRecord() {
	body := AppendMessage(nil, []byte("packed"))
	body, mark := OpenGroup(body, "$share/g/a", 7)
	body = append(body, "in place"...)
	body = CloseRecord(body, mark)
	body = AppendSettled(body, 8)
	for rest := body; len(rest) > 0; {
		var r Record
		var err error
		if r, rest, err = ReadRecord(rest); err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%d %d %q %q\n", r.Kind, r.Handle, r.Filter, r.Message)
	}
	// Output:
	// 1 0 "" "packed"
	// 2 7 "$share/g/a" "in place"
	// 3 8 "" ""
}

func TestRecordCutAtEveryByte(t *testing.T) {
	for _, whole := range [][]byte{
		AppendMessage(nil, []byte("message")),
		AppendGroup(nil, "$share/g/a", 7, []byte("message")),
		AppendSettled(nil, 7),
		AppendReturned(nil, 7),
		AppendFull(nil, 7),
	} {
		for n := range whole {
			if _, _, err := ReadRecord(whole[:n]); !errors.Is(err, ErrRecord) {
				t.Errorf("%x cut at %d: %v", whole, n, err)
			}
		}
		if _, rest, err := ReadRecord(whole); err != nil || len(rest) != 0 {
			t.Errorf("%x: %v", whole, err)
		}
	}
}

func TestReadRecordAllocatesNothing(t *testing.T) {
	body := AppendGroup(AppendMessage(nil, []byte("message")), "$share/g/a", 7, []byte("message"))
	if n := testing.AllocsPerRun(100, func() {
		for rest := body; len(rest) > 0; {
			_, rest, _ = ReadRecord(rest)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzReadRecord(f *testing.F) {
	f.Add(AppendMessage(nil, []byte("message")))
	f.Add(AppendForget(AppendReturned(AppendGroup(nil, "$share/g/a", 7, nil), 9), 11))
	f.Fuzz(func(t *testing.T, b []byte) {
		var again []byte
		for rest := b; len(rest) > 0; {
			r, next, err := ReadRecord(rest)
			if err != nil {
				return
			}
			switch r.Kind {
			case RecordMessage:
				again = AppendMessage(again, r.Message)
			case RecordGroup:
				again = AppendGroup(again, string(r.Filter), r.Handle, r.Message)
			case RecordSettled:
				again = AppendSettled(again, r.Handle)
			case RecordFull:
				again = AppendFull(again, r.Handle)
			case RecordReturned:
				again = AppendReturned(again, r.Handle)
			case RecordForget:
				again = AppendForget(again, r.Handle)
			}
			rest = next
		}
		if !bytes.Equal(again, b) {
			t.Fatalf("%x became %x", b, again)
		}
	})
}
