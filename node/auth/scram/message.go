package scram

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// What a client may send, in bytes. A user's name has at most 1 KiB, each of which may be
// written as three.
const (
	maxMessage = 4 << 10
	maxNonce   = 256
)

// What is wrong with a message. None of it depends on who the user is.
var (
	errMessage   = errors.New("not a message of SCRAM")
	errSize      = errors.New("a message or nonce of SCRAM that is too long")
	errBinding   = errors.New("channel binding is demanded")
	errExtension = errors.New("an extension of SCRAM is demanded")
	errActAs     = errors.New("it would act as another user")
	errAnother   = errors.New("a message of SCRAM for another login")
)

// clientFirst is a client's first message.
type clientFirst struct {
	header string // the GS2 header, which its final message repeats
	bare   string // the rest
	user   string
	nonce  string
}

// parseFirst reads a client's first message. It keeps s.
func parseFirst(s string) (f clientFirst, err error) {
	if err := check(s); err != nil {
		return f, err
	}
	binding, rest, ok1 := strings.Cut(s, ",")
	authzid, bare, ok2 := strings.Cut(rest, ",")
	f.header, f.bare = s[:len(s)-len(bare)], bare
	switch {
	case !ok1 || !ok2:
		return f, errMessage
	case binding == "n", binding == "y": // "y": it would have it, but believes that we cannot, and is right
	case strings.HasPrefix(binding, "p="):
		return f, errBinding
	default:
		return f, errMessage
	}
	if strings.HasPrefix(bare, "m=") {
		return f, errExtension
	}
	name, rest, _ := strings.Cut(bare, ",")
	nonce, extensions, more := strings.Cut(rest, ",")
	user, ok1 := value(name, 'n')
	f.nonce, ok2 = value(nonce, 'r')
	if !ok1 || !ok2 || more && !areExtensions(extensions) {
		return f, errMessage
	}
	if f.user, ok1 = unescape(user); !ok1 {
		return f, errMessage
	}
	if authzid != "" {
		escaped, ok := value(authzid, 'a')
		actAs, ok2 := unescape(escaped)
		if !ok || !ok2 {
			return f, errMessage
		}
		if actAs != f.user {
			return f, errActAs
		}
	}
	return f, checkNonce(f.nonce)
}

// clientFinal is a client's final message.
type clientFinal struct {
	unproved string // without the proof
	header   string // in base64
	nonce    string
	proof    []byte
}

// parseFinal reads a client's final message. It keeps s.
func parseFinal(s string) (f clientFinal, err error) {
	if err := check(s); err != nil {
		return f, err
	}
	end := strings.LastIndexByte(s, ',') // the proof is the last of the attributes
	if end < 0 {
		return f, errMessage
	}
	f.unproved = s[:end]
	binding, rest, _ := strings.Cut(f.unproved, ",")
	nonce, extensions, more := strings.Cut(rest, ",")
	proof, ok1 := value(s[end+1:], 'p')
	var ok2, ok3 bool
	f.header, ok2 = value(binding, 'c')
	f.nonce, ok3 = value(nonce, 'r')
	if !ok1 || !ok2 || !ok3 || more && !areExtensions(extensions) {
		return f, errMessage
	}
	if f.proof = decode(proof); f.proof == nil {
		return f, errMessage
	}
	return f, nil
}

// check holds for what all messages have in common.
func check(s string) error {
	switch {
	case len(s) > maxMessage:
		return errSize
	case !utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0:
		return errMessage
	}
	return nil
}

// checkNonce holds for a client's nonce: printable, and no comma.
func checkNonce(s string) error {
	if len(s) > maxNonce {
		return errSize
	}
	for i := range len(s) {
		if s[i] < '!' || s[i] > '~' || s[i] == ',' {
			return errMessage
		}
	}
	return nil
}

// value returns what an attribute with that name has, which must be something.
func value(attribute string, name byte) (string, bool) {
	if len(attribute) < 3 || attribute[0] != name || attribute[1] != '=' {
		return "", false
	}
	return attribute[2:], true
}

// areExtensions says whether what follows the last attribute that we know is well formed:
// attributes that may be passed over. One with the letter m may not be.
func areExtensions(s string) bool {
	for a := range strings.SplitSeq(s, ",") {
		if a == "" {
			return false
		}
		letter := a[0] | 0x20
		if _, ok := value(a, a[0]); !ok || letter < 'a' || letter > 'z' || a[0] == 'm' {
			return false
		}
	}
	return true
}

// unescape reads a user's name, in which =2C is a comma and =3D an equals sign.
func unescape(s string) (string, bool) {
	if strings.IndexByte(s, '=') < 0 {
		return s, true
	}
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, "=")
		b.WriteString(before)
		switch {
		case !found:
			return b.String(), true
		case strings.HasPrefix(after, "2C"):
			b.WriteByte(',')
		case strings.HasPrefix(after, "3D"):
			b.WriteByte('=')
		default:
			return "", false
		}
		s = after[2:]
	}
}
