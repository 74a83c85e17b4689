package password

import (
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
)

// What new hashes are made with: OWASP's recommendation for argon2id.
const (
	memory   = 19 << 10 // KiB
	passes   = 2
	lanes    = 1
	saltSize = 16
	keySize  = 32
)

// What a Hash may ask of a check, whoever wrote it.
const (
	maxMemory     = 256 << 10 // KiB
	maxPasses     = 16
	maxLanes      = 16
	maxIterations = 10_000_000
	maxPart       = 256 // bytes of salt, or of hash
	minKey        = 16
)

// MaxBytes bounds a password.
const MaxBytes = 1024

// ErrHash says that a string is not a password hash.
var ErrHash = errors.New("not a password hash, want $argon2id$v=19$m=..,t=..,p=..$salt$hash, or $7$ as mosquitto_passwd writes it")

// Hash is what is kept of a password. Only Make and Parse make one.
type Hash struct {
	text      string
	salt, key []byte

	memory, passes uint32
	lanes          uint8
	iterations     int // of PBKDF2; 0: argon2id
}

// String is the Hash in the form that Parse reads.
func (h Hash) String() string { return h.text }

// IsZero says that there is none.
func (h Hash) IsZero() bool { return h.text == "" }

// Make hashes a new password with a random salt.
func Make(password []byte) (Hash, error) {
	if len(password) == 0 || len(password) > MaxBytes {
		return Hash{}, fmt.Errorf("password of %d bytes, want 1 to %d", len(password), MaxBytes)
	}
	h := Hash{salt: make([]byte, saltSize), memory: memory, passes: passes, lanes: lanes}
	rand.Read(h.salt)
	h.key = argon2.IDKey(password, h.salt, h.passes, h.memory, h.lanes, keySize)
	h.text = fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, h.memory, h.passes, h.lanes,
		base64.RawStdEncoding.EncodeToString(h.salt), base64.RawStdEncoding.EncodeToString(h.key))
	return h, nil
}

// Parse reads a Hash. What it costs to check it is bounded.
func Parse(s string) (Hash, error) {
	parts := strings.Split(s, "$")
	switch {
	case len(parts) == 6 && parts[0] == "" && parts[1] == "argon2id":
		return parseArgon(s, parts[2:])
	case len(parts) == 5 && parts[0] == "" && parts[1] == "7":
		return parseMosquitto(s, parts[2:])
	}
	return Hash{}, ErrHash
}

func parseArgon(s string, parts []string) (Hash, error) {
	h := Hash{text: s}
	if parts[0] != "v=19" {
		return Hash{}, ErrHash
	}
	costs := strings.Split(parts[1], ",")
	if len(costs) != 3 {
		return Hash{}, ErrHash
	}
	var values [3]uint32
	for i, c := range []struct {
		name string
		most uint64
	}{{"m=", maxMemory}, {"t=", maxPasses}, {"p=", maxLanes}} {
		digits, ok := strings.CutPrefix(costs[i], c.name)
		v, err := strconv.ParseUint(digits, 10, 32)
		if !ok || err != nil || v == 0 {
			return Hash{}, ErrHash
		}
		if v > c.most {
			return Hash{}, fmt.Errorf("password hash asks for %s%d, want at most %d", c.name, v, c.most)
		}
		values[i] = uint32(v)
	}
	h.memory, h.passes, h.lanes = values[0], values[1], uint8(values[2])
	return h.withParts(base64.RawStdEncoding, parts[2], parts[3])
}

func parseMosquitto(s string, parts []string) (Hash, error) {
	n, err := strconv.Atoi(parts[0])
	if err != nil || n <= 0 {
		return Hash{}, ErrHash
	}
	if n > maxIterations {
		return Hash{}, fmt.Errorf("password hash asks for %d iterations, want at most %d", n, maxIterations)
	}
	return Hash{text: s, iterations: n}.withParts(base64.StdEncoding, parts[1], parts[2])
}

func (h Hash) withParts(e *base64.Encoding, salt, key string) (Hash, error) {
	var err, err2 error
	h.salt, err = e.Strict().DecodeString(salt)
	h.key, err2 = e.Strict().DecodeString(key)
	if err != nil || err2 != nil || len(h.salt) < 8 || len(h.salt) > maxPart || len(h.key) < minKey || len(h.key) > maxPart {
		return Hash{}, ErrHash
	}
	return h, nil
}

// matches says whether the password is the one of h. It takes its time.
func (h Hash) matches(password []byte) bool {
	var key []byte
	if h.iterations > 0 {
		var err error
		if key, err = pbkdf2.Key(sha512.New, string(password), h.salt, h.iterations, len(h.key)); err != nil {
			return false
		}
	} else {
		key = argon2.IDKey(password, h.salt, h.passes, h.memory, h.lanes, uint32(len(h.key)))
	}
	return subtle.ConstantTimeCompare(key, h.key) == 1
}
