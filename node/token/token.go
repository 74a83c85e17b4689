package token

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Scope is what a token may be used for. Each has what the one before has.
type Scope uint8

const (
	Read    Scope = iota + 1 // look at the node and the cluster
	Operate                  // and do what can be undone, or what clients get over
	Admin                    // and everything else
)

// Scopes are their names.
var Scopes = []string{"read", "operate", "admin"}

func (s Scope) String() string {
	if s < Read || s > Admin {
		return fmt.Sprintf("scope %d", uint8(s))
	}
	return Scopes[s-1]
}

// Includes says whether s is enough where need is asked for.
func (s Scope) Includes(need Scope) bool { return s >= need && s <= Admin }

// ParseScope is the reverse of String.
func ParseScope(name string) (Scope, error) {
	for i, n := range Scopes {
		if n == name {
			return Scope(i + 1), nil
		}
	}
	return 0, fmt.Errorf("scope %.40q: want %s", name, strings.Join(Scopes, ", "))
}

// MarshalText implements encoding.TextMarshaler.
func (s Scope) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Scope) UnmarshalText(b []byte) (err error) {
	*s, err = ParseScope(string(b))
	return err
}

// Hash is that of a token.
type Hash [sha256.Size]byte

// HashOf hashes a token as it is borne.
func HashOf(secret string) Hash { return sha256.Sum256([]byte(secret)) }

// MarshalText implements encoding.TextMarshaler, in hexadecimal digits.
func (h Hash) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h[:]), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *Hash) UnmarshalText(b []byte) error {
	if hex.DecodedLen(len(b)) != len(h) {
		return errors.New("want 64 hexadecimal digits")
	}
	_, err := hex.Decode(h[:], b)
	return err
}

// Token is what is kept of one. Times are in seconds of Unix.
type Token struct {
	Name    string `json:"name"`
	Scope   Scope  `json:"scope"`
	Hash    Hash   `json:"hash"`
	Created int64  `json:"created,omitempty"`
	Expires int64  `json:"expires,omitempty"` // 0: never
}

// prefix tells what found its way into a file or a log for what it is.
const prefix = "dunlin_"

// New makes a token that expires at some time, never if that is zero. The secret is to be
// shown once.
func New(name string, scope Scope, now, expires time.Time) (secret string, t Token, err error) {
	if !ValidName(name) {
		return "", Token{}, fmt.Errorf("name %.40q of a token: %s", name, WantName)
	}
	if !scope.Includes(Read) {
		return "", Token{}, fmt.Errorf("%v: want %s", scope, strings.Join(Scopes, ", "))
	}
	b := make([]byte, 32)
	rand.Read(b)
	secret = prefix + base64.RawURLEncoding.EncodeToString(b)
	t = Token{Name: name, Scope: scope, Hash: HashOf(secret), Created: now.Unix()}
	if !expires.IsZero() {
		if !expires.After(now) {
			return "", Token{}, errors.New("the token would have expired already")
		}
		t.Expires = expires.Unix()
	}
	return secret, t, nil
}

// Decode reads a token that the store holds, as Encode wrote it.
func Decode(name, value string) (t Token, err error) {
	if err := json.Unmarshal([]byte(value), &t); err != nil {
		return Token{}, err
	}
	if t.Name != name || !ValidName(name) || !t.Scope.Includes(Read) || t.Hash == (Hash{}) {
		return Token{}, errors.New("not a token, or another one's")
	}
	return t, nil
}

// Encode is the token for the store.
func (t Token) Encode() string {
	b, err := json.Marshal(t)
	if err != nil {
		panic("token: " + err.Error()) // there is nothing in it that could fail
	}
	return string(b)
}

// Expired says whether it may be used no more.
func (t Token) Expired(now time.Time) bool { return t.Expires != 0 && now.Unix() >= t.Expires }

// Find says which of the tokens the secret is, if it may be used. How long that takes says
// nothing of any hash, nor of which it is.
func Find(all []Token, secret string, now time.Time) (found Token, ok bool) {
	h, at := HashOf(secret), -1
	for i := range all {
		at = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(all[i].Hash[:], h[:]), i, at)
	}
	if at < 0 || all[at].Expired(now) {
		return Token{}, false
	}
	return all[at], true
}

// WantName says what a name may be.
const WantName = "want 1 to 64 of a-z, A-Z, 0-9, '.', '-', '_', not beginning with '.' or '-'"

// ValidName holds for what may stand in a path and a log line as it is.
func ValidName(s string) bool {
	if s == "" || len(s) > 64 || s[0] == '.' || s[0] == '-' {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' || r == '_')
	}) < 0
}
