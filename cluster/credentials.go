package cluster

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// TLSFiles name the PEM files of the cluster port's TLS. Both sides show a
// certificate of the CA, which should therefore be the cluster's own: whoever has one,
// for servers and for clients, is a member.
type TLSFiles struct {
	Cert, Key string
	CA        string // one certificate, or several while a CA is replaced by another
	// Name, if it is set, has to be a DNS name in the certificate of whoever calls or is
	// called: for a CA that signs for others too.
	Name string
}

// Credentials are TLSFiles as they were read at one time.
type Credentials struct {
	server, client *tls.Config
	expiry         time.Time
}

// Paths are those of all files.
func (f TLSFiles) Paths() []string { return []string{f.Cert, f.Key, f.CA} }

// Load reads the files. This node's own certificate has to be one that its peers
// would take, whose files are to be like these: a node that would be alone says so here.
func (f TLSFiles) Load() (*Credentials, error) {
	cert, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return nil, fmt.Errorf("cluster: certificate %s: %w", f.Cert, bare(err))
	}
	pem, err := os.ReadFile(f.CA)
	if err != nil {
		return nil, fmt.Errorf("cluster: CA %s: %w", f.CA, bare(err))
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("cluster: CA %s: no certificate in it", f.CA)
	}
	chain := []*x509.Certificate{cert.Leaf}
	for _, der := range cert.Certificate[1:] {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("cluster: certificate %s: %w", f.Cert, err)
		}
		chain = append(chain, c)
	}
	for _, use := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		if err := verify(chain, roots, f.Name, use); err != nil {
			return nil, fmt.Errorf("cluster: certificate %s: peers would refuse it: %w", f.Cert, err)
		}
	}
	// Members are called by changing addresses that no certificate names, so the
	// standard check of names is replaced by one of the chain and of Name. Nothing is
	// resumed: each connection is judged by the files of its own time.
	base := tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2"}, SessionTicketsDisabled: true,
	}
	c := &Credentials{server: base.Clone(), client: base.Clone(), expiry: cert.Leaf.NotAfter}
	c.server.ClientAuth = tls.RequireAnyClientCert
	c.server.VerifyConnection = func(cs tls.ConnectionState) error {
		return verify(cs.PeerCertificates, roots, f.Name, x509.ExtKeyUsageClientAuth)
	}
	c.client.InsecureSkipVerify = true
	c.client.VerifyConnection = func(cs tls.ConnectionState) error {
		return verify(cs.PeerCertificates, roots, f.Name, x509.ExtKeyUsageServerAuth)
	}
	return c, nil
}

// Expiry is when this node's certificate expires.
func (c *Credentials) Expiry() time.Time { return c.expiry }

// verify says why a chain, the peer's own certificate first, is not that of a member.
func verify(chain []*x509.Certificate, roots *x509.CertPool, name string, use x509.ExtKeyUsage) error {
	if len(chain) == 0 {
		return errors.New("no certificate")
	}
	others := x509.NewCertPool()
	for _, c := range chain[1:] {
		others.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		DNSName: name, Roots: roots, Intermediates: others, KeyUsages: []x509.ExtKeyUsage{use},
	})
	if err != nil {
		return &tls.CertificateVerificationError{UnverifiedCertificates: chain, Err: err}
	}
	return nil
}

// bare is an error without the path, which the message has already.
func bare(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
