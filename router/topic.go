package router

// Topic is a valid topic name. It borrows the bytes it was parsed from; Clone
// owns them. Only ParseTopic makes one.
type Topic struct{ s string }

// ParseTopic checks b as the topic of a PUBLISH: not empty, no wildcard, at
// most MaxLevels levels. (UTF-8 and U+0000 are the codec's to check.)
func ParseTopic(b []byte) (Topic, error) { panic("seam") }

func (t Topic) String() string { return t.s }

// Clone returns a topic that shares no memory with the buffer it came from.
func (t Topic) Clone() Topic { panic("seam") }

// Hash is a 64-bit hash of the topic, the same on every node and release.
func (t Topic) Hash() uint64 { panic("seam") }
