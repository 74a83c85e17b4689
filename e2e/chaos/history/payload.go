package history

import (
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
)

// Payload makes a payload that no other message has: publisher, topic and
// sequence number, and a sum that tells whether it came intact. A sequence
// counts the messages of one publisher on one topic, whatever their QoS.
func Payload(publisher, topic string, seq int) string {
	s := fmt.Sprintf("%s %s %d", publisher, topic, seq)
	return fmt.Sprintf("%s %08x", s, crc32.ChecksumIEEE([]byte(s)))
}

// ParsePayload takes a payload apart; ok is false if it is not one of Payload's,
// whole and unaltered.
func ParsePayload(p string) (publisher, topic string, seq int, ok bool) {
	f := strings.Split(p, " ")
	if len(f) != 4 {
		return "", "", 0, false
	}
	seq, err := strconv.Atoi(f[2])
	if err != nil || Payload(f[0], f[1], seq) != p {
		return "", "", 0, false
	}
	return f[0], f[1], seq, true
}
