package mqtt

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

// naiveText and naiveTopic are validText and checkTopic, a byte at a time.
func naiveText(s []byte) bool { return utf8.Valid(s) && !bytes.Contains(s, []byte{0}) }

func naiveTopic(s []byte) error {
	switch {
	case !naiveText(s):
		return errText
	case strings.ContainsAny(string(s), "+#"):
		return errTopic
	}
	return nil
}

func compareText(t *testing.T, s []byte) {
	t.Helper()
	if got, want := validText(s), naiveText(s); got != want {
		t.Errorf("validText(%q) = %t", s, got)
	}
	if got, want := checkTopic(s), naiveTopic(s); !errors.Is(got, want) {
		t.Errorf("checkTopic(%q) = %v, want %v", s, got, want)
	}
}

// Every byte at every place of every short length, beside neighbours over which
// a borrow could pass.
func TestTextByteByByte(t *testing.T) {
	for length := range 26 {
		for _, filler := range []byte{'a', 0x01, 0x7F, '!', '\'', '$', ','} {
			s := bytes.Repeat([]byte{filler}, length)
			compareText(t, s)
			for at := range s {
				for c := range 256 {
					s[at] = byte(c)
					compareText(t, s)
				}
				s[at] = filler
			}
		}
	}
}

// Every sequence of two bytes, and of three and four those at the edges of what
// is allowed, alone and behind ASCII.
func TestTextSequences(t *testing.T) {
	edges := []byte{0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xFF}
	for a := 0x80; a < 0x100; a++ {
		for b := range 256 {
			compareText(t, []byte{byte(a), byte(b)})
		}
		for _, b := range edges {
			for _, c := range edges {
				compareText(t, []byte{byte(a), b, c})
				for _, d := range edges {
					compareText(t, []byte{'1', '2', '3', '4', '5', '6', byte(a), b, c, d})
				}
			}
		}
	}
}
