package harness

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// CA issues the certificates of one cluster, and has its gossip key: what nodes
// need on addresses that are not loopback.
type CA struct {
	t    testing.TB
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewCA makes a certificate authority, and a gossip key, for one test.
func NewCA(t testing.TB) *CA {
	t.Helper()
	ca := &CA{t: t, dir: t.TempDir()}
	ca.cert, ca.key = ca.issue("ca", &x509.Certificate{
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	secret := make([]byte, 32)
	rand.Read(secret)
	ca.write("gossip", []byte(base64.StdEncoding.EncodeToString(secret)))
	return ca
}

// Args are the arguments of dunlin serve for the node of this name and address.
func (ca *CA) Args(name, host string) []string {
	ca.t.Helper()
	ca.issue(name, &x509.Certificate{
		DNSNames:    []string{name},
		IPAddresses: []net.IP{net.ParseIP(host)},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	return []string{
		"--cluster-tls-ca", ca.path("ca.pem"),
		"--cluster-tls-cert", ca.path(name + ".pem"),
		"--cluster-tls-key", ca.path(name + ".key"),
		"--gossip-key", "${FILE:" + ca.path("gossip") + "}",
	}
}

// issue signs a certificate, the authority's own by itself, and writes it and its
// key.
func (ca *CA) issue(name string, c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	ca.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		ca.t.Fatal(err)
	}
	if c.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62)); err != nil {
		ca.t.Fatal(err)
	}
	c.Subject = pkix.Name{CommonName: name}
	c.NotBefore, c.NotAfter = time.Now().Add(-24*time.Hour), time.Now().Add(24*time.Hour)
	parent, signer := ca.cert, ca.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		ca.t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		ca.t.Fatal(err)
	}
	ca.write(name+".pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	ca.write(name+".key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}))
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		ca.t.Fatal(err)
	}
	return cert, key
}

func (ca *CA) path(name string) string { return filepath.Join(ca.dir, name) }

func (ca *CA) write(name string, b []byte) {
	ca.t.Helper()
	if err := os.WriteFile(ca.path(name), b, 0o600); err != nil {
		ca.t.Fatal(err)
	}
}
