package scram

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"hash"
)

// Mechanism is SCRAM with one hash function.
type Mechanism uint8

// The mechanisms.
const (
	SHA256 Mechanism = iota
	SHA512

	mechanisms = 2
)

var properties = [mechanisms]struct {
	name string
	hash func() hash.Hash
	size int // of the hash, in bytes
}{
	SHA256: {"SCRAM-SHA-256", sha256.New, sha256.Size},
	SHA512: {"SCRAM-SHA-512", sha512.New, sha512.Size},
}

// Mechanisms lists them all.
func Mechanisms() []Mechanism { return []Mechanism{SHA256, SHA512} }

// ParseMechanism finds a mechanism by its name.
func ParseMechanism(name string) (Mechanism, bool) {
	for m := range Mechanism(mechanisms) {
		if m.String() == name {
			return m, true
		}
	}
	return 0, false
}

// String is the name by which clients ask for it: "SCRAM-SHA-256".
func (m Mechanism) String() string { return properties[m].name }

func (m Mechanism) size() int { return properties[m].size }

// mac is the HMAC of the parts, one after the other.
func (m Mechanism) mac(key []byte, parts ...string) []byte {
	h := hmac.New(properties[m].hash, key)
	for _, p := range parts {
		h.Write([]byte(p))
	}
	return h.Sum(nil)
}

func (m Mechanism) digest(b []byte) []byte {
	h := properties[m].hash()
	h.Write(b)
	return h.Sum(nil)
}
