package jwt

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"dunlin/node/auth"
	"dunlin/proto/mqtt"
)

// Every algorithm that a key allows is good with it, and no other one, and with no other key.
func TestAlgorithms(t *testing.T) {
	for signer, two := range pairs() {
		for _, alg := range two[0].allows {
			token := sign(t, alg, two[0].private, "k", claims(nil))
			for holder, others := range pairs() {
				for i, other := range others {
					for id, bad := range map[string]Outcome{"k": BadSignature, "": UnknownKey} {
						want := bad
						switch {
						case holder == signer && i == 0:
							want = Good
						case id == "k" && !slices.Contains(other.allows, alg):
							want = BadAlgorithm
						}
						a := trusting(t, Claims{}, map[string]any{id: other.public})
						who, o := a.check(token, "")
						if o != want || (o == Good) != (who != nil) || o == Good && who.User() != "ann" {
							t.Errorf("%s by %s %d, token of %s: %v, want %v", alg, holder, i, signer, o, want)
						}
					}
				}
			}
		}
	}
}

// A token cannot choose how it is judged (RFC 8725, 2.1): not by having no signature, nor by
// taking what everybody knows for a secret, nor by bringing its key along.
func TestConfusion(t *testing.T) {
	rsaKey, ec, secret := one("RSA"), one("P-256"), one("secret")
	payload := `{"sub":"admin","exp":1900000000}`
	a := trusting(t, Claims{}, map[string]any{"r": rsaKey.public, "e": ec.public, "s": secret.public})
	mac := func(header string, key []byte) string {
		token := strings.TrimSuffix(assemble(header, payload, nil), ".")
		m := hmac.New(sha256.New, key)
		m.Write([]byte(token))
		return token + "." + base64.RawURLEncoding.EncodeToString(m.Sum(nil))
	}
	tokens := map[string]string{}
	for _, none := range []string{"none", "None", "NONE", "nOnE", ""} {
		for _, id := range []string{`,"kid":"r"`, `,"kid":"s"`, ""} {
			head := fmt.Sprintf(`{"alg":%q%s}`, none, id)
			tokens["no signature "+head] = assemble(head, payload, nil)
			tokens["some signature "+head] = assemble(head, payload, []byte("x"))
		}
	}
	tokens["no algorithm"] = assemble(`{"kid":"s"}`, payload, nil)
	tokens["empty signature"] = assemble(`{"alg":"HS256","kid":"s"}`, payload, nil)
	tokens["public key as a secret, PEM"] = mac(`{"alg":"HS256","kid":"r"}`, pemOf(rsaKey.public))
	tokens["public key as a secret, trimmed"] = mac(`{"alg":"HS256","kid":"r"}`, bytes.TrimSpace(pemOf(rsaKey.public)))
	tokens["public key as a secret, no name"] = mac(`{"alg":"HS256"}`, pemOf(ec.public))
	tokens["empty secret"] = mac(`{"alg":"HS256","kid":"s"}`, nil)
	tokens["kid of another key"] = sign(t, jose.HS256, secret.private, "r", []byte(payload))
	stranger := pairs()["RSA"][1]
	tokens["stranger under our name"] = sign(t, jose.RS256, stranger.private, "r", []byte(payload))
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: stranger.private}, &jose.SignerOptions{EmbedJWK: true})
	must(err)
	signed, err := s.Sign([]byte(payload))
	must(err)
	tokens["key in its header"], _ = signed.CompactSerialize()
	for what, header := range map[string]jose.HeaderKey{"an extension": "crit", "raw payload": "b64"} {
		o := (&jose.SignerOptions{}).WithHeader("kid", "s").WithHeader("crit", []string{"b64"}).WithHeader("b64", header == "crit")
		s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: secret.private}, o)
		must(err)
		signed, err := s.Sign([]byte(payload))
		must(err)
		tokens[what], _ = signed.CompactSerialize()
	}
	good := sign(t, jose.HS256, secret.private, "s", []byte(payload))
	if _, o := a.check(good, ""); o != Good {
		t.Fatalf("what is right is %v: the test says nothing", o)
	}
	head, rest, _ := strings.Cut(good, ".")
	body, mark, _ := strings.Cut(rest, ".")
	other := base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"root","exp":1900000000}`))
	tokens["other payload"] = head + "." + other + "." + mark
	tokens["half a signature"] = head + "." + body + "." + mark[:len(mark)/2]
	tokens["four parts"] = good + ".x"
	tokens["JSON"] = `{"payload":"` + body + `","protected":"` + head + `","signature":"` + mark + `"}`
	for what, token := range tokens {
		if who, o := a.check(token, ""); o == Good || who != nil {
			t.Errorf("%s: let in as %q", what, who.User())
		}
	}
	// A key that names its algorithm is good for no other one.
	ks, err := parseSet(set(jose.JSONWebKey{Key: rsaKey.public, KeyID: "r", Algorithm: "RS256"}), false)
	must(err)
	a = from(t, Claims{}, ks)
	for alg, want := range map[jose.SignatureAlgorithm]Outcome{jose.RS256: Good, jose.PS256: BadAlgorithm, jose.RS512: BadAlgorithm} {
		if _, o := a.check(sign(t, alg, rsaKey.private, "r", claims(nil)), ""); o != want {
			t.Errorf("key of RS256, token of %s: %v", alg, o)
		}
	}
}

// Which key is meant: the one that is named; without a name one of few.
func TestWhichKey(t *testing.T) {
	ours, other := one("P-256"), pairs()["P-256"][1]
	named, bare := sign(t, jose.ES256, ours.private, "k", claims(nil)), sign(t, jose.ES256, ours.private, "", claims(nil))
	many := map[string]any{"k": ours.public}
	for i := range maxTries {
		many[fmt.Sprint("k", i)] = other.public
	}
	for name, c := range map[string]struct {
		keys        map[string]any
		named, bare Outcome
	}{
		"that one":            {map[string]any{"k": ours.public}, Good, Good},
		"without a name":      {map[string]any{"": ours.public}, Good, Good},
		"both":                {map[string]any{"": other.public, "k": ours.public}, Good, Good},
		"another of the name": {map[string]any{"": ours.public, "k": other.public}, BadSignature, Good},
		"another name":        {map[string]any{"x": ours.public}, UnknownKey, Good},
		"too many to guess":   {many, Good, UnknownKey},
		"none of the kind":    {map[string]any{"x": one("RSA").public}, UnknownKey, UnknownKey},
	} {
		a := trusting(t, Claims{}, c.keys)
		if _, o := a.check(named, ""); o != c.named {
			t.Errorf("%s, token that names it: %v, want %v", name, o, c.named)
		}
		if _, o := a.check(bare, ""); o != c.bare {
			t.Errorf("%s, token that names none: %v, want %v", name, o, c.bare)
		}
	}
	a := New(Claims{User: "sub"}, []func() *Keys{func() *Keys { return nil }}, nil)
	defer a.Close()
	if _, o := a.check(named, ""); o != NoKeys {
		t.Errorf("without keys: %v", o)
	}
}

// ask asks an Authenticator and waits for the answer, however it comes.
func ask(a auth.Authenticator, user, password string) (who *auth.Principal, err error) {
	type answer struct {
		who *auth.Principal
		err error
	}
	answers := make(chan answer, 2)
	c := &mqtt.Connect{HasUsername: user != "", Username: []byte(user), HasPassword: password != "", Password: []byte(password)}
	who, err = a.Authenticate(auth.Request{Connect: c}, func(who *auth.Principal, err error) { answers <- answer{who, err} })
	clear(c.Username) // it was borrowed
	clear(c.Password)
	if errors.Is(err, auth.ErrLater) {
		got := <-answers
		return got.who, got.err
	}
	return who, err
}

// What does not look like a token is another's to judge; what does, and is none, or is
// too large, is refused.
func TestAuthenticate(t *testing.T) {
	secret := one("secret")
	a := trusting(t, Claims{}, map[string]any{"": secret.public})
	good := sign(t, jose.HS256, secret.private, "", claims(nil))
	huge := sign(t, jose.HS256, secret.private, "", claims(object{"x": strings.Repeat("x", MaxToken)}))
	large := sign(t, jose.HS256, secret.private, "", claims(object{"x": strings.Repeat("x", MaxToken/2)}))
	for _, c := range []struct {
		name, password string
		want           error
	}{
		{"none", "", auth.ErrPass}, {"a password", "secret", auth.ErrPass}, {"with dots", "s.e.c", auth.ErrPass},
		{"two parts", "eyJhbGciOiJub25lIn0.e30", auth.ErrPass}, {"five parts", "eyJhbGciOiJub25lIn0.a.b.c.d", auth.ErrPass},
		{"other letters", good + "=", auth.ErrPass}, {"with a line's end", good + "\n", auth.ErrPass},
		{"not an object", "eaJh.e30.x", auth.ErrPass},
		{"no signature", "eyJhbGciOiJub25lIn0.e30.", auth.ErrBadCredentials},
		{"no JSON", "eyJh.e30.x", auth.ErrBadCredentials},
		{"huge", huge, auth.ErrBadCredentials}, {"huge, and nothing in it", "ey" + strings.Repeat("a", 1<<16) + "..", auth.ErrBadCredentials},
		{"large", large, nil}, {"good", good, nil},
	} {
		who, err := ask(a, "anything", c.password)
		if !errors.Is(err, c.want) || err == nil && who.User() != "ann" {
			t.Errorf("%s: user %q, %v", c.name, who.User(), err)
		}
		if err != nil && c.password != "" && strings.Contains(err.Error(), c.password[:min(8, len(c.password))]) {
			t.Errorf("%s: the error has a part of it: %v", c.name, err)
		}
	}
	if n := a.Stats().counts[Malformed].Load(); n != 3 {
		t.Errorf("%d counted as malformed", n)
	}
	a.Close()
	if _, err := ask(a, "", good); !errors.Is(err, auth.ErrBusy) {
		t.Errorf("without room: %v", err)
	}
}

// In a storm some are told to come again, and everybody is answered once.
func TestStorm(t *testing.T) {
	ec := one("P-256")
	a := trusting(t, Claims{}, map[string]any{"": ec.public})
	token := sign(t, jose.ES256, ec.private, "", claims(nil))
	const storm = 4 * maxWaiting
	answers := make(chan error, 2*storm)
	waiting, busy := 0, 0
	for range storm {
		c := &mqtt.Connect{HasPassword: true, Password: []byte(token)}
		_, err := a.Authenticate(auth.Request{Connect: c}, func(_ *auth.Principal, err error) { answers <- err })
		switch {
		case errors.Is(err, auth.ErrLater):
			waiting++
		case errors.Is(err, auth.ErrBusy):
			busy++
		default:
			t.Fatal(err)
		}
	}
	a.Close()
	for range waiting {
		if err := <-answers; errors.Is(err, auth.ErrBusy) {
			busy++ // the end came first
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if len(answers) > 0 {
		t.Error("somebody was answered twice")
	}
	if a.stats.counts[Busy].Load() != uint64(busy) || a.stats.counts[Good].Load() != uint64(storm-busy) {
		t.Errorf("%d busy, counted %d, good %d", busy, a.stats.counts[Busy].Load(), a.stats.counts[Good].Load())
	}
}

// FuzzCheck looks for what is let in that was never signed.
func FuzzCheck(f *testing.F) {
	keys := map[string]any{}
	for kind, two := range pairs() {
		keys[kind] = two[0].public
		for _, alg := range two[0].allows {
			f.Add(sign(f, alg, two[0].private, kind, claims(nil)), "ann")
		}
	}
	f.Add(assemble(`{"alg":"none"}`, `{"sub":"x","exp":1900000000}`, nil), "")
	f.Add(assemble(`{"alg":"HS256","kid":"secret","crit":["b64"],"b64":false}`, `{}`, []byte("x")), "")
	f.Add(assemble(`{"alg":"RS256","jwk":{"kty":"oct","k":"AAAA"},"x5c":["AAAA"]}`, `{}`, []byte("x")), "")
	f.Add(assemble(strings.Repeat("[", 9000), `{}`, nil), "")
	f.Add(assemble(`{"alg":"ES256","kid":"P-256"}`, `{}`, make([]byte, 64)), "")
	a := trusting(f, Claims{Rights: "acl", Groups: "groups"}, keys)
	f.Fuzz(func(t *testing.T, token, user string) {
		who, o := a.check(token, user)
		if (o == Good) != (who != nil) || o >= outcomes {
			t.Fatalf("%v, %v", who, o)
		}
		if o == Good && (who.User() != "ann" || who.Rights() != nil || !who.Expires().Equal(start.Add(time.Hour))) {
			t.Fatalf("let in as %q", who.User())
		}
	})
}

// BenchmarkCheck is what a token costs beside the event loops.
func BenchmarkCheck(b *testing.B) {
	for kind, two := range pairs() {
		b.Run(kind, func(b *testing.B) {
			a := trusting(b, Claims{}, map[string]any{"k": two[0].public})
			token := sign(b, two[0].allows[0], two[0].private, "k", claims(object{"aud": "mqtt", "iss": "https://login.example.com"}))
			b.ReportAllocs()
			for b.Loop() {
				if _, o := a.check(token, ""); o != Good {
					b.Fatal(o)
				}
			}
		})
	}
}
