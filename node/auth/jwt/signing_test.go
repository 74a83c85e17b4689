package jwt

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// pair is a key to sign with, and what checks it.
type pair struct {
	private, public any
	allows          []jose.SignatureAlgorithm
}

// pairs are two keys of each kind, made once.
var pairs = sync.OnceValue(func() map[string][2]pair {
	all := make(map[string][2]pair)
	for i := range 2 {
		add := func(kind string, private, public any, allows ...jose.SignatureAlgorithm) {
			two := all[kind]
			two[i] = pair{private, public, allows}
			all[kind] = two
		}
		r, err := rsa.GenerateKey(rand.Reader, 2048)
		must(err)
		add("RSA", r, &r.PublicKey, rsaAlgorithms...)
		for kind, c := range map[string]struct {
			curve elliptic.Curve
			alg   jose.SignatureAlgorithm
		}{"P-256": {elliptic.P256(), jose.ES256}, "P-384": {elliptic.P384(), jose.ES384}, "P-521": {elliptic.P521(), jose.ES512}} {
			e, err := ecdsa.GenerateKey(c.curve, rand.Reader)
			must(err)
			add(kind, e, &e.PublicKey, c.alg)
		}
		public, private, err := ed25519.GenerateKey(rand.Reader)
		must(err)
		add("Ed25519", private, public, jose.EdDSA)
		secret := make([]byte, 64)
		rand.Read(secret)
		add("secret", secret, secret, jose.HS256, jose.HS384, jose.HS512)
	}
	return all
})

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// one is the first key of a kind.
func one(kind string) pair { return pairs()[kind][0] }

// start is when the tests of claims take place.
var start = time.Unix(1_800_000_000, 0)

type object = map[string]any

// claims are those of a good token, with some replaced; nil takes one out.
func claims(change object) object {
	all := object{"sub": "ann", "exp": start.Add(time.Hour).Unix()}
	for name, v := range change {
		if all[name] = v; v == nil {
			delete(all, name)
		}
	}
	return all
}

// sign makes a token.
func sign(t testing.TB, alg jose.SignatureAlgorithm, key any, id string, payload any) string {
	t.Helper()
	b, isRaw := payload.([]byte)
	if !isRaw {
		var err error
		if b, err = json.Marshal(payload); err != nil {
			t.Fatal(err)
		}
	}
	o := new(jose.SignerOptions)
	if id != "" {
		o = o.WithHeader("kid", id)
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, o)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := s.Sign(b)
	if err != nil {
		t.Fatal(err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// assemble makes a token of parts that nobody would sign.
func assemble(header, payload string, signature []byte) string {
	e := base64.RawURLEncoding
	return e.EncodeToString([]byte(header)) + "." + e.EncodeToString([]byte(payload)) + "." + e.EncodeToString(signature)
}

// set is a JSON Web Key Set.
func set(keys ...jose.JSONWebKey) []byte {
	b, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
	must(err)
	return b
}

// trusting makes an Authenticator that trusts keys under their names; "" has none.
func trusting(t testing.TB, c Claims, keys map[string]any) *Authenticator {
	t.Helper()
	ks := new(Keys)
	for id, material := range keys {
		if err := ks.add(id, material, ""); err != nil {
			t.Fatal(err)
		}
	}
	return from(t, c, ks)
}

// from makes one that trusts Keys.
func from(t testing.TB, c Claims, ks *Keys) *Authenticator {
	t.Helper()
	if c.User == "" {
		c.User = "sub"
	}
	a := New(c, []func() *Keys{func() *Keys { return ks }}, nil)
	a.now = func() time.Time { return start }
	t.Cleanup(a.Close)
	return a
}

// pemOf is a public key as people keep it.
func pemOf(public crypto.PublicKey) []byte {
	der, err := x509.MarshalPKIXPublicKey(public)
	must(err)
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}
