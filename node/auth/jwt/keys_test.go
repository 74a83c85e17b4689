package jwt

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

func block(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// Files of each form give keys that check what was signed.
func TestReadKeys(t *testing.T) {
	r, ec, ed, secret := one("RSA"), one("P-256"), one("Ed25519"), one("secret")
	cert, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1)}, &x509.Certificate{SerialNumber: big.NewInt(1)}, ec.public, ec.private)
	must(err)
	all := string(pemOf(r.public)) + "\n" + string(pemOf(ec.public)) + string(pemOf(ed.public))
	jwks := string(set(jose.JSONWebKey{Key: r.public, KeyID: "k", Use: "sig"}, jose.JSONWebKey{Key: ec.public, KeyID: "e"},
		jose.JSONWebKey{Key: ed.public}, jose.JSONWebKey{Key: secret.public, KeyID: "s", Algorithm: "HS384"}))
	for name, c := range map[string]struct {
		file string
		keys int
		good []string
	}{
		"one PEM":        {string(pemOf(r.public)), 1, []string{"RSA"}},
		"several PEM":    {"\n" + all, 3, []string{"RSA", "P-256", "Ed25519"}},
		"PKCS 1":         {block("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(r.public.(*rsa.PublicKey))), 1, []string{"RSA"}},
		"a certificate":  {block("CERTIFICATE", cert), 1, []string{"P-256"}},
		"a key set":      {" " + jwks + "\n", 4, []string{"RSA", "P-256", "Ed25519"}},
		"keys for other": {string(set(jose.JSONWebKey{Key: r.public, Use: "enc"}, jose.JSONWebKey{Key: ec.public})), 1, []string{"P-256"}},
		"unknown kinds":  {`{"keys":[{"kty":"AKP"},{"kty":"OKP","crv":"X448","x":"AA"},` + jwks[len(`{"keys":[`):], 4, []string{"RSA", "P-256", "Ed25519"}},
		"operations":     {strings.ReplaceAll(jwks, `"use":"sig"`, `"key_ops":["sign"]`), 3, []string{"P-256", "Ed25519"}},
		"other members":  {strings.Replace(jwks, `{"keys"`, `{"x":{"y":[1]},"keys"`, 1), 4, []string{"RSA", "P-256", "Ed25519"}},
	} {
		ks, err := ReadKeys(strings.NewReader(c.file))
		if err != nil || ks.Len() != c.keys {
			t.Errorf("%s: %v, %v", name, ks, err)
			continue
		}
		a := from(t, Claims{}, ks)
		for kind := range pairs() {
			token := sign(t, one(kind).allows[0], one(kind).private, "", claims(nil))
			if _, o := a.check(token, ""); (o == Good) != slices.Contains(c.good, kind) {
				t.Errorf("%s: token of %s: %v", name, kind, o)
			}
		}
	}
	ks, err := ReadSecret(bytes.NewReader(append(secret.public.([]byte), '\r', '\n')))
	must(err)
	if _, o := from(t, Claims{}, ks).check(sign(t, jose.HS512, secret.private, "x", claims(nil)), ""); o != Good {
		t.Errorf("secret: %v", o)
	}
}

// A file that is wrong is refused, and the error says what; nothing of a secret is in it
// (case 45).
func TestRefusedKeys(t *testing.T) {
	r, ec, secret := one("RSA"), one("P-256"), one("secret")
	private, err := x509.MarshalPKCS8PrivateKey(ec.private)
	must(err)
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	must(err)
	wide := &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 8191), E: 65537}
	odd, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	must(err)
	many := make([]jose.JSONWebKey, maxKeys+1)
	for i := range many {
		many[i] = jose.JSONWebKey{Key: ec.public, KeyID: fmt.Sprint(i)}
	}
	for name, c := range map[string]struct{ file, want string }{
		"empty":              {"", "no keys in it"},
		"a text":             {"hunter2", "neither PEM nor a JSON Web Key Set"},
		"something behind":   {string(pemOf(r.public)) + "x", "neither PEM"},
		"a private key":      {string(pemOf(r.public)) + block("PRIVATE KEY", private), "key 2: it is a private key"},
		"of the elders":      {block("EC PRIVATE KEY", private), "key 1: it is a private key"},
		"of another kind":    {block("OPENSSH KEY", nil), `"OPENSSH KEY" is not allowed`},
		"PEM of nothing":     {block("PUBLIC KEY", []byte("x")), "key 1: "},
		"weak":               {string(pemOf(&weak.PublicKey)), "RSA with 1024 bits"},
		"dear":               {string(pemOf(wide)), "RSA with 8192 bits"},
		"another curve":      {string(pemOf(&odd.PublicKey)), "an elliptic curve"},
		"no set":             {`{"keys":`, "not a JSON Web Key Set"},
		"two sets":           {`{"keys":[]}{"keys":[]}`, "not a JSON Web Key Set"},
		"keys said twice":    {`{"keys":[],"keys":[]}`, "not a JSON Web Key Set"},
		"no keys":            {`{"keys":[]}`, "no keys in it"},
		"no keys at all":     {`{}`, "no keys in it"},
		"only for other":     {string(set(jose.JSONWebKey{Key: r.public, Use: "enc"})), "no keys in it"},
		"private in a set":   {string(set(jose.JSONWebKey{Key: ec.public}, jose.JSONWebKey{Key: ec.private})), "key 2: it is a private key"},
		"short secret":       {string(set(jose.JSONWebKey{Key: []byte("hunter2")})), "a secret of 7 bytes"},
		"alg of another":     {string(set(jose.JSONWebKey{Key: r.public, Algorithm: "HS256"})), "its alg is none"},
		"alg too long":       {string(set(jose.JSONWebKey{Key: secret.public.([]byte)[:32], Algorithm: "HS512"})), "its alg is none"},
		"not a point":        {`{"keys":[{"kty":"EC","crv":"P-256","x":"AAAA","y":"AAAA"}]}`, "not a JSON Web Key"},
		"too many":           {string(set(many...)), "1001 keys, want at most 1000"},
		"too large":          {`{"keys":[]}` + strings.Repeat(" ", maxSetBytes), "more than"},
		"secret with a hint": {`{"keys":[{"kty":"oct","k":"hunter2!"}]}`, "not a JSON Web Key"},
	} {
		ks, err := ReadKeys(strings.NewReader(c.file))
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, %v; want %q", name, ks, err, c.want)
		}
	}
	for name, file := range map[string]string{"empty": "", "short": "hunter2\n", "a line's end does not count": strings.Repeat("x", 31) + "\n"} {
		if _, err := ReadSecret(strings.NewReader(file)); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("secret, %s: %v", name, err)
		}
	}
}

// A server's set is taken as far as it can be used, and its secrets are none.
func TestKeysOfAServer(t *testing.T) {
	ec, secret := one("P-256"), one("secret")
	ks, err := parseSet(set(
		jose.JSONWebKey{Key: secret.public, KeyID: "s"}, jose.JSONWebKey{Key: one("P-384").private, KeyID: "p"},
		jose.JSONWebKey{Key: one("RSA").public, Algorithm: "HS256", KeyID: "r"}, jose.JSONWebKey{Key: ec.public, KeyID: "e"},
	), false)
	if err != nil || ks.Len() != 1 {
		t.Fatalf("%v, %v", ks, err)
	}
	if _, o := from(t, Claims{}, ks).check(sign(t, jose.HS256, secret.private, "s", claims(nil)), ""); o != UnknownKey {
		t.Errorf("what everybody can read is a secret: %v", o)
	}
}

// With a thousand keys a token finds its own.
func TestThousandKeys(t *testing.T) {
	var keys []jose.JSONWebKey
	for i := range maxKeys - 1 {
		e, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		must(err)
		keys = append(keys, jose.JSONWebKey{Key: &e.PublicKey, KeyID: fmt.Sprint("k", i), Use: "sig", Algorithm: "ES256"})
	}
	ours := one("P-256")
	keys = slices.Insert(keys, 500, jose.JSONWebKey{Key: ours.public, KeyID: "ours"})
	ks, err := ReadKeys(bytes.NewReader(set(keys...)))
	must(err)
	a := from(t, Claims{}, ks)
	for id, want := range map[string]Outcome{"ours": Good, "k7": BadSignature, "": UnknownKey, "k1000": UnknownKey} {
		if _, o := a.check(sign(t, jose.ES256, ours.private, id, claims(nil)), ""); o != want {
			t.Errorf("kid %q: %v, want %v", id, o, want)
		}
	}
}

func FuzzReadKeys(f *testing.F) {
	f.Add(string(pemOf(one("RSA").public)))
	f.Add(string(pemOf(one("Ed25519").public)) + string(pemOf(one("P-521").public)))
	f.Add(string(set(jose.JSONWebKey{Key: one("P-256").public, KeyID: "k", Algorithm: "ES256", Use: "sig"})))
	f.Add(string(set(jose.JSONWebKey{Key: one("secret").public}, jose.JSONWebKey{Key: one("P-256").private})))
	f.Add(`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB","x5c":["AAAA"],"key_ops":["verify"]}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		for _, local := range []bool{true, false} {
			var ks *Keys
			var err error
			if local {
				ks, err = ReadKeys(strings.NewReader(text))
			} else {
				ks, err = parseSet([]byte(text), false)
			}
			if err != nil {
				continue
			}
			if n := ks.Len(); n == 0 || n > maxKeys {
				t.Fatalf("%d keys", n)
			}
			for _, same := range ks.named {
				for _, k := range same {
					if len(k.allows) == 0 {
						t.Fatalf("a key for nothing")
					}
					if _, isSecret := k.material.([]byte); isSecret && !local {
						t.Fatal("a secret from a server")
					}
				}
			}
		}
	})
}
