package browser

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// certificate is what the nodes of a test show, signed by itself.
type certificate struct {
	config string // of the nodes
	pem    string
	hash   string // of its key, by which the browser is told to trust it
}

func newCertificate(t *testing.T) certificate {
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "nodes"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IsCA:        true, BasicConstraintsValid: true,
	}
	pid := os.Getpid()
	for k := range 250 { // the addresses that the harness gives to nodes of this process
		c.IPAddresses = append(c.IPAddresses, net.IPv4(127, byte(2+pid/250%250), byte(2+pid%250), byte(1+k)))
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	must(err)
	parsed, err := x509.ParseCertificate(der)
	must(err)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	must(err)
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	dir := t.TempDir()
	must(os.WriteFile(filepath.Join(dir, "cert.pem"), text, 0o600))
	must(os.WriteFile(filepath.Join(dir, "key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600))
	hash := sha256.Sum256(parsed.RawSubjectPublicKeyInfo)
	return certificate{
		config: fmt.Sprintf("tls:\n  cert: %s/cert.pem\n  key: %s/key.pem\n", dir, dir),
		pem:    string(text),
		hash:   base64.StdEncoding.EncodeToString(hash[:]),
	}
}
