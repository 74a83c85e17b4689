// Package certificate lets clients in by the certificate that TLS has verified.
//
// A rule says where in a certificate the user's name stands. There has to be exactly
// one name there, and it has to be a plain one: of a certificate with two the client
// could choose, and a wildcard or a NUL is read in one way by whoever signed it and in
// another by whoever compares it (case 51). A client whose certificate does not name a
// user so is refused, whatever else it knows.
package certificate

import (
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"dunlin/node/auth"
)

// Rule says where the user's name stands.
type Rule string

// The rules: the subject's common name, or one of the subject's alternative names.
const (
	CommonName Rule = "common-name"
	DNS        Rule = "dns"
	Email      Rule = "email"
	URI        Rule = "uri"
)

// maxName bounds a user's name, in bytes.
const maxName = 1 << 10

// names lists what stands there.
func (r Rule) names(c *x509.Certificate) (names []string) {
	switch r {
	case CommonName:
		for _, n := range c.Subject.Names {
			if n.Type.Equal([]int{2, 5, 4, 3}) {
				s, _ := n.Value.(string) // "" is no user's name
				names = append(names, s)
			}
		}
	case DNS:
		names = c.DNSNames
	case Email:
		names = c.EmailAddresses
	case URI:
		for _, u := range c.URIs {
			names = append(names, u.String())
		}
	}
	return names
}

// User is the user whom a certificate names.
func (r Rule) User(c *x509.Certificate) (string, error) {
	names := r.names(c)
	if len(names) != 1 {
		return "", fmt.Errorf("%d names of kind %s, want one", len(names), r)
	}
	switch name := names[0]; {
	case name == "":
		return "", errors.New("an empty name")
	case len(name) > maxName:
		return "", fmt.Errorf("a name of %d bytes", len(name))
	case strings.ContainsAny(name, "*+#"):
		return "", fmt.Errorf("a wildcard in %q", name)
	case !utf8.ValidString(name), strings.ContainsFunc(name, unicode.IsControl):
		return "", fmt.Errorf("a control character in %q", name)
	default:
		return name, nil
	}
}

// Authenticator is auth.Authenticator for clients with certificates.
type Authenticator struct{ Rule Rule }

// Authenticate implements auth.Authenticator. A client that gives a user name other than
// its certificate's is another's to judge: it may know that user's password.
func (a Authenticator) Authenticate(r auth.Request, _ func(*auth.Principal, error)) (*auth.Principal, error) {
	if r.Certificate == nil {
		return nil, auth.ErrPass
	}
	user, err := a.Rule.User(r.Certificate)
	if err != nil {
		return nil, refused(err)
	}
	if c := r.Connect; c.HasUsername && string(c.Username) != user {
		return nil, auth.ErrPass
	}
	return auth.NewCertified(user), nil
}

// Method is another auth.Method for clients whose certificates, if they have one, name a
// user: what else such a client knows does not help it. That user is not the client's, for
// whom the other method speaks.
type Method struct {
	auth.Method
	Rule Rule
}

// Begin implements auth.Method.
func (m Method) Begin(r auth.Request) auth.Exchange {
	if r.Certificate != nil {
		if _, err := m.Rule.User(r.Certificate); err != nil {
			return refusal{refused(err)}
		}
	}
	return m.Method.Begin(r)
}

// refusal is an auth.Exchange that ends as it begins.
type refusal struct{ err error }

func (x refusal) Step([]byte, func(auth.Reply, error)) (auth.Reply, error) {
	return auth.Reply{}, x.err
}

func (refusal) User() (string, bool) { return "", false }

func refused(err error) error { return fmt.Errorf("%w: its certificate has %w", auth.ErrRefused, err) }
