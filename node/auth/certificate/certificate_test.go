package certificate

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"dunlin/node/auth"
	"dunlin/proto/mqtt"
)

// signed is c as it comes over the wire.
func signed(t *testing.T, c *x509.Certificate) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.SerialNumber, c.NotAfter = big.NewInt(1), time.Now().Add(time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return c
}

func commonNames(names ...string) *x509.Certificate {
	var subject pkix.Name
	for _, n := range names {
		subject.ExtraNames = append(subject.ExtraNames, pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: n})
	}
	return &x509.Certificate{Subject: subject, DNSNames: []string{"other.example"}}
}

func uri(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// Case 51: one plain name where the rule looks, or none at all.
func TestUser(t *testing.T) {
	for _, c := range []struct {
		rule Rule
		cert *x509.Certificate
		user string
		err  string
	}{
		{CommonName, commonNames("sensor 1"), "sensor 1", ""},
		{CommonName, commonNames(), "", "0 names of kind common-name"},
		{CommonName, commonNames("admin", "sensor"), "", "2 names"},
		{CommonName, commonNames("sensor", "sensor"), "", "2 names"},
		{CommonName, commonNames("*.example.com"), "", "a wildcard"},
		{CommonName, commonNames("+"), "", "a wildcard"},
		{CommonName, commonNames("a/#"), "", "a wildcard"},
		{CommonName, commonNames("admin\x00.evil.example"), "", "a control character"},
		{CommonName, commonNames("a\nb"), "", "a control character"},
		{CommonName, commonNames(""), "", "an empty name"},
		{CommonName, commonNames(strings.Repeat("x", maxName+1)), "", "a name of"},
		{DNS, &x509.Certificate{DNSNames: []string{"s1.example"}, Subject: pkix.Name{CommonName: "admin"}}, "s1.example", ""},
		{DNS, &x509.Certificate{DNSNames: []string{"s1.example", "s2.example"}}, "", "2 names"},
		{DNS, &x509.Certificate{DNSNames: []string{"*.example"}}, "", "a wildcard"},
		{DNS, commonNames("admin"), "other.example", ""},
		{Email, &x509.Certificate{EmailAddresses: []string{"a@example.com"}}, "a@example.com", ""},
		{Email, commonNames("admin"), "", "0 names"},
		{URI, &x509.Certificate{URIs: []*url.URL{uri(t, "spiffe://example/sensor/1")}}, "spiffe://example/sensor/1", ""},
		{URI, &x509.Certificate{URIs: []*url.URL{uri(t, "spiffe://a"), uri(t, "spiffe://b")}}, "", "2 names"},
	} {
		user, err := c.rule.User(signed(t, c.cert))
		if user != c.user || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %q, %v; want %q, %q", c.rule, user, err, c.user, c.err)
		}
	}
}

func TestAuthenticate(t *testing.T) {
	good, bad := signed(t, commonNames("gate")), signed(t, commonNames("gate", "admin"))
	for _, c := range []struct {
		name string
		cert *x509.Certificate
		user string
		err  error
	}{
		{"certificate alone", good, "", nil},
		{"its own name too", good, "gate", nil},
		{"another name", good, "bob", auth.ErrPass},
		{"no certificate", nil, "gate", auth.ErrPass},
		{"no name in it", bad, "", auth.ErrRefused},
		{"no name in it, and a user's", bad, "bob", auth.ErrRefused},
	} {
		r := auth.Request{Certificate: c.cert, Connect: &mqtt.Connect{HasUsername: c.user != "", Username: []byte(c.user)}}
		who, err := Authenticator{CommonName}.Authenticate(r, nil)
		if !errors.Is(err, c.err) || err == nil && (who.User() != "gate" || who.Certificate() != "gate") {
			t.Errorf("%s: user %q, %v", c.name, who.User(), err)
		}
	}
}

// another is a method that lets everybody in.
type another struct{}

func (another) Name() string                     { return "ANOTHER" }
func (another) Begin(auth.Request) auth.Exchange { return another{} }
func (another) User() (string, bool)             { return "bob", true }

func (another) Step([]byte, func(auth.Reply, error)) (auth.Reply, error) {
	return auth.Reply{Done: true, Who: auth.NewPrincipal("bob")}, nil
}

// A certificate that names nobody is refused whatever else its client knows; one that names a
// user proves nothing of the user that the client is by another method.
func TestMethod(t *testing.T) {
	m := Method{Method: another{}, Rule: CommonName}
	for name, c := range map[string]struct {
		cert *x509.Certificate
		err  error
	}{
		"none": {nil, nil}, "good": {signed(t, commonNames("gate")), nil}, "bad": {signed(t, commonNames("gate", "admin")), auth.ErrRefused},
	} {
		reply, err := m.Begin(auth.Request{Certificate: c.cert}).Step(nil, nil)
		if !errors.Is(err, c.err) || err == nil && (reply.Who.User() != "bob" || reply.Who.Certificate() != "") {
			t.Errorf("%s: %+v, %v", name, reply, err)
		}
	}
	if m.Name() != "ANOTHER" {
		t.Errorf("name %q", m.Name())
	}
}
