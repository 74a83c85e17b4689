package jwt

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"
)

const (
	maxKeys     = 1000    // of a set
	maxSetBytes = 2 << 20 // of a file, or of a server's answer
	maxKeyID    = 1 << 10 // bytes

	minRSA, maxRSA = 2048, 4096 // bits: the larger, the dearer a check
	minSecret      = 32         // bytes, for HS256; the longer hashes want as many as they have [RFC 7518, 3.2]
)

// Keys are what signatures are checked with. They are immutable once made.
type Keys struct {
	named map[string][]key // by identifier, which need not be unique
	bare  []key
}

// key is one, and the algorithms that a signature may have which it checks.
type key struct {
	material any // *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey, or a secret: []byte
	allows   []jose.SignatureAlgorithm
}

// algorithms are all that there may be. Which of them a token may have is for its key
// to say.
var algorithms = slices.Concat(rsaAlgorithms, []jose.SignatureAlgorithm{
	jose.ES256, jose.ES384, jose.ES512, jose.EdDSA, jose.HS256, jose.HS384, jose.HS512,
})

var rsaAlgorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512,
}

// Len is the number of keys.
func (k *Keys) Len() int {
	n := len(k.bare)
	for _, same := range k.named {
		n += len(same)
	}
	return n
}

// ReadKeys reads a file of public keys: PEM ("PUBLIC KEY", "RSA PUBLIC KEY" and
// "CERTIFICATE", of which nothing but the key counts), or a JSON Web Key Set, which may
// have secrets too.
func ReadKeys(r io.Reader) (*Keys, error) {
	b, err := readAll(r)
	if err != nil {
		return nil, err
	}
	if b = bytes.TrimSpace(b); len(b) > 0 && b[0] == '{' {
		return parseSet(b, true)
	}
	return parsePEM(b)
}

// ReadSecret reads a file with a secret that HS256, HS384 or HS512 is made with: all that
// is in it, but for a line's end behind.
func ReadSecret(r io.Reader) (*Keys, error) {
	b, err := readAll(r)
	if err != nil {
		return nil, err
	}
	k := new(Keys)
	return k, k.add("", bytes.TrimRight(b, "\r\n"), "")
}

func readAll(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxSetBytes+1))
	if err == nil && len(b) > maxSetBytes {
		err = fmt.Errorf("more than %d bytes", maxSetBytes)
	}
	return b, err
}

func parsePEM(b []byte) (*Keys, error) {
	k := new(Keys)
	for len(bytes.TrimSpace(b)) > 0 {
		block, rest := pem.Decode(b)
		if block == nil {
			return nil, errors.New("neither PEM nor a JSON Web Key Set")
		}
		if k.Len() == maxKeys {
			return nil, fmt.Errorf("more than %d keys", maxKeys)
		}
		material, err := parseBlock(block)
		if err == nil {
			err = k.add("", material, "")
		}
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", k.Len()+1, err)
		}
		b = rest
	}
	return k, k.check()
}

func parseBlock(block *pem.Block) (any, error) {
	switch block.Type {
	case "PUBLIC KEY":
		return x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		return c.PublicKey, nil
	}
	if strings.HasSuffix(block.Type, "PRIVATE KEY") {
		return nil, errPrivate
	}
	return nil, fmt.Errorf("%.40q is not allowed: want PUBLIC KEY, RSA PUBLIC KEY or CERTIFICATE", block.Type)
}

// errPrivate tells an operator that a secret lies about which nobody needs.
var errPrivate = errors.New("it is a private key, want the public one alone")

// webKey is what of a JSON Web Key is looked at before it is taken apart.
type webKey struct {
	Use        string          `json:"use"`
	Operations []string        `json:"key_ops"`
	ID         string          `json:"kid"`
	K          json.RawMessage `json:"k"` // a secret's
	D          json.RawMessage `json:"d"` // a private key's
}

// signs says whether the key is meant for signatures.
func (w *webKey) signs() bool {
	return (w.Use == "" || w.Use == "sig") && (w.Operations == nil || slices.Contains(w.Operations, "verify"))
}

// parseSet reads a JSON Web Key Set. Keys that are for something else, or of a kind that
// is not known, are passed over [RFC 7517, 5]. Others that cannot be used are an error in a
// local set, which somebody has written for this; in another's they are passed over too,
// and secrets, which are none where everybody may read them.
func parseSet(b []byte, local bool) (*Keys, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(b, &set); err != nil {
		return nil, errors.New("not a JSON Web Key Set")
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("%d keys, want at most %d", len(set.Keys), maxKeys)
	}
	k := new(Keys)
	for i, raw := range set.Keys {
		if err := k.addWebKey(raw, local); err != nil && local {
			return nil, fmt.Errorf("key %d: %w", i+1, err)
		}
	}
	return k, k.check()
}

func (k *Keys) addWebKey(raw json.RawMessage, local bool) error {
	var w webKey
	if err := json.Unmarshal(raw, &w); err != nil {
		return errors.New("not a JSON Web Key")
	}
	switch {
	case !w.signs():
		return nil
	case w.D != nil:
		return errPrivate
	case w.K != nil && !local:
		return errors.New("a secret that everybody may read")
	case len(w.ID) > maxKeyID:
		return fmt.Errorf("kid of %d bytes, want at most %d", len(w.ID), maxKeyID)
	}
	var j jose.JSONWebKey
	switch err := j.UnmarshalJSON(raw); {
	case errors.Is(err, jose.ErrUnsupportedKeyType):
		return nil
	case err != nil:
		return errors.New("not a JSON Web Key that is understood") // its text may have parts of a secret
	}
	return k.add(w.ID, j.Key, j.Algorithm)
}

// add takes a key over, that allows what its kind does, or one algorithm of that.
func (k *Keys) add(id string, material any, algorithm string) error {
	allows, err := allowedBy(material)
	if err != nil {
		return err
	}
	if algorithm != "" {
		if !slices.Contains(allows, jose.SignatureAlgorithm(algorithm)) {
			return errors.New("its alg is none that a key of its kind can have")
		}
		allows = []jose.SignatureAlgorithm{jose.SignatureAlgorithm(algorithm)}
	}
	one := key{material, allows}
	if id == "" {
		k.bare = append(k.bare, one)
		return nil
	}
	if k.named == nil {
		k.named = make(map[string][]key)
	}
	k.named[id] = append(k.named[id], one)
	return nil
}

// allowedBy is the algorithms of a kind of key.
func allowedBy(material any) ([]jose.SignatureAlgorithm, error) {
	switch m := material.(type) {
	case *rsa.PublicKey:
		if bits := m.N.BitLen(); bits < minRSA || bits > maxRSA {
			return nil, fmt.Errorf("RSA with %d bits, want %d to %d", bits, minRSA, maxRSA)
		}
		return rsaAlgorithms, nil
	case *ecdsa.PublicKey:
		switch m.Curve {
		case elliptic.P256():
			return []jose.SignatureAlgorithm{jose.ES256}, nil
		case elliptic.P384():
			return []jose.SignatureAlgorithm{jose.ES384}, nil
		case elliptic.P521():
			return []jose.SignatureAlgorithm{jose.ES512}, nil
		}
		return nil, errors.New("an elliptic curve that is not P-256, P-384 or P-521")
	case ed25519.PublicKey:
		return []jose.SignatureAlgorithm{jose.EdDSA}, nil
	case []byte:
		allows := []jose.SignatureAlgorithm{jose.HS256, jose.HS384, jose.HS512}
		if len(m) < minSecret {
			return nil, fmt.Errorf("a secret of %d bytes, want at least %d", len(m), minSecret)
		}
		return allows[:min(3, len(m)/16-1)], nil // 32, 48 and 64 bytes
	}
	return nil, errors.New("a key that is not RSA, ECDSA or Ed25519")
}

// check says that Keys without any are of no use.
func (k *Keys) check() error {
	if k.Len() == 0 {
		return errors.New("no keys in it that tokens could be signed with")
	}
	return nil
}

// allowing appends those of keys that allow an algorithm.
func allowing(to []key, a jose.SignatureAlgorithm, keys []key) []key {
	for _, k := range keys {
		if slices.Contains(k.allows, a) {
			to = append(to, k)
		}
	}
	return to
}
