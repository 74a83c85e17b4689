package token

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Bounds of a file.
const (
	maxFile       = 64 << 10
	maxFileTokens = 100
	minSecret     = 32 // of characters, of which a random token has 43
	maxSecret     = 256
)

// FileName is the name of a token that stands in a file alone.
const FileName = "file"

// hashed begins what stands in a file in place of a token.
const hashed = "sha256="

// ReadFile reads tokens that a file brings, for the time before any was made: a token alone, of scope
// admin, or lines of name:scope:token. In place of a token there may be sha256= and its hash. Lines that
// are empty or begin with # say nothing. No error has anything of a token in it.
func ReadFile(from io.Reader) (all []Token, err error) {
	b, err := io.ReadAll(io.LimitReader(from, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxFile {
		return nil, fmt.Errorf("longer than %d bytes", maxFile)
	}
	n := 0
	for line := range strings.Lines(string(b)) {
		n++
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		t, err := readLine(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if slices.ContainsFunc(all, func(x Token) bool { return x.Name == t.Name || x.Hash == t.Hash }) {
			return nil, fmt.Errorf("line %d: name or token stands twice", n)
		}
		if all = append(all, t); len(all) > maxFileTokens {
			return nil, fmt.Errorf("more than %d tokens", maxFileTokens)
		}
	}
	if len(all) == 0 {
		return nil, errors.New("no token in it")
	}
	return all, nil
}

func readLine(line string) (t Token, err error) {
	secret := line
	switch parts := strings.Split(line, ":"); len(parts) {
	case 1:
		t.Name, t.Scope = FileName, Admin
	case 3:
		t.Name, secret = parts[0], parts[2]
		if !ValidName(t.Name) {
			return Token{}, errors.New("name of a token: " + WantName)
		}
		if t.Scope, err = ParseScope(parts[1]); err != nil {
			return Token{}, errors.New("want one of the scopes " + strings.Join(Scopes, ", "))
		}
	default:
		return Token{}, errors.New("want name:scope:token, or a token alone")
	}
	if hash, ok := strings.CutPrefix(secret, hashed); ok {
		if err := t.Hash.UnmarshalText([]byte(hash)); err != nil {
			return Token{}, fmt.Errorf("%s: want 64 hexadecimal digits", hashed)
		}
		return t, nil
	}
	if err := CheckSecret(secret); err != nil {
		return Token{}, err
	}
	t.Hash = HashOf(secret)
	return t, nil
}

// CheckSecret says what is wrong with a token that somebody else made.
func CheckSecret(secret string) error {
	if len(secret) < minSecret || len(secret) > maxSecret {
		return fmt.Errorf("a token of %d characters: want %d to %d, such as of openssl rand -hex 32", len(secret), minSecret, maxSecret)
	}
	if strings.IndexFunc(secret, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == ':' }) >= 0 {
		return errors.New("want a token of printable ASCII without space and colon")
	}
	return nil
}
