package router

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unsafe"

	"github.com/cespare/xxhash/v2"
)

const (
	// MaxLevels bounds the levels of a topic and of a filter's pattern (case 15).
	MaxLevels = 128
	// MaxBytes bounds a topic and a filter, as every string of MQTT [MQTT-4.7.3-3].
	MaxBytes = 65535
)

// ErrTopicInvalid says that bytes are no topic name; ErrTopicTooDeep, which is
// one too, that they have more than MaxLevels levels.
var (
	ErrTopicInvalid = errors.New("router: invalid topic name")
	ErrTopicTooDeep = fmt.Errorf("%w: more than %d levels", ErrTopicInvalid, MaxLevels)
)

// Topic is a valid topic name. It borrows the bytes it was parsed from: it is
// good for as long as they are left alone, and Clone owns a copy. Only
// ParseTopic makes one; the zero Topic is no topic.
type Topic struct{ s string }

// ParseTopic checks b as the topic of a PUBLISH: not empty [MQTT-4.7.3-1], no
// wildcard [MQTT-3.3.2-2], at most MaxLevels levels and MaxBytes. (UTF-8 and
// U+0000 are the codec's to check.) The topic borrows b; nothing is allocated.
func ParseTopic(b []byte) (Topic, error) {
	if len(b) == 0 || len(b) > MaxBytes || bytes.IndexByte(b, '+') >= 0 || bytes.IndexByte(b, '#') >= 0 {
		return Topic{}, ErrTopicInvalid
	}
	if bytes.Count(b, slash) >= MaxLevels {
		return Topic{}, ErrTopicTooDeep
	}
	return Topic{unsafe.String(unsafe.SliceData(b), len(b))}, nil
}

var slash = []byte{'/'}

// String is the topic's text, borrowed like the topic.
func (t Topic) String() string { return t.s }

// Clone returns a topic that shares no memory with the buffer it came from.
func (t Topic) Clone() Topic { return Topic{strings.Clone(t.s)} }

// Hash is a 64-bit hash of the topic, the same on every node and release
// (xxHash64, seed 0). It is public: who wants collisions can make them, so that
// it names routes between nodes but never places anything in a table by itself.
func (t Topic) Hash() uint64 { return fingerprint(t.s) }

// fingerprint is what stands for an exact filter between nodes.
func fingerprint(s string) uint64 { return xxhash.Sum64String(s) }
