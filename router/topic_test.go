package router

import (
	"errors"
	"strings"
	"testing"
)

func TestParseTopic(t *testing.T) {
	for _, c := range []struct {
		in  string
		err error
	}{
		{in: "a"},
		{in: "/"},
		{in: "a b/ü/$x"},
		{in: "$share/g/t"},
		{in: strings.Repeat("/", MaxLevels-1)},
		{in: "", err: ErrTopicInvalid},
		{in: "a/+", err: ErrTopicInvalid},
		{in: "a#", err: ErrTopicInvalid},
		{in: strings.Repeat("/", MaxLevels), err: ErrTopicTooDeep},
		{in: strings.Repeat("/", 65535), err: ErrTopicTooDeep},
	} {
		tp, err := ParseTopic([]byte(c.in))
		if !errors.Is(err, c.err) || err != nil && !errors.Is(err, ErrTopicInvalid) {
			t.Errorf("ParseTopic(%.20q): error %v, want %v", c.in, err, c.err)
		}
		if err == nil && tp.String() != c.in {
			t.Errorf("ParseTopic(%.20q) = %q", c.in, tp)
		}
	}
}

func TestTopicBorrowsUntilCloned(t *testing.T) {
	b := []byte("a/b")
	tp, err := ParseTopic(b)
	if err != nil {
		t.Fatal(err)
	}
	own := tp.Clone()
	copy(b, "xxx")
	if tp.String() != "xxx" || own.String() != "a/b" {
		t.Errorf("topic %q, clone %q", tp, own)
	}
	if n := testing.AllocsPerRun(100, func() { tp, _ = ParseTopic(b) }); n != 0 {
		t.Errorf("ParseTopic allocates %v times", n)
	}
}

// The hash names routes between nodes of different releases: it must never
// change.
func TestTopicHashIsStable(t *testing.T) {
	for in, want := range map[string]uint64{
		"a":    0xd24ec4f1a98c6e5b,
		"as":   0x1c330fb2d66be179,
		"asd":  0x631c37ce72a97393,
		"asdf": 0x415872f599cea71e,
	} {
		if got := mustTopic(t, in).Hash(); got != want {
			t.Errorf("hash of %q is %#x, want %#x", in, got, want)
		}
	}
}
