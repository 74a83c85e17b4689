package scram

import (
	"crypto/pbkdf2"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/xdg-go/stringprep"
)

// DefaultIterations is what guessing a password costs, and a client's login: some 30 ms on
// a computer, seconds on a microcontroller.
const DefaultIterations = 100_000

// The bounds of a Verifier, whoever wrote it. Clients refuse fewer iterations, and with
// more a server could keep them busy.
const (
	MinIterations = 4096
	MaxIterations = 10_000_000

	saltSize = 16
	minSalt  = 8
	maxSalt  = 48
)

// ErrVerifier says that a string is not a verifier.
var ErrVerifier = errors.New("not a SCRAM verifier, want SCRAM-SHA-256$iterations:salt$stored key:server key, or SCRAM-SHA-512")

// ErrPassword says that a password cannot be used with SCRAM (RFC 4013).
var ErrPassword = errors.New("SCRAM does not take the password: want text without control characters")

// Verifier is what is kept of a password. Only Derive and Parse make one; the zero value is
// none. It is small, for a million may be held.
type Verifier struct {
	secrets    string // salt, stored key and server key
	iterations uint32
	salt       uint8 // bytes of it
	mechanism  Mechanism
}

// Derive makes a Verifier of a new password, which is UTF-8, with a random salt. It takes
// the time of the iterations.
func Derive(m Mechanism, password []byte, iterations int) (Verifier, error) {
	if iterations < MinIterations || iterations > MaxIterations {
		return Verifier{}, fmt.Errorf("%d iterations, want %d to %d", iterations, MinIterations, MaxIterations)
	}
	prepared, err := stringprep.SASLprep.Prepare(string(password))
	if err != nil || prepared == "" {
		return Verifier{}, ErrPassword
	}
	salt := make([]byte, saltSize)
	rand.Read(salt)
	return derive(m, prepared, salt, iterations)
}

func derive(m Mechanism, prepared string, salt []byte, iterations int) (Verifier, error) {
	salted, err := pbkdf2.Key(properties[m].hash, prepared, salt, iterations, m.size())
	if err != nil {
		return Verifier{}, err
	}
	stored := m.digest(m.mac(salted, "Client Key"))
	return newVerifier(m, iterations, salt, stored, m.mac(salted, "Server Key")), nil
}

func newVerifier(m Mechanism, iterations int, salt, stored, server []byte) Verifier {
	return Verifier{
		secrets: string(salt) + string(stored) + string(server), salt: uint8(len(salt)),
		iterations: uint32(iterations), mechanism: m,
	}
}

// Parse reads a Verifier as String writes it, and PostgreSQL keeps it.
func Parse(s string) (Verifier, error) {
	parts := strings.Split(s, "$")
	if len(parts) != 3 {
		return Verifier{}, ErrVerifier
	}
	m, known := ParseMechanism(parts[0])
	count, salt64, ok1 := strings.Cut(parts[1], ":")
	stored64, server64, ok2 := strings.Cut(parts[2], ":")
	if !known || !ok1 || !ok2 {
		return Verifier{}, ErrVerifier
	}
	iterations, err := strconv.ParseUint(count, 10, 32)
	if err != nil || strconv.FormatUint(iterations, 10) != count {
		return Verifier{}, ErrVerifier
	}
	if iterations < MinIterations || iterations > MaxIterations {
		return Verifier{}, fmt.Errorf("SCRAM verifier with %d iterations, want %d to %d", iterations, MinIterations, MaxIterations)
	}
	salt, stored, server := decode(salt64), decode(stored64), decode(server64)
	if len(salt) < minSalt || len(salt) > maxSalt || len(stored) != m.size() || len(server) != m.size() {
		return Verifier{}, ErrVerifier
	}
	return newVerifier(m, int(iterations), salt, stored, server), nil
}

// decode returns nil for what is not base64.
func decode(s string) []byte {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || strings.ContainsAny(s, "\r\n") { // which the decoder passes over
		return nil
	}
	return b
}

func encode[T string | []byte](b T) string { return base64.StdEncoding.EncodeToString([]byte(b)) }

// String is the Verifier in the form that Parse reads.
func (v Verifier) String() string {
	if v.IsZero() {
		return ""
	}
	return fmt.Sprintf("%s$%d:%s$%s:%s", v.mechanism, v.iterations, encode(v.saltText()), encode(v.storedKey()), encode(v.serverKey()))
}

// IsZero says that there is none.
func (v Verifier) IsZero() bool { return v.secrets == "" }

// Mechanism is the one that the Verifier is for.
func (v Verifier) Mechanism() Mechanism { return v.mechanism }

func (v Verifier) saltText() string { return v.secrets[:v.salt] }

func (v Verifier) storedKey() string { return v.secrets[v.salt:][:v.mechanism.size()] }

func (v Verifier) serverKey() string { return v.secrets[int(v.salt)+v.mechanism.size():] }

// shape is what a client is told of the Verifier.
func (v Verifier) shape() Shape { return Shape{int(v.iterations), int(v.salt)} }
