package mqtt

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"
)

// Eight bytes are judged at once. A byte outside 0x01..0x7F sets its high bit in
// w or, being 0, in w-ones.
const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// validText says whether s is UTF-8 [MQTT-1.5.4-1] without U+0000
// [MQTT-1.5.4-2]. Overlong forms and surrogates are not UTF-8. Control
// characters and non-characters, which the standard advises against, pass.
func validText(s []byte) bool {
	for b := s; ; b = b[8:] {
		w := word(b)
		if (w|(w-ones))&highs != 0 {
			return utf8.Valid(s) && bytes.IndexByte(s, 0) < 0
		}
		if len(b) <= 8 {
			return true
		}
	}
}

// checkTopic judges a topic name: text without wildcards [MQTT-3.3.2-2]. That
// it may be empty is for the caller to know.
func checkTopic(s []byte) error {
	for b := s; ; b = b[8:] {
		w := word(b)
		// '+' and '#' differ in bit 3 alone: without it both are '#', and
		// wild has a zero byte for either.
		wild := w&^(ones<<3) ^ ones*'#'
		if (w|(w-ones)|(wild-ones))&highs != 0 {
			return checkTopicSlow(s)
		}
		if len(b) <= 8 {
			return nil
		}
	}
}

func checkTopicSlow(s []byte) error {
	switch {
	case !validText(s):
		return errText
	case bytes.ContainsAny(s, "+#"):
		return errTopic
	}
	return nil
}

// checkResponseTopic judges a response topic [MQTT-3.3.2-14], of which the
// standard thinks as of any bad value.
func checkResponseTopic(s []byte) error {
	switch {
	case !validText(s):
		return errText
	case len(s) == 0 || bytes.ContainsAny(s, "+#"):
		return errPropertyResponse
	}
	return nil
}

// word is the first eight bytes of b; fewer are filled up with harmless ones.
func word(b []byte) uint64 {
	const filler uint64 = ones * 'a'
	switch n := len(b); {
	case n >= 8:
		return binary.LittleEndian.Uint64(b)
	case n >= 4:
		return uint64(binary.LittleEndian.Uint32(b)) | uint64(binary.LittleEndian.Uint32(b[n-4:]))<<32
	case n > 0:
		return uint64(b[0]) | uint64(b[n/2])<<8 | uint64(b[n-1])<<16 | filler&^(1<<24-1)
	}
	return filler
}
