package harness

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
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
	ca.cert, ca.key = ca.Issue("ca", &x509.Certificate{
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
	ca.Issue(name, &x509.Certificate{
		DNSNames:    []string{name},
		IPAddresses: []net.IP{net.ParseIP(host)},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	return []string{
		"--cluster-tls-ca", ca.Path("ca.pem"),
		"--cluster-tls-cert", ca.Path(name + ".pem"),
		"--cluster-tls-key", ca.Path(name + ".key"),
		"--gossip-key-file", ca.Path("gossip"),
	}
}

// Server issues a certificate for a listener for clients, and says in which files it and
// its key are.
func (ca *CA) Server(name string) (cert, key string) {
	ca.t.Helper()
	ca.Issue(name, &x509.Certificate{DNSNames: []string{name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	return ca.Path(name + ".pem"), ca.Path(name + ".key")
}

// Issue signs a certificate of this common name, the authority's own by itself, and writes
// it and its key to name.pem and name.key. It is good for a day from now, unless c says
// when it ends.
func (ca *CA) Issue(name string, c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	ca.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		ca.t.Fatal(err)
	}
	if c.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62)); err != nil {
		ca.t.Fatal(err)
	}
	c.Subject = pkix.Name{CommonName: name}
	c.NotBefore = time.Now().Add(-24 * time.Hour)
	if c.NotAfter.IsZero() {
		c.NotAfter = time.Now().Add(24 * time.Hour)
	}
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

// Path is where a file of the authority lies: ca.pem, what Issue has written, and the
// gossip key, which is called gossip.
func (ca *CA) Path(name string) string { return filepath.Join(ca.dir, name) }

// Trust is the configuration of a TLS client that takes the authority's word, and has the
// certificates that were issued under these names.
func (ca *CA) Trust(own ...string) *tls.Config {
	ca.t.Helper()
	conf := &tls.Config{RootCAs: x509.NewCertPool()}
	conf.RootCAs.AddCert(ca.cert)
	for _, name := range own {
		pair, err := tls.LoadX509KeyPair(ca.Path(name+".pem"), ca.Path(name+".key"))
		if err != nil {
			ca.t.Fatal(err)
		}
		conf.Certificates = append(conf.Certificates, pair)
	}
	return conf
}

func (ca *CA) write(name string, b []byte) {
	ca.t.Helper()
	if err := os.WriteFile(ca.Path(name), b, 0o600); err != nil {
		ca.t.Fatal(err)
	}
}
